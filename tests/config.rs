//! Every field of a checkpoint's configuration at its edges: what Python's code makes of it, or an error that names it.

#![cfg(not(target_arch = "wasm32"))]

mod golden;

use golden::weight;
use noiseball::checkpoint::weights::{Tensor, Weights};
use noiseball::engine::Plan;
use noiseball::model::ModelConfig;
use noiseball::network::describe::describe;
use noiseball::network::unet::UNet2DConfig;
use noiseball::{Checkpoint, Device, Error, Model, Result, SampleOptions, SamplerKind};
use serde_json::{Map, Value, json};

/// A network of one level.
fn small(changes: &Value) -> Map<String, Value> {
    let mut config = json!({
        "sample_size": 4, "in_channels": 1, "out_channels": 1, "block_out_channels": [8], "layers_per_block": 1,
        "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"], "norm_num_groups": 4,
        "add_attention": false,
    });
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    config.as_object().unwrap().clone()
}

fn checkpoint(unet: &Value, scheduler: &Value) -> Checkpoint {
    let unet_config = small(unet);
    let mut weights = Weights::default();
    if let Ok((config, _)) = UNet2DConfig::parse("unet/config.json", &unet_config) {
        for (key, shape) in describe(&config, 1, 4, 4).parameters {
            weights.insert(&key, Tensor::from_f32(&shape, &weight(&key, &shape)));
        }
    }
    let scheduler_config = Some(scheduler.as_object().unwrap().clone());
    Checkpoint { model_index: None, unet_config, scheduler_config, labels: None, weights }
}

/// The pictures of a run.
fn sample(unet: &Value, scheduler: &Value, options: &SampleOptions) -> Result<Vec<f32>> {
    let model = Model::load_blocking(checkpoint(unet, scheduler), &Device::cpu())?;
    let mut run = model.sample(options)?;
    let mut last = Vec::new();
    while let Some(step) = run.step_blocking()? {
        last = step.x.to_vec();
    }
    Ok(last)
}

fn field(error: Error) -> String {
    match error {
        Error::Config { field, .. } => field,
        other => panic!("{other}"),
    }
}

#[test]
fn one_table_embeds_times_and_labels() {
    let unet =
        json!({"time_embedding_type": "learned", "num_train_timesteps": 3, "class_embed_type": "timestep"});
    let scheduler = json!({"num_train_timesteps": 3});
    let labelled = |label: f32| {
        let labels = Some(vec![label]);
        sample(&unet, &scheduler, &SampleOptions::default().labels(labels))
    };
    let pictures = [0.0, 2.0].map(|label| labelled(label).unwrap());
    assert!(pictures.iter().flatten().all(|v| v.is_finite()) && pictures[0] != pictures[1]);
    for label in [3.0, -1.0, 0.5, f32::NAN] {
        let refused = labelled(label).unwrap_err();
        assert!(matches!(&refused, Error::Option { option: "labels", .. }), "{label}: {refused}");
    }
}

#[test]
fn a_run_is_checked_at_its_own_timesteps_before_its_first_step() {
    let learned = |rows: u64| json!({"time_embedding_type": "learned", "num_train_timesteps": rows});
    let one = json!({"num_train_timesteps": 1});
    // Its only timestep is 0, and no other is asked about.
    assert!(sample(&learned(1), &one, &SampleOptions::default()).is_ok());
    let started = |unet: &Value, scheduler: &Value| {
        let model = Model::load_blocking(checkpoint(unet, scheduler), &Device::cpu()).unwrap();
        model.sample(&SampleOptions::default()).map(|_| ())
    };
    let short = started(&learned(9), &json!({"num_train_timesteps": 10})).unwrap_err();
    assert!(short.to_string().contains("`timestep` is 9, but it must be a row"), "{short}");
    // Python gives NaN at the last step, for ln 0.
    let fourier = started(&json!({"time_embedding_type": "fourier"}), &one).unwrap_err();
    assert!(fourier.to_string().contains("logarithm"), "{fourier}");
}

#[test]
fn labels_have_the_same_edges_as_timesteps() {
    let options =
        |labels: &[f32]| SampleOptions::default().labels(labels.to_vec()).sampler(SamplerKind::Ddim).steps(1);
    let offset = json!({"steps_offset": 1});
    let fourier = json!({"time_embedding_type": "fourier", "class_embed_type": "timestep"});
    assert!(sample(&fourier, &offset, &options(&[2.5])).is_ok());
    let identity = json!({"class_embed_type": "identity", "time_embedding_dim": 2});
    assert!(sample(&identity, &offset, &options(&[0.5, -1.0])).is_ok());
    let table = json!({"num_class_embeds": 2});
    for (unet, labels) in [
        (&fourier, &[0.0][..]),
        (&fourier, &[f32::INFINITY]),
        (&identity, &[0.5, f32::NAN]),
        (&identity, &[0.5, 0.5, 0.5]),
        (&table, &[2.0]),
        (&table, &[0.0, 1.0]),
        (&table, &[]),
        (&json!({}), &[0.0]),
    ] {
        let refused = sample(unet, &offset, &options(labels)).unwrap_err();
        assert!(matches!(&refused, Error::Option { option: "labels", .. }), "{unet} {labels:?}: {refused}");
    }
}

