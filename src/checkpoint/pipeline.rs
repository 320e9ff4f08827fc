//! What a checkpoint says that it is: the parts of its pipeline, the class of its scheduler, and that of its network.

use serde_json::{Map, Value};

use super::Checkpoint;
use super::folder::list;
use crate::error::{Error, Result};
use crate::network::is_known;
use crate::text;

/// The only network that can be run.
const NETWORK: &str = "UNet2DModel";

/// Looks through a `model_index.json`. A pipeline that is more than a `UNet2DModel` and a scheduler makes its pictures with
/// parts that do not exist here, such as a decoder: what its network alone makes would only look like a result.
///
/// # Errors
/// [`Error::Unsupported`] with the pipeline's name and those of the parts.
pub(super) fn check_parts(index: &Map<String, Value>) -> Result<()> {
    let mut others = Vec::new();
    for (name, value) in index.iter().filter(|(name, _)| !name.starts_with('_')) {
        // A part is `[library, class]`, or `[null, null]` where it was left out; anything else is a setting.
        let Some([_, Value::String(class)]) = value.as_array().map(Vec::as_slice) else { continue };
        if name != "scheduler" && !(name == "unet" && is_known(class)) {
            others.push(format!("`{}` ({})", text::name(name), text::name(class)));
        }
    }
    if others.is_empty() {
        return Ok(());
    }
    let pipeline = index.get("_class_name").and_then(Value::as_str).unwrap_or("the pipeline");
    Err(Error::Unsupported {
        what: pipeline.to_owned(),
        why: format!(
            "only a {NETWORK} with a scheduler can be run, and it is made of {}",
            list(others.iter())
        ),
    })
}

/// Pipelines that make a scheduler of their own from whatever one they are given.
const CONVERTING: [(&str, &str); 2] = [("DDIMPipeline", "DDIMScheduler"), ("PNDMPipeline", "PNDMScheduler")];

impl Checkpoint {
    /// The scheduler's config as diffusers reads it, and what a reader should know of it. The class is that of the
    /// pipeline, where it makes its own scheduler, or else the one that `model_index.json` names; only then counts what
    /// `scheduler_config.json` calls itself. Empty where none of the files says anything.
    #[must_use]
    pub fn scheduler(&self) -> (Map<String, Value>, Vec<String>) {
        scheduler(self.model_index.as_ref(), self.scheduler_config.as_ref())
    }
}

/// [`Checkpoint::scheduler`] by the two files that tell it.
pub(super) fn scheduler(
    model_index: Option<&Map<String, Value>>,
    of_scheduler: Option<&Map<String, Value>>,
) -> (Map<String, Value>, Vec<String>) {
    let mut config = of_scheduler.cloned().unwrap_or_default();
    let string = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let index = |key: &str| model_index.and_then(|index| index.get(key));
    let of_file = string(config.get("_class_name"));
    let of_index = index("scheduler").and_then(|part| string(part.get(1)));
    let of_pipeline = string(index("_class_name"))
        .and_then(|name| CONVERTING.iter().find(|(pipeline, _)| *pipeline == name));
    let class = of_pipeline.map(|(_, class)| (*class).to_owned());
    let class = class.or_else(|| of_index.clone()).or_else(|| of_file.clone());
    let mut notes = Vec::new();
    if let Some(class) = &class {
        if [&of_index, &of_file].into_iter().flatten().any(|other| other != class) {
            let why = match &of_pipeline {
                Some((pipeline, class)) => format!("{pipeline} makes a {class} of it"),
                None => format!("{} is used", text::name(class)),
            };
            let [index, file] =
                [&of_index, &of_file].map(|told| text::name(told.as_deref().unwrap_or("nothing")));
            notes.push(format!(
                "model_index.json names {index}, and scheduler_config.json {file}: {why}, as in diffusers"
            ));
        }
        config.insert("_class_name".to_owned(), Value::from(class.as_str()));
    }
    if of_scheduler.is_none() {
        let class = class.as_deref().unwrap_or("DDPMScheduler");
        notes.push(format!(
            "no scheduler_config.json: the defaults of diffusers' {} are used",
            text::name(class)
        ));
    }
    (config, notes)
}

