//! What a pipeline's folder says, read and checked: all that can be known without its weights.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use super::part::{Coder, Part};
use super::{Autoencoder, Kind, Pipeline};
use crate::checkpoint::Parts;
use crate::checkpoint::json::Fields;
use crate::error::{Error, Result};
use crate::network::autoencoder_kl::AutoencoderKlConfig;
use crate::network::autoencoder_tiny::AutoencoderTinyConfig;
use crate::network::clip_text::ClipTextConfig;
use crate::network::dit::DitConfig;
use crate::network::unet::UNet2DConfig;
use crate::network::unet_condition::{ClassEmbedding, UNet2DConditionConfig};
use crate::network::vq::VqConfig;
use crate::prompt::{Files, Tokenizer};
use crate::sampler::SamplerKind;
use crate::schedule::Schedule;

/// A text encoder with its tokenizer.
#[derive(Clone, Debug)]
pub struct TextEncoder {
    /// The part's name.
    pub name: &'static str,
    /// The network.
    pub part: Part,
    /// Its config.
    pub config: Arc<ClipTextConfig>,
    /// What turns prompts into its ids.
    pub tokenizer: Tokenizer,
}

/// A pipeline whose configs have been read.
#[derive(Clone, Debug)]
pub struct Description {
    /// Which parts there are and how they fit together.
    pub pipeline: Pipeline,
    /// The class of the pipeline in diffusers.
    pub class: String,
    /// The text encoders.
    pub text: Vec<TextEncoder>,
    /// The network that is asked at every step.
    pub network: Part,
    /// The autoencoder.
    pub coder: Coder,
    /// The noise levels that the network was trained with.
    pub schedule: Schedule,
    /// The sampler that the scheduler stands for.
    pub sampler: SamplerKind,
    /// Keys of the configs that mean nothing here, behind the part's name.
    pub unknown_keys: Vec<String>,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// What a part is and needs, for people and pages.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PartInfo {
    /// The part's name, `unet`. Of an autoencoder's halves, which are loaded one without the other, the name with `.encoder` or `.decoder`.
    pub name: String,
    /// Number of scalar parameters.
    pub parameters: u64,
    /// Floating-point operations of one evaluation for one picture of the size that the network was trained at.
    pub flops: u64,
    /// Memory of its activations, in bytes.
    pub activation_bytes: u64,
}

impl PartInfo {
    /// Memory while it runs, with so many bytes for each weight.
    #[must_use]
    pub fn bytes(&self, each: u64) -> u64 {
        self.parameters.saturating_mul(each).saturating_add(self.activation_bytes)
    }
}

impl Description {
    /// How many steps Python makes, and with which scale of guidance, where nobody says.
    #[must_use]
    pub fn defaults(&self) -> (usize, f64) {
        let (steps, guidance) = self.pipeline.kind.defaults();
        // This class has another scale than its relatives.
        let own = self.class == "StableDiffusionXLInpaintPipeline";
        (steps, if own { 7.5 } else { guidance })
    }