#[test]
fn a_learned_variance_needs_a_network_that_says_one() {
    for kind in ["learned", "learned_range"] {
        let scheduler = json!({"variance_type": kind, "num_train_timesteps": 2});
        let twice = json!({"out_channels": 2});
        assert!(sample(&twice, &scheduler, &SampleOptions::default()).is_ok());
        assert_eq!(
            field(sample(&json!({}), &scheduler, &SampleOptions::default()).unwrap_err()),
            "variance_type"
        );
        // DDIM has no use for it, as in Python.
        let ddim = SampleOptions::default().sampler(SamplerKind::Ddim);
        assert!(sample(&json!({}), &scheduler, &ddim).is_ok());
    }
}

#[test]
fn values_that_no_network_has_are_refused_by_name() {
    let f32_max = f64::from(f32::MAX);
    for (name, value) in [
        ("sample_size", json!(null)),
        ("sample_size", json!([4])),
        ("sample_size", json!([4, 4, 4])),
        ("sample_size", json!(4.5)),
        ("sample_size", json!(0)),
        ("sample_size", json!("4")),
        ("sample_size", json!(8193)),
        ("in_channels", json!(0)),
        ("in_channels", json!(true)),
        ("out_channels", json!(3)),
        ("out_channels", json!(null)),
        ("block_out_channels", json!(8)),
        ("block_out_channels", json!([])),
        ("block_out_channels", json!([8.0])),
        ("block_out_channels", json!([0])),
        ("down_block_types", json!("DownBlock2D")),
        ("down_block_types", json!(["DownBlock2D", "DownBlock2D"])),
        ("up_block_types", json!([null])),
        ("layers_per_block", json!(0)),
        ("layers_per_block", json!(65)),
        ("norm_num_groups", json!(null)),
        ("norm_num_groups", json!(0)),
        ("norm_num_groups", json!(3)),
        ("norm_eps", json!(-1e-5)),
        ("norm_eps", json!("NaN")),
        ("norm_eps", json!(10.0 * f32_max)),
        ("mid_block_scale_factor", json!(0)),
        ("mid_block_scale_factor", json!(1e-320)),
        ("mid_block_scale_factor", json!("Infinity")),
        ("downsample_padding", json!(2)),
        ("downsample_padding", json!(null)),
        ("downsample_type", json!("fir")),
        ("act_fn", json!("tanh")),
        ("act_fn", json!(null)),
        ("resnet_time_scale_shift", json!("spatial")),
        ("time_embedding_type", json!(null)),
        ("time_embedding_type", json!("sinus")),
        ("time_embedding_dim", json!(-1)),
        ("time_embedding_dim", json!(1 << 17)),
        ("freq_shift", json!(4)),
        ("freq_shift", json!(4.000_000_1)),
        ("freq_shift", json!("1")),
        ("flip_sin_to_cos", json!("true")),
        ("add_attention", json!([])),
        ("class_embed_type", json!("projection")),
        ("num_class_embeds", json!(0)),
        ("num_class_embeds", json!(1.5)),
        ("dropout", json!("NaN")),
    ] {
        let refused = ModelConfig::read(&checkpoint(&json!({name: value}), &json!({}))).unwrap_err();
        assert_eq!(field(refused), name, "{value}");
    }
    for (unet, name) in [
        (json!({"time_embedding_type": "learned"}), "num_train_timesteps"),
        (json!({"time_embedding_type": "learned", "num_train_timesteps": 0}), "num_train_timesteps"),
        (json!({"add_attention": true, "attention_head_dim": 0}), "attention_head_dim"),
        (json!({"add_attention": true, "attention_head_dim": 9}), "attention_head_dim"),
        (json!({"add_attention": true, "attn_norm_num_groups": 3}), "attn_norm_num_groups"),
    ] {
        let refused = ModelConfig::read(&checkpoint(&unet, &json!({}))).unwrap_err();
        assert_eq!(field(refused), name, "{unet}");
    }
}

