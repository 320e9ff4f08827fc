//! The networks of latent and text pipelines against pinned Python: names, shapes and outputs, on burn, and on the engine's CPU and
//! GPU.

#![cfg(all(feature = "burn", feature = "text", not(target_arch = "wasm32")))]
#![allow(clippy::print_stdout, reason = "tests say how close they came")]

mod golden;

use burn::tensor::Device;
use golden::relative_error;
use golden::text::{
    AUTOENCODERS, Array, CLIP_TEXT, Case, DIT, Replayer, UNET_CONDITION, cases, dit_inputs, embedded,
    latents, replay, text_inputs, transposed, unet_inputs,
};
use noiseball::engine::passes::plan_prompts;
use noiseball::network::autoencoder::{Autoencoder, Decode, Encode};
use noiseball::network::autoencoder_kl::AutoencoderKlConfig;
use noiseball::network::autoencoder_tiny::AutoencoderTinyConfig;
use noiseball::network::clip_text::{ClipText, ClipTextConfig, EmbeddedText};
use noiseball::network::describe::{Inventory, describe_pass};
use noiseball::network::dit::DitConfig;
use noiseball::network::on_burn::transformer as burn_passes;
use noiseball::network::ops::{Pass, TransformerOps};
use noiseball::network::trace::{Graph, Input, Rate, Shape};
use noiseball::network::unet_condition::UNet2DConditionConfig;
use noiseball::network::vq::VqConfig;
use serde_json::{Map, Value, json};

/// Who computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    Burn,
    /// The engine on the CPU, without passes.
    Naive,
    Cpu,
    #[cfg(feature = "gpu")]
    Gpu,
}

impl On {
    /// How far results may be from Python's.
    fn bound(self) -> f32 {
        match self {
            On::Burn | On::Naive | On::Cpu => 2e-5,
            #[cfg(feature = "gpu")]
            On::Gpu => 2e-4,
        }
    }
}

/// Runs networks, and keeps how far they were from Python.
struct Bench {
    on: On,
    #[cfg(feature = "gpu")]
    gpu: Option<noiseball::engine::gpu::Gpu>,
    errors: Vec<f32>,
}

impl Bench {
    fn new(on: On) -> Self {
        Self {
            on,
            #[cfg(feature = "gpu")]
            gpu: (on == On::Gpu).then(|| {
                use noiseball::engine::gpu::{Gpu, Tuning};
                pollster::block_on(Gpu::tuned(Tuning::Software)).unwrap()
            }),
            errors: Vec::new(),
        }
    }

    /// The pass' results, and its parameters as Python counts and names them.
    fn run(
        &self,
        case: &Case,
        pass: &impl Pass,
        inputs: &[Array],
    ) -> (Vec<Array>, Vec<(String, Vec<usize>)>) {
        let shapes: Vec<_> = inputs.iter().map(|input| input.shape.clone()).collect();
        let inventory = inventory(pass, &shapes);
        let take = |key: &str, shape: &[usize]| Ok(case.weight(key, shape));
        let results = if self.on == On::Burn {
            let device = Device::flex();
            let parameters = burn_passes::upload(&inventory.parameters, &device, take).unwrap();
            let array = |a: &Array| burn_passes::Array { shape: a.shape.clone(), values: a.values.clone() };
            let inputs: Vec<_> = inputs.iter().map(array).collect();
            let results =
                pollster::block_on(burn_passes::evaluate(pass, &parameters, &device, &inputs)).unwrap();
            let back = |burn_passes::Array { shape, values }| Array { shape, values };
            results.into_iter().map(back).collect()
        } else {
            pollster::block_on(replay(self.replayer(), pass, inputs, take))
        };
        assert_eq!(results[0].shape[..], inventory.output[..results[0].shape.len()], "{}", case.name());
        (results, inventory.parameters)
    }

    fn replayer(&self) -> Replayer<'_> {
        match self.on {
            On::Burn | On::Naive => Replayer::Naive,
            On::Cpu => Replayer::Cpu,
            #[cfg(feature = "gpu")]
            On::Gpu => Replayer::Gpu(self.gpu.as_ref().unwrap()),
        }
    }

    /// Notes how far a result is from Python's.
    fn compare(&mut self, case: &Case, field: &str, found: &[f32]) {
        let (error, bound) = (relative_error(found, &case.floats(field)), self.on.bound());
        println!("{:?}: {} {field}: {error:.1e}", self.on, case.name());
        assert!(error <= bound, "{:?}: {} {field}: {error:e} > {bound:e}", self.on, case.name());
        self.errors.push(error);
    }

    fn say_worst(&self, family: &str) {
        let worst = self.errors.iter().copied().fold(0.0, f32::max);
        println!(
            "{family} on {:?}: {} results, worst relative error {worst:.1e}",
            self.on,
            self.errors.len()
        );
    }
}