/// Looks at the network's `config.json`, `file`, for what else it may be the config of.
///
/// # Errors
/// [`Error::Unsupported`] with the network's name.
pub(super) fn check_network(file: &str, config: &Map<String, Value>) -> Result<()> {
    let field = |key: &str| config.get(key).and_then(Value::as_str);
    let refuse = |what: &str, why: &str| {
        Err(Error::Unsupported {
            what: what.to_owned(),
            why: format!("{why}. Only a diffusers {NETWORK} can be run"),
        })
    };
    match field("_class_name") {
        Some(class) if is_known(class) => return Ok(()),
        Some(other) => return refuse(other, &format!("{file} is another network's")),
        None => {}
    }
    // A config without a class is a UNet2DModel's where it has any of the fields that make one, or nothing at all.
    const FIELDS: [&str; 4] = ["block_out_channels", "down_block_types", "up_block_types", "sample_size"];
    if config.is_empty() || FIELDS.iter().any(|field| config.contains_key(*field)) {
        return Ok(());
    }
    let architecture = config.get("architectures").and_then(|list| list.get(0)?.as_str());
    match architecture.or(field("model_type")).or(field("architecture")) {
        Some(name) => refuse(name, &format!("{file} is of a model for another library")),
        None => refuse(file, &format!("it has none of the fields of a {NETWORK}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(object) => object,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn pipelines_of_a_network_and_a_scheduler_are_fine() {
        for index in [
            json!({}),
            json!({ "_class_name": "DDPMPipeline", "_diffusers_version": "0.30.0",
                    "unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", "DDPMScheduler"] }),
            json!({ "_class_name": "AudioDiffusionPipeline", "unet": ["diffusers", "UNet2DModel"],
                    "vqvae": [null, null], "safety_checker": null, "requires_safety_checker": true }),
        ] {
            assert!(check_parts(&object(index.clone())).is_ok(), "{index}");
        }
    }

    #[test]
    fn pipelines_of_other_parts_are_refused_by_name() {
        for (index, says) in [
            (
                json!({ "_class_name": "LDMPipeline", "unet": ["diffusers", "UNet2DModel"],
                        "scheduler": ["diffusers", "DDIMScheduler"], "vqvae": ["diffusers", "VQModel"] }),
                ["LDMPipeline", "`vqvae` (VQModel)"],
            ),
            (
                json!({ "_class_name": "DiTPipeline", "transformer": ["diffusers", "DiTTransformer2DModel"] }),
                ["DiTPipeline", "`transformer` (DiTTransformer2DModel)"],
            ),
            (
                json!({ "_class_name": "DanceDiffusionPipeline", "unet": ["diffusers", "UNet1DModel"] }),
                ["DanceDiffusionPipeline", "`unet` (UNet1DModel)"],
            ),
            (json!({ "prior": ["my_code", "Prior"] }), ["the pipeline", "`prior` (Prior)"]),
        ] {
            let error = check_parts(&object(index)).unwrap_err();
            assert_eq!(error.kind(), "unsupported-architecture");
            assert!(says.iter().all(|part| error.to_string().contains(part)), "{error}");
        }
    }

    #[test]
    fn networks_of_other_kinds_are_named() {
        for (config, says) in [
            (json!({ "_class_name": "AutoencoderKL", "sample_size": 32 }), "AutoencoderKL"),
            (json!({ "architectures": ["CLIPTextModel"], "model_type": "clip" }), "CLIPTextModel"),
            (json!({ "model_type": "bert" }), "bert"),
            (json!({ "hidden_size": 768 }), "config.json"),
        ] {
            let error = check_network("config.json", &object(config)).unwrap_err();
            assert!(matches!(&error, Error::Unsupported { what, .. } if what == says), "{error}");
        }
        for config in [json!({}), json!({ "_class_name": "UNet2DModel" }), json!({ "sample_size": 8 })] {
            assert!(check_network("config.json", &object(config)).is_ok());
        }
    }
}