#[test]
fn what_python_takes_for_nothing_is_nothing() {
    let read = |changes: Value| UNet2DConfig::parse("config.json", &small(&changes)).unwrap().0;
    let plain = read(json!({}));
    for nothing in [
        json!({"time_embedding_dim": 0}),
        json!({"time_embedding_dim": null}),
        json!({"downsample_type": null, "upsample_type": null}),
        json!({"add_attention": null}),
        json!({"add_attention": 0, "center_input_sample": null}),
        json!({"class_embed_type": null, "num_class_embeds": null}),
    ] {
        assert_eq!(read(nothing.clone()), plain, "{nothing}");
    }
    assert!(read(json!({"freq_shift": 40})).freq_shift == 40.0, "beyond half of the width, frequencies rise");
}

/// What fuzzing found: sums and products that wrapped, or counted less than there is.
#[test]
fn networks_too_large_to_count_are_refused() {
    let flops = json!({
        "_class_name": "UNet2DModel", "act_fn": "gelu", "add_attention": false, "attention_head_dim": null,
        "block_out_channels": [16384, 16, 8, 8, 8, 1024, 32, 16, 2, 16384, 1024, 16], "in_channels": 1,
        "down_block_types": ["AttnDownBlock2D", "DownBlock2D", "AttnDownBlock2D", "DownBlock2D",
            "ResnetDownsampleBlock2D", "ResnetDownsampleBlock2D", "DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D",
            "AttnDownBlock2D", "ResnetDownsampleBlock2D", "DownBlock2D"],
        "layers_per_block": 3, "mid_block_type": null, "norm_num_groups": 2, "num_class_embeds": 3, "out_channels": 1,
        "sample_size": 4096, "time_embedding_dim": 7,
        "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D", "ResnetUpsampleBlock2D",
            "AttnUpBlock2D", "ResnetUpsampleBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D"],
    });
    let volume = json!({
        "add_attention": false, "attention_head_dim": 2, "block_out_channels": [16384, 64, 2],
        "class_embed_type": "identity", "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D"],
        "in_channels": 3, "layers_per_block": 2, "norm_num_groups": 2, "out_channels": 3, "sample_size": 8192,
        "time_embedding_type": "fourier", "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D"],
    });
    let read = |unet: &Value| {
        let (unet_config, weights) = (small(unet), Weights::default());
        let parts = (None, None, None);
        let checkpoint = Checkpoint {
            model_index: parts.0,
            unet_config,
            scheduler_config: parts.1,
            labels: parts.2,
            weights,
        };
        ModelConfig::read(&checkpoint)
    };
    for bomb in [&flops, &volume] {
        assert_eq!(field(read(bomb).unwrap_err()), "sample_size");
        let (config, _) = UNet2DConfig::parse("config.json", &small(bomb)).unwrap();
        let size = config.sample_size.unwrap();
        let planned = Plan::new(&config, 1024, size[0], size[1]);
        assert!(matches!(planned, Err(Error::OutOfMemory { .. })) || usize::BITS > 32, "{planned:?}");
    }
    // 64 layers of 64 channels: each activation is 0.5 GB, and all that live at once are 38.7 GB.
    let arena = json!({
        "sample_size": [2048, 1024], "block_out_channels": [64], "layers_per_block": 64, "norm_num_groups": 8,
    });
    let found = read(&arena).unwrap();
    let plan = Plan::new(&*found.network, 1, 2048, 1024);
    match usize::BITS {
        32 => assert!(matches!(plan, Err(Error::OutOfMemory { .. })), "{plan:?}"),
        _ => assert_eq!(4 * plan.unwrap().arena as u64 / 100_000_000, 387),
    }
}

#[test]
fn what_a_config_says_reaches_no_terminal_as_it_is_and_no_message_is_endless() {
    let told = |unet: Value, scheduler: Value| {
        ModelConfig::read(&checkpoint(&unet, &scheduler)).unwrap_err().to_string()
    };
    let escape = "\u{1b}]0;pwned\u{7}\u{1b}[2J\u{1b}[31mUNet\u{9b}\u{202e}";
    let many: Vec<u32> = vec![8; 200_000];
    let long = "x".repeat(3_000_000);
    for message in [
        told(json!({"_class_name": escape}), json!({})),
        told(json!({}), json!({"_class_name": escape})),
        told(json!({"down_block_types": [escape]}), json!({})),
        told(json!({"act_fn": escape}), json!({})),
        told(json!({}), json!({"beta_schedule": escape})),
        told(json!({"_class_name": long}), json!({})),
        told(json!({"act_fn": long}), json!({})),
        told(json!({"block_out_channels": many}), json!({})),
        told(json!({"sample_size": many}), json!({})),
        told(json!({}), json!({"trained_betas": long})),
    ] {
        assert!(!message.chars().any(|c| c.is_control() || c == '\u{202e}'), "{message:?}");
        assert!(message.len() < 2500, "{} bytes", message.len());
    }
}