    /// Reads the configs of a pipeline's parts.
    ///
    /// # Errors
    /// Those of [`Pipeline::read`], of the networks' configs and of [`Tokenizer::read`]; [`Error::Config`] where a tokenizer's ids are not
    /// its text encoder's.
    pub fn read(parts: &Parts) -> Result<Self> {
        let pipeline = Pipeline::read(&parts.model_index, &|name| parts.config(name))?;
        let kind = pipeline.kind;
        let mut unknown_keys = Vec::new();
        let mut keep = |part: &str, keys: Vec<String>| {
            unknown_keys.extend(keys.iter().map(|key| format!("{part}.{key}")));
        };
        let config = |name: &str| -> Result<(String, &Map<String, Value>)> {
            let file = format!("{name}/config.json");
            let found = parts.config(name).ok_or_else(|| Error::MissingFile {
                wanted: file.clone(),
                found: "other files".to_owned(),
            })?;
            Ok((file, found))
        };

        let mut text = Vec::new();
        let encoders: &[[&'static str; 2]] = match kind {
            Kind::StableDiffusion | Kind::LatentConsistency => &[["text_encoder", "tokenizer"]],
            Kind::StableDiffusionXl => &[["text_encoder", "tokenizer"], ["text_encoder_2", "tokenizer_2"]],
            Kind::Dit | Kind::LatentDiffusion => &[],
        };
        for [name, tokenizer] in encoders {
            let (file, object) = config(name)?;
            let class = parts.class(name).unwrap_or_default();
            let (config, unknown) = ClipTextConfig::parse(&file, class, object)?;
            keep(name, unknown);
            let mut tokenizer = Tokenizer::read(&files(parts, tokenizer))?;
            tokenizer.fit(config.vocab_size, config.max_position_embeddings)?;
            let config = Arc::new(config);
            let is_xl = kind == Kind::StableDiffusionXl;
            let part = Part::Text {
                config: Arc::clone(&config),
                // SDXL takes what the last layer but one makes, as it is.
                skip: usize::from(is_xl),
                normalise: !is_xl,
                pooled: *name == "text_encoder_2",
            };
            text.push(TextEncoder { name, part, config, tokenizer });
        }
        if let [first, second] = &text[..]
            && first.tokenizer.max_length() != second.tokenizer.max_length()
        {
            let [a, b] = [first, second].map(|encoder| encoder.tokenizer.max_length().unwrap_or_default());
            let file = "tokenizer_2/tokenizer_config.json".to_owned();
            let expected = format!("{a}, as that of tokenizer");
            return Err(Error::Config {
                file,
                field: "model_max_length".to_owned(),
                found: b.to_string(),
                expected,
            });
        }

        let name = kind.network();
        let (file, object) = config(name)?;
        let network = match kind {
            Kind::Dit => {
                let (net, unknown) = DitConfig::parse(&file, object)?;
                keep(name, unknown);
                Part::Dit(Arc::new(net))
            }
            Kind::LatentDiffusion => {
                let (net, unknown) = UNet2DConfig::parse(&file, object)?;
                keep(name, unknown);
                Part::UNet2D(Arc::new(net))
            }
            _ => {
                let (net, unknown) = UNet2DConditionConfig::parse(&file, object)?;
                keep(name, unknown);
                check_conditions(kind, &net)?;
                Part::UNet(Arc::new(net))
            }
        };
        let name = kind.autoencoder();
        let (file, object) = config(name)?;
        let (coder, unknown) = match pipeline.autoencoder {
            Autoencoder::Kl => {
                let (net, unknown) = AutoencoderKlConfig::parse(&file, object)?;
                (Coder::Kl(Arc::new(net)), unknown)
            }
            Autoencoder::Tiny => {
                let (net, unknown) = AutoencoderTinyConfig::parse(&file, object)?;
                (Coder::Tiny(Arc::new(net)), unknown)
            }
            Autoencoder::Vq => {
                let (net, unknown) = VqConfig::parse(&file, object)?;
                (Coder::Vq(Arc::new(net)), unknown)
            }
        };
        keep(name, unknown);

        let (mut scheduler, mut notes) = parts.scheduler();
        kind.adjust_scheduler(&mut scheduler);
        let schedule = Schedule::from_fields(&Fields::new("scheduler/scheduler_config.json", &scheduler))?;
        let (sampler, note) = SamplerKind::default_for(&schedule.class_name);
        notes.extend(note);
        let unused = parts.unused();
        if !unused.is_empty() {
            notes.push(format!("not used: {}", unused.join(", ")));
        }
        let class =
            parts.model_index.get("_class_name").and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Self { pipeline, class, text, network, coder, schedule, sampler, unknown_keys, notes })
    }

    /// Tokens of a prompt.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.text.first().and_then(|encoder| encoder.tokenizer.max_length()).unwrap_or(1)
    }

    /// Every part with what it needs for one picture of latents of this size, in the order in which they run. An encoder runs for runs that
    /// begin with a picture.
    #[must_use]
    pub fn parts(&self, latents: [usize; 2]) -> Vec<PartInfo> {
        let info = |name: String, part: &Part, size: [usize; 2], batch: usize| {
            let found = part.describe(batch, size, self.tokens());
            PartInfo {
                name,
                parameters: found.parameter_count(),
                flops: found.flops,
                activation_bytes: found.peak_activation_bytes,
            }
        };
        let pixels = latents.map(|side| side * self.pipeline.scale_factor);
        let coder = self.pipeline.kind.autoencoder();
        let text = self.text.iter().map(|e| info(e.name.to_owned(), &e.part, [self.tokens(), 1], 1));
        let mut parts: Vec<PartInfo> = text.collect();
        if self.pipeline.draws(super::Task::Picture).is_ok() {
            parts.push(info(format!("{coder}.encoder"), &Part::Encoder(self.coder.clone()), pixels, 1));
        }
        parts.push(info(self.pipeline.kind.network().to_owned(), &self.network, latents, 1));
        parts.push(info(format!("{coder}.decoder"), &Part::Decoder(self.coder.clone()), latents, 1));
        parts
    }
}

/// A network may want to be told more than its kind of pipeline tells it.
fn check_conditions(kind: Kind, net: &UNet2DConditionConfig) -> Result<()> {
    let refuse = |what: &str| {
        let why = "this kind of pipeline has nothing to tell it there".to_owned();
        Err(Error::Unsupported { what: what.to_owned(), why })
    };
    if net.class_embedding != ClassEmbedding::None {
        return refuse("a UNet2DConditionModel with a class embedding");
    }
    if net.text_time.is_some() != (kind == Kind::StableDiffusionXl) {
        return refuse("addition_embed_type text_time in a pipeline other than SDXL's, or none in SDXL's");
    }
    Ok(())
}

fn files<'p>(parts: &'p Parts, tokenizer: &str) -> Files<'p> {
    let file = |name: &str| parts.file(&format!("{tokenizer}/{name}"));
    Files {
        vocab: file("vocab.json"),
        merges: file("merges.txt"),
        tokenizer: file("tokenizer.json"),
        config: file("tokenizer_config.json"),
        special_tokens_map: file("special_tokens_map.json"),
    }
}