fn conditional_unets(on: On) {
    let mut bench = Bench::new(on);
    for case in cases(UNET_CONDITION, 34) {
        let (net, unknown) = UNet2DConditionConfig::parse("config.json", case.config()).unwrap();
        assert!(unknown.is_empty(), "{}: {unknown:?}", case.name());
        let shape = case.shape("sample_shape");
        net.check_size(shape[2], shape[3]).unwrap();
        let (results, parameters) = bench.run(&case, &net, &unet_inputs(&case, &net));
        case.check_keys(parameters);
        bench.compare(&case, "output", &results[0].values);
    }
    bench.say_worst("UNet2DConditionModel");
}

/// `VQModel`'s decoder without the codebook.
struct Unquantised<'a>(&'a VqConfig);

impl Pass for Unquantised<'_> {
    fn run<O: TransformerOps + ?Sized>(&self, ops: &mut O, inputs: &[O::Tensor]) -> Vec<O::Tensor> {
        vec![self.0.decode_unquantised(ops, &inputs[0])]
    }
}

fn both_halves(bench: &mut Bench, case: &Case, net: &impl Autoencoder) {
    let picture = case.stream("picture", case.shape("picture_shape"), 1.0);
    let latents = latents(case);
    let (encoded, mut parameters) = bench.run(case, &Encode(net), &[picture]);
    let (decoded, more) = bench.run(case, &Decode(net), &[latents]);
    parameters.extend(more);
    case.check_keys(parameters);
    bench.compare(case, "encoded", &encoded[0].values);
    bench.compare(case, "decoded", &decoded[0].values);
}

fn autoencoders(on: On) {
    let mut bench = Bench::new(on);
    for case in cases(AUTOENCODERS, 12) {
        let config = case.config();
        let known = |unknown: Vec<String>| assert!(unknown.is_empty(), "{}: {unknown:?}", case.name());
        match case.0["kind"].as_str().unwrap() {
            "kl" => {
                let (net, unknown) = AutoencoderKlConfig::parse("config.json", config).unwrap();
                known(unknown);
                both_halves(&mut bench, &case, &net);
            }
            "tiny" => {
                let (net, unknown) = AutoencoderTinyConfig::parse("config.json", config).unwrap();
                known(unknown);
                both_halves(&mut bench, &case, &net);
            }
            _ => {
                let (net, unknown) = VqConfig::parse("config.json", config).unwrap();
                known(unknown);
                if case.0["quantised"] == true {
                    both_halves(&mut bench, &case, &net);
                } else {
                    let (decoded, _) = bench.run(&case, &Unquantised(&net), &[latents(&case)]);
                    bench.compare(&case, "decoded", &decoded[0].values);
                }
            }
        }
    }
    bench.say_worst("autoencoders");
}

fn text_encoders(on: On) {
    let mut bench = Bench::new(on);
    for case in cases(CLIP_TEXT, 10) {
        let class = case.0["kind"].as_str().unwrap();
        let (net, unknown) = ClipTextConfig::parse("config.json", class, case.config()).unwrap();
        assert!(unknown.is_empty(), "{}: {unknown:?}", case.name());
        let [ids, places] = text_inputs(&case, &net);
        let with = |x: &Array, pooled| if pooled { vec![x.clone(), places.clone()] } else { vec![x.clone()] };
        let mut run = |skip, normalise, pooled, field: &str| {
            let pass = ClipText { config: &net, skip, normalise, pooled };
            let (results, parameters) = if matches!(on, On::Burn | On::Naive) {
                bench.run(&case, &pass, &with(&ids, pooled))
            } else {
                // As pages do it: the table of tokens stays on the host.
                let (results, mut parameters) =
                    bench.run(&case, &EmbeddedText(pass), &with(&embedded(&case, &net, &ids), pooled));
                parameters.push((ClipTextConfig::TOKENS.to_owned(), vec![net.vocab_size, net.hidden_size]));
                (results, parameters)
            };
            bench.compare(&case, field, &transposed(&results[0]).values);
            if let Some(pooled) = results.get(1) {
                bench.compare(&case, "pooled", &pooled.values);
                case.check_keys(parameters);
            }
        };
        run(0, true, true, "last");
        run(0, true, false, "last");
        run(1, false, true, "penultimate");
        run(1, false, false, "penultimate");
        run(1, true, true, "skipped");
        run(1, true, false, "skipped");
    }
    bench.say_worst("CLIP text encoders");
}