#[test]
fn what_python_does_not_look_at_or_bound_is_taken() {
    let two = |more: Value| {
        let mut scheduler = json!({"num_train_timesteps": 2});
        scheduler.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        sample(&json!({}), &scheduler, &SampleOptions::default())
    };
    let same = |a: Value, b: Value| assert_eq!(two(a.clone()).unwrap(), two(b).unwrap(), "{a}");
    same(json!({"clip_sample_range": "Infinity"}), json!({"clip_sample": false}));
    same(
        json!({"thresholding": true, "sample_max_value": "Infinity"}),
        json!({"thresholding": true, "sample_max_value": null}),
    );
    for range in [json!(0), json!(-1), json!("-Infinity")] {
        assert_eq!(field(two(json!({"clip_sample_range": range})).unwrap_err()), "clip_sample_range");
    }
    // A table longer than the training was: only its first levels are used.
    same(json!({"trained_betas": [0.1, 0.2, 0.3]}), json!({"trained_betas": [0.1, 0.2]}));
    assert_eq!(field(two(json!({"trained_betas": [0.1]})).unwrap_err()), "trained_betas");
    // DDIM has no variance_type.
    let of = |class: &str, kind: &str| json!({"_class_name": class, "variance_type": kind});
    same(of("DDIMScheduler", "odd"), of("DDIMScheduler", "fixed_small"));
    assert_eq!(field(two(of("DDPMScheduler", "odd")).unwrap_err()), "variance_type");
    // Any name builds the one middle block.
    let unet = small(&json!({"mid_block_type": "UNetMidBlock2DSimpleCrossAttn"}));
    assert_eq!(
        UNet2DConfig::parse("c", &unet).unwrap().0,
        UNet2DConfig::parse("c", &small(&json!({}))).unwrap().0
    );
    // A variance that the scheduler does not ask for is not used, and that is said.
    for (scheduler, told) in [
        (json!({}), true),
        (of("DDIMScheduler", "learned_range"), true),
        (of("DDPMScheduler", "learned_range"), false),
    ] {
        let notes = ModelConfig::read(&checkpoint(&json!({"out_channels": 2}), &scheduler)).unwrap().notes;
        assert_eq!(notes.iter().any(|note| note.contains("is not used")), told, "{scheduler}: {notes:?}");
    }
}

/// The picture that Skip blocks pass on has three channels, and is resampled by them alone.
#[test]
fn skip_blocks_stand_where_their_picture_can_pass() {
    let skips = |down: [&str; 2], up: [&str; 2], more: Value| {
        let mut config = small(&json!({
            "in_channels": 3, "out_channels": 3, "block_out_channels": [8, 16], "norm_num_groups": 4,
            "down_block_types": down, "up_block_types": up,
        }));
        config.extend(more.as_object().unwrap().clone());
        UNet2DConfig::parse("config.json", &config).map(|_| ())
    };
    let (down, up) = (["SkipDownBlock2D"; 2], ["SkipUpBlock2D"; 2]);
    let none = json!({"norm_num_groups": null});
    skips(down, up, none.clone()).unwrap();
    skips(["SkipDownBlock2D", "DownBlock2D"], ["UpBlock2D", "SkipUpBlock2D"], json!({})).unwrap();
    for (down, up, more, name) in [
        (["DownBlock2D", "SkipDownBlock2D"], up, none.clone(), "norm_num_groups"),
        (down, ["SkipUpBlock2D", "UpBlock2D"], json!({}), "up_block_types"),
        (down, up, json!({"in_channels": 1}), "in_channels"),
        (down, up, json!({"out_channels": 6}), "out_channels"),
        (down, up, json!({"block_out_channels": [8, 3]}), "block_out_channels"),
        (down, up, json!({"block_out_channels": [9, 16]}), "block_out_channels"),
        (["AttnSkipDownBlock2D", "SkipDownBlock2D"], up, json!({}), "block_out_channels"),
    ] {
        assert_eq!(field(skips(down, up, more.clone()).unwrap_err()), name, "{down:?} {up:?} {more}");
    }
    let three = json!({
        "block_out_channels": [8, 8, 8], "up_block_types": vec!["UpBlock2D"; 3],
        "down_block_types": ["DownBlock2D", "SkipDownBlock2D", "DownBlock2D"],
    });
    assert_eq!(field(skips(down, up, three).unwrap_err()), "down_block_types");
}