fn diffusion_transformers(on: On) {
    let mut bench = Bench::new(on);
    for case in cases(DIT, 7) {
        let (net, unknown) = DitConfig::parse("config.json", case.config()).unwrap();
        assert!(unknown.is_empty(), "{}: {unknown:?}", case.name());
        let (results, parameters) = bench.run(&case, &net, &dit_inputs(&case, &net));
        case.check_keys(parameters);
        bench.compare(&case, "output", &results[0].values);
    }
    bench.say_worst("DiTTransformer2DModel");
}

/// A test of each family on each executor.
macro_rules! families_are_pythons {
    ($($(#[$attribute:meta])* $executor:ident: $on:expr;)*) => {
        $($(#[$attribute])* mod $executor {
            use super::*;

            #[test]
            fn conditional_unets_are_pythons() {
                conditional_unets($on);
            }

            #[test]
            fn autoencoders_are_pythons() {
                autoencoders($on);
            }

            #[test]
            fn text_encoders_are_pythons() {
                text_encoders($on);
            }

            #[test]
            fn diffusion_transformers_are_pythons() {
                diffusion_transformers($on);
            }
        })*
    };
}

families_are_pythons! {
    on_burn: On::Burn;
    naive: On::Naive;
    cpu: On::Cpu;
    #[cfg(feature = "gpu")]
    gpu: On::Gpu;
}

fn object(json: &Value) -> &Map<String, Value> {
    json.as_object().unwrap()
}

/// What a pass needs for inputs of these shapes: `[batch, channels, height, width]`, or vectors.
fn inventory(pass: &impl Pass, shapes: &[Vec<usize>]) -> Inventory {
    let input = |shape: &Vec<usize>| {
        let [channels, height, width] = [1, 2, 3].map(|axis| shape.get(axis).copied().unwrap_or(1));
        Input { name: "input", rate: Rate::Evaluation, shape: Shape { height, width, channels } }
    };
    let inputs: Vec<Input> = shapes.iter().map(input).collect();
    describe_pass(pass, &inputs, shapes[0][0])
}

/// What a conditional U-Net needs for latents of so many pixels a side and 77 tokens.
fn unet_inventory(config: &Value, side: usize) -> Inventory {
    let (net, _) = UNet2DConditionConfig::parse("config.json", object(config)).unwrap();
    let (added, guidance) = (net.text_time.map(|t| t.input_dim), net.time_cond_proj_dim);
    let image = vec![1, net.in_channels, side, side];
    let mut inputs = vec![image, vec![1, net.time.width], vec![1, net.text_width, 77, 1]];
    inputs.extend([net.class_width(), added, guidance].into_iter().flatten().map(|width| vec![1, width]));
    inventory(&net, &inputs)
}

/// The published models' sizes: millions of parameters, tensors, and billions of operations at 512 pixels.
#[test]
fn published_unets_have_their_sizes() {
    let [ca, d, ua, u] = ["CrossAttnDownBlock2D", "DownBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"];
    let sd2 = json!({"attention_head_dim": [5, 10, 20, 20], "cross_attention_dim": 1024, "use_linear_projection": true});
    let three = json!({"block_out_channels": [320, 640, 1280], "attention_head_dim": [5, 10, 20],
        "down_block_types": [d, ca, ca], "up_block_types": [ua, ua, u], "cross_attention_dim": 2048,
        "use_linear_projection": true, "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816});
    let with = |base: &Value, more: Value| {
        let mut config = base.clone();
        config.as_object_mut().unwrap().extend(object(&more).clone());
        config
    };
    let sdxl = with(&three, json!({"transformer_layers_per_block": [1, 2, 10]}));
    let ssd = with(
        &three,
        json!({"transformer_layers_per_block": [1, [2, 2], [4, 4]],
        "reverse_transformer_layers_per_block": [[4, 4, 10], [2, 1, 1], 1], "mid_block_type": "UNetMidBlock2D"}),
    );
    let tiny = json!({"block_out_channels": [320, 640, 1280], "down_block_types": [ca, ca, ca],
        "up_block_types": [ua, ua, ua], "mid_block_type": null, "layers_per_block": 1, "cross_attention_dim": 768});
    for (name, config, millions, tensors, gflops) in [
        ("SD 1.5", json!({"cross_attention_dim": 768}), 859.52, 686, 803),
        ("inpainting", json!({"cross_attention_dim": 768, "in_channels": 9}), 859.54, 686, 803),
        ("LCM", json!({"cross_attention_dim": 768, "time_cond_proj_dim": 256}), 859.60, 687, 803),
        ("SD 2.1", sd2, 865.91, 686, 804),
        ("small-sd", json!({"cross_attention_dim": 768, "layers_per_block": 1}), 579.38, 442, 523),
        ("tiny-sd", tiny, 323.38, 358, 486),
        ("SDXL", sdxl, 2567.46, 1680, 1589),
        ("SSD-1B", ssd, 1331.32, 944, 980),
    ] {
        let found = unet_inventory(&config, 64);
        let counted = found.parameter_count() as f64 / 1e6;
        assert!((counted - millions).abs() < 0.05, "{name}: {counted} M");
        assert_eq!(found.parameters.len(), tensors, "{name}");
        let billions = found.flops as f64 / 1e9;
        assert!((billions / f64::from(gflops) - 1.0).abs() < 0.01, "{name}: {billions} GFLOP");
    }
}

#[test]
fn other_published_parts_have_their_sizes() {
    let four = json!({"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2,
        "down_block_types": vec!["DownEncoderBlock2D"; 4], "up_block_types": vec!["UpDecoderBlock2D"; 4]});
    let (vae, _) = AutoencoderKlConfig::parse("config.json", object(&four)).unwrap();
    let encoder = inventory(&Encode(&vae), &[vec![1, 3, 512, 512]]);
    let decoder = inventory(&Decode(&vae), &[vec![1, 4, 64, 64]]);
    assert_eq!((encoder.output, decoder.output), ([1, 8, 64, 64], [1, 3, 512, 512]));
    let tensors = encoder.parameters.len() + decoder.parameters.len();
    let (taesd, _) = AutoencoderTinyConfig::parse("config.json", &Map::new()).unwrap();
    let taesd = inventory(&Decode(&taesd), &[vec![1, 4, 64, 64]]);
    let bigg = json!({"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32,
        "num_attention_heads": 20, "hidden_act": "gelu", "projection_dim": 1280});
    let class = "CLIPTextModelWithProjection";
    let (bigg, _) = ClipTextConfig::parse("config.json", class, object(&bigg)).unwrap();
    let bigg = ClipText { config: &bigg, skip: 1, normalise: false, pooled: true };
    let bigg = inventory(&bigg, &[vec![1, 77], vec![1, 1]]);
    let (dit, _) = DitConfig::parse("config.json", object(&json!({"out_channels": 8}))).unwrap();
    let dit = inventory(&dit, &[vec![1, 4, 32, 32], vec![1, 256], vec![1, 1], vec![1, 1152, 16, 16]]);
    assert_eq!((tensors, bigg.parameters.len(), dit.parameters.len()), (248, 16 * 32 + 5, 538));
    for (name, parameters, flops, millions, billions) in [
        ("KL encoder", &encoder.parameters, encoder.flops, 34.16, 1117.0),
        ("KL decoder", &decoder.parameters, decoder.flops, 49.49, 2515.0),
        ("TAESD decoder", &taesd.parameters, taesd.flops, 1.22, 141.0),
        ("OpenCLIP bigG", &bigg.parameters, bigg.flops, 694.7, 98.0),
        ("DiT-XL/2", &dit.parameters, dit.flops, 749.8, 237.0),
    ] {
        let counted: usize = parameters.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        assert!((counted as f64 / 1e6 - millions).abs() < 0.05, "{name}: {counted} parameters");
        assert!((flops as f64 / 1e9 / billions - 1.0).abs() < 0.02, "{name}: {flops} FLOP");
    }
}

/// Each config has one thing wrong; the error names the field, and says what is right.
#[test]
fn wrong_configs_are_refused_by_name() {
    let small = || {
        json!({"block_out_channels": [8, 16], "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"], "norm_num_groups": 4, "cross_attention_dim": 12,
        "attention_head_dim": 2})
    };
    for (field, value, kind, says) in [
        ("attention_head_dim", json!([2]), "checkpoint", "a list of 2"),
        ("attention_head_dim", json!(9), "checkpoint", "1 to 8"),
        ("attention_head_dim", json!(0), "checkpoint", "1 to 8"),
        ("attention_head_dim", json!(null), "checkpoint", "attention_head_dim"),
        ("num_attention_heads", json!(8), "unsupported-architecture", "attention_head_dim"),
        ("block_out_channels", json!([]), "checkpoint", "1 to 12"),
        ("block_out_channels", json!([8, 18]), "checkpoint", "divisor"),
        ("block_out_channels", json!([8]), "checkpoint", "down_block_types"),
        ("norm_num_groups", json!(null), "checkpoint", "a number"),
        ("norm_num_groups", json!(3), "checkpoint", "divisor"),
        ("layers_per_block", json!([1]), "checkpoint", "a list of 2"),
        ("layers_per_block", json!(0), "checkpoint", "1 to 64"),
        ("layers_per_block", json!(1_000_000), "checkpoint", "at most 64"),
        ("transformer_layers_per_block", json!([[1, 1], 1]), "checkpoint", "reverse_"),
        ("reverse_transformer_layers_per_block", json!([[1], [1, 1]]), "checkpoint", "shorter"),
        ("cross_attention_dim", json!([0, 12]), "checkpoint", "one width"),
        ("cross_attention_dim", json!([13, 12]), "checkpoint", "one width"),
        ("encoder_hid_dim_type", json!("image_proj"), "unsupported-architecture", "text_proj"),
        ("encoder_hid_dim_type", json!("text_proj"), "checkpoint", "encoder_hid_dim"),
        ("only_cross_attention", json!([true]), "checkpoint", "a list of 2"),
        ("mid_block_type", json!("UNetMidBlock2DSimpleCrossAttn"), "unsupported-architecture", "known here"),
        (
            "down_block_types",
            json!(["AttnDownBlock2D", "DownBlock2D"]),
            "unsupported-architecture",
            "known here",
        ),
        ("up_block_types", json!(["UpBlock2D"]), "checkpoint", "as long as"),
        ("class_embed_type", json!("other"), "checkpoint", "simple_projection"),
        ("class_embed_type", json!("projection"), "checkpoint", "input_dim"),
        ("class_embeddings_concat", json!(true), "checkpoint", "class embedding"),
        ("addition_embed_type", json!("text_image"), "unsupported-architecture", "text_time"),
        ("addition_embed_type", json!("text_time"), "checkpoint", "addition_time_embed_dim"),
        ("dual_cross_attention", json!(true), "unsupported-architecture", "dual_cross_attention"),
        ("attention_type", json!("gated"), "unsupported-architecture", "attention_type"),
        ("time_embedding_type", json!("fourier"), "unsupported-architecture", "positional"),
        ("freq_shift", json!(4), "checkpoint", "half"),
        ("time_cond_proj_dim", json!(3), "checkpoint", "4 to"),
        ("conv_in_kernel", json!(4), "checkpoint", "odd"),
        ("downsample_padding", json!(2), "checkpoint", "0 or 1"),
        ("mid_block_scale_factor", json!(0), "checkpoint", "other than 0"),
        ("act_fn", json!("tanh"), "checkpoint", "silu"),
        ("sample_size", json!([1, 2, 3]), "checkpoint", "one or two"),
        ("_class_name", json!("UNet2DModel"), "unsupported-architecture", "UNet2DConditionModel"),
    ] {
        let mut config = small();
        config[field] = value;
        let error = UNet2DConditionConfig::parse("config.json", object(&config)).unwrap_err();
        assert!(
            error.kind() == kind && error.to_string().contains(says),
            "{field}: {} {error}",
            error.kind()
        );
    }
    let mut config = small();
    config["_class_name"] = json!("FlaxUNet2DConditionModel");
    config["novelty"] = json!(1);
    let (_, unknown) = UNet2DConditionConfig::parse("config.json", object(&config)).unwrap();
    assert_eq!(unknown, ["novelty"]);
}

#[test]
fn wrong_configs_of_other_parts_are_refused_by_name() {
    let kl = |o: &Map<String, Value>| AutoencoderKlConfig::parse("config.json", o).map(drop);
    let tiny = |o: &Map<String, Value>| AutoencoderTinyConfig::parse("config.json", o).map(drop);
    let vq = |o: &Map<String, Value>| VqConfig::parse("config.json", o).map(drop);
    let clip = |o: &Map<String, Value>| ClipTextConfig::parse("config.json", "CLIPTextModel", o).map(drop);
    let dit = |o: &Map<String, Value>| DitConfig::parse("config.json", o).map(drop);
    type Parse<'a> = &'a dyn Fn(&Map<String, Value>) -> noiseball::Result<()>;
    let cases: [(Parse<'_>, Value, &str); 22] = [
        (&kl, json!({"block_out_channels": [64, 64]}), "down_block_types"),
        (&kl, json!({"norm_num_groups": 0}), "norm_num_groups"),
        (&kl, json!({"scaling_factor": 0}), "scaling_factor"),
        (&kl, json!({"latents_mean": [1.0]}), "latents_mean"),
        (&kl, json!({"up_block_types": ["MidBlock"]}), "MidBlock"),
        (&kl, json!({"_class_name": "AutoencoderTiny"}), "AutoencoderKL"),
        (&tiny, json!({"upsampling_scaling_factor": 3}), "upsampling_scaling_factor"),
        (&tiny, json!({"upsample_fn": "bilinear"}), "upsample_fn"),
        (&tiny, json!({"num_encoder_blocks": [1]}), "num_encoder_blocks"),
        (&tiny, json!({"decoder_block_out_channels": [64, 32, 64, 64]}), "one width"),
        (&vq, json!({"norm_type": "spatial"}), "norm_type"),
        (&vq, json!({"num_vq_embeddings": 0}), "num_vq_embeddings"),
        (&clip, json!({"num_attention_heads": 7}), "num_attention_heads"),
        (&clip, json!({"hidden_act": "softsign"}), "hidden_act"),
        (&clip, json!({"eos_token_id": [1, 2]}), "eos_token_id"),
        (&clip, json!({"use_attention_mask": true}), "use_attention_mask"),
        (&dit, json!({"norm_type": "ada_norm_single"}), "norm_type"),
        (&dit, json!({"attention_head_dim": 1, "num_attention_heads": 2}), "attention_head_dim"),
        (&dit, json!({"patch_size": 64}), "patch_size"),
        (&dit, json!({"activation_fn": "swiglu"}), "activation_fn"),
        (&dit, json!({"num_embeds_ada_norm": null}), "num_embeds_ada_norm"),
        (&dit, json!({"caption_channels": 4096}), "caption_channels"),
    ];
    for (parse, config, says) in cases {
        let error = parse(object(&config)).unwrap_err();
        assert!(error.to_string().contains(says), "{config}: {error}");
    }
    assert!(ClipTextConfig::parse("config.json", "T5EncoderModel", &Map::new()).is_err());
}

/// What stands beside the image is checked before anything is computed.
#[test]
fn wrong_conditions_are_refused() {
    let config = json!({"num_class_embeds": 3, "cross_attention_dim": 768});
    let (net, _) = UNet2DConditionConfig::parse("config.json", object(&config)).unwrap();
    assert!(net.time_features(&[f32::NAN]).is_err());
    for labels in [None, Some(&[0.0][..]), Some(&[0.0, 3.0]), Some(&[0.5, 0.0]), Some(&[f32::NAN, 0.0])] {
        assert!(net.class_features(2, labels).is_err(), "{labels:?}");
    }
    assert_eq!(net.class_features(2, Some(&[2.0, 0.0])).unwrap().unwrap(), [2.0, 0.0]);
    assert!(net.added_features(&[0.0; 10], &[1.0]).is_err());
    assert!(net.check_size(0, 1).is_err());
    let (dit, _) = DitConfig::parse("config.json", &Map::new()).unwrap();
    assert!(dit.check_size(32, 16).is_err() && dit.check_size(31, 31).is_err());
    dit.check_labels(&[0.0, 1000.0]).unwrap();
    assert!(dit.check_labels(&[1001.0]).is_err() && dit.check_labels(&[-1.0]).is_err());
}

/// What a config becomes where one value is another: refused, or a network whose parameters can be counted.
#[test]
fn any_value_in_a_config_is_refused_or_understood() {
    let values = [
        json!(null),
        json!(0),
        json!(1),
        json!(7),
        json!(-1),
        json!(0.5),
        json!(1e300),
        json!(1_u64 << 40),
        json!(true),
        json!("x"),
        json!([]),
        json!([1, 2]),
        json!([[1], [0, 2]]),
        json!({"a": 1}),
    ];
    let mut understood = [0; 2];
    for (family, json) in [UNET_CONDITION, AUTOENCODERS, CLIP_TEXT, DIT].into_iter().enumerate() {
        for case in cases(json, 1).iter().filter(|case| case.config().len() > 16 || case.name() == "tiny") {
            for (key, value) in case.config().keys().flat_map(|key| values.iter().map(move |v| (key, v))) {
                let mut config = case.config().clone();
                config[key] = value.clone();
                let count = counted(family, case, &config);
                assert!(count.as_ref().is_ok_and(|n| *n > 0) || count.is_err(), "{key}: {value}");
                understood[usize::from(count.is_ok())] += 1;
            }
        }
    }
    assert!(understood.iter().all(|n| *n > 300), "{understood:?}");
}

fn counted(family: usize, case: &Case, config: &Map<String, Value>) -> noiseball::Result<u64> {
    let file = "config.json";
    let picture = [vec![1, 3, 8, 8]];
    match (family, case.0["kind"].as_str()) {
        (0, _) => UNet2DConditionConfig::parse(file, config).map(|(net, _)| {
            let added = net.text_time.map(|t| t.input_dim);
            let vectors = [net.class_width(), added, net.time_cond_proj_dim];
            let image = vec![1, net.in_channels, 9, 8];
            let mut inputs = vec![image, vec![1, net.time.width], vec![1, net.text_width, 5, 1]];
            inputs.extend(vectors.into_iter().flatten().map(|width| vec![1, width]));
            inventory(&net, &inputs).parameter_count()
        }),
        (1, Some("kl")) => AutoencoderKlConfig::parse(file, config).map(|(net, _)| both(&net, &picture)),
        (1, Some("tiny")) => AutoencoderTinyConfig::parse(file, config).map(|(net, _)| both(&net, &picture)),
        (1, _) => VqConfig::parse(file, config).map(|(net, _)| both(&net, &picture)),
        (2, class) => ClipTextConfig::parse(file, class.unwrap(), config).map(|(net, _)| {
            let pass = ClipText { config: &net, skip: 1, normalise: true, pooled: true };
            inventory(&pass, &[vec![1, 1], vec![1, 1]]).parameter_count()
        }),
        _ => DitConfig::parse(file, config).map(|(net, _)| {
            let patches = net.sample_size / net.patch_size;
            let image = vec![1, net.in_channels, net.sample_size, net.sample_size];
            let positions = vec![1, net.width(), patches, patches];
            inventory(&net, &[image, vec![1, 256], vec![1, 1], positions]).parameter_count()
        }),
    }
}

fn both(net: &impl Autoencoder, picture: &[Vec<usize>]) -> u64 {
    let halves = [inventory(&Encode(net), picture), inventory(&Decode(net), picture)];
    halves.iter().map(Inventory::parameter_count).sum()
}

/// What passes make of Stable Diffusion 1.5's U-Net at 512 pixels: 16 transformers of 12 operations, of which the keys and values
/// of a prompt are computed once.
#[test]
fn a_published_unets_plan_is_short() {
    let config = json!({"cross_attention_dim": 768});
    let (net, _) = UNet2DConditionConfig::parse("config.json", object(&config)).unwrap();
    let image = Shape { height: 64, width: 64, channels: 4 };
    let text = Shape { height: 77, width: 1, channels: 768 };
    let inputs = [
        Input { name: "x", rate: Rate::Evaluation, shape: image },
        Input::vector("time", Rate::Timestep, net.time.width),
        Input { name: "text", rate: Rate::Prompt, shape: text },
    ];
    let graph = Graph::of_pass(&net, &inputs);
    let counts = [false, true].map(|wanted| {
        let plan = plan_prompts(&graph, 2, 2, |_| wanted).unwrap();
        println!(
            "passes {wanted}: {} operations a step, {} for prompts, {} in the prelude; arena {} MB",
            plan.ops.len(),
            plan.prompts.ops.len(),
            plan.prelude.ops.len(),
            4 * plan.arena / 1_000_000
        );
        if wanted && let Some(file) = std::env::var_os("PLAN") {
            std::fs::write(file, plan.to_string()).unwrap();
        }
        [plan.ops.len(), plan.prompts.ops.len()]
    });
    assert_eq!(counts, [[673, 32], [307, 32]]);
}
