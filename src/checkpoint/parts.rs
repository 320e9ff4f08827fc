//! A pipeline's folder as parts by name: the small files of all of them, and the weights of one at a time.

use serde_json::{Map, Value};

use super::folder::{Layout, Listing, MODEL_INDEX, check_variant};
use super::json::parse_object;
use super::opening::{MAX_JSON, Opening};
use super::pipeline::{check_parts, scheduler};
use crate::error::{Error, Result};

const fn layout(folder: &'static str, config: &'static str) -> Layout {
    Layout { folder, unet_config: config, scheduler_config: [SCHEDULER; 2] }
}

const SCHEDULER: &str = "scheduler/scheduler_config.json";

/// The folders that have a config and weights.
static NETWORKS: [Layout; 6] = [
    layout("text_encoder/", "text_encoder/config.json"),
    layout("text_encoder_2/", "text_encoder_2/config.json"),
    layout("unet/", "unet/config.json"),
    layout("transformer/", "transformer/config.json"),
    layout("vae/", "vae/config.json"),
    layout("vqvae/", "vqvae/config.json"),
];

/// The files of a tokenizer, in either layout.
const TOKENIZER: [&str; 5] =
    ["vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"];

/// What a pipeline's folder says of its parts.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// `model_index.json`.
    pub model_index: Map<String, Value>,
    /// The parts' configs by their names, and the scheduler's.
    configs: Map<String, Value>,
    /// Other small files by their paths below the folder.
    files: Vec<(String, Vec<u8>)>,
    /// The address or folder, for errors.
    place: String,
    /// None where files can only be asked for.
    listing: Option<Listing>,
    root: String,
    variant: Option<String>,
}

impl Parts {
    /// The class of a part by `model_index.json`, whatever its config calls itself.
    #[must_use]
    pub fn class(&self, name: &str) -> Option<&str> {
        self.model_index.get(name)?.get(1)?.as_str()
    }

    /// A part's `config.json`.
    #[must_use]
    pub fn config(&self, name: &str) -> Option<&Map<String, Value>> {
        self.configs.get(name)?.as_object()
    }

    /// The scheduler's config and what a reader should know of it: see [`Checkpoint::scheduler`](super::Checkpoint::scheduler).
    #[must_use]
    pub fn scheduler(&self) -> (Map<String, Value>, Vec<String>) {
        scheduler(Some(&self.model_index), self.config("scheduler"))
    }

    /// A tokenizer's file, `tokenizer/vocab.json`.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        self.files.iter().find(|(known, _)| known == path).map(|(_, bytes)| &bytes[..])
    }

    /// The parts that `model_index.json` names and that are not used here.
    #[must_use]
    pub fn unused(&self) -> Vec<String> {
        self.named().filter(|name| kind(name) == Kind::Unused).map(str::to_owned).collect()
    }

    /// The opening of a part's weights, of which `asked` are the names and shapes.
    ///
    /// # Errors
    /// [`Error::MissingFile`] where there are none, [`Error::Option`] where there are several variants to choose from.
    pub fn opening(&self, part: &str, asked: Vec<(String, Vec<usize>)>) -> Result<Opening> {
        let Some(layout) = network(part) else { return Err(missing(part)) };
        let variant = self.variant.as_deref();
        Opening::part(&self.place, self.listing.clone(), &self.root, layout, variant, asked)
    }

    /// The parts that `model_index.json` names with a class.
    fn named(&self) -> impl Iterator<Item = &str> {
        self.model_index.iter().filter_map(|(name, value)| match value.as_array().map(Vec::as_slice) {
            Some([_, Value::String(_)]) => Some(name.as_str()),
            _ => None,
        })
    }
}

/// What is read of a part.
#[derive(PartialEq, Eq)]
enum Kind {
    Network,
    Scheduler,
    Tokenizer,
    Unused,
}

fn kind(name: &str) -> Kind {
    match name {
        "scheduler" => Kind::Scheduler,
        "tokenizer" | "tokenizer_2" => Kind::Tokenizer,
        _ if network(name).is_some() => Kind::Network,
        _ => Kind::Unused,
    }
}

fn network(name: &str) -> Option<&'static Layout> {
    NETWORKS.iter().find(|layout| layout.folder.strip_suffix('/') == Some(name))
}

/// Reads the small files of a pipeline's folder without knowing where they are, as [`Opening`] does for one network.
#[derive(Debug)]
pub struct PartsOpening {
    parts: Parts,
    /// Paths below the root, and the same as they are asked for.
    wanted: Vec<(String, String)>,
    /// Whether the folder has several networks, once that is known.
    is_pipeline: Option<bool>,
}

impl PartsOpening {
    /// From a folder of these files, as for [`Opening::listed`].
    ///
    /// # Errors
    /// [`Error::Option`] for a variant that is no part of a file name.
    pub fn listed<S: AsRef<str>>(place: &str, names: &[S], variant: Option<&str>) -> Result<Self> {
        let listing = Listing::new(names);
        let root = listing.pipeline().map(str::to_owned);
        let mut opening = Self::new(place, variant)?;
        opening.parts.listing = Some(listing);
        match root {
            None => opening.is_pipeline = Some(false),
            Some(root) => {
                opening.parts.root = root;
                opening.ask(MODEL_INDEX);
            }
        }
        Ok(opening)
    }

    /// From an address, where files can only be asked for.
    ///
    /// # Errors
    /// [`Error::Option`] for a variant that is no part of a file name.
    pub fn unlisted(place: &str, variant: Option<&str>) -> Result<Self> {
        let mut opening = Self::new(place, variant)?;
        opening.ask(MODEL_INDEX);
        Ok(opening)
    }

    fn new(place: &str, variant: Option<&str>) -> Result<Self> {
        check_variant(variant)?;
        let parts =
            Parts { place: place.to_owned(), variant: variant.map(str::to_owned), ..Parts::default() };
        Ok(Self { parts, wanted: Vec::new(), is_pipeline: None })
    }

    /// The files to get next, in any order; empty once all are there.
    #[must_use]
    pub fn wanted(&self) -> Vec<String> {
        self.wanted.iter().map(|(_, path)| path.clone()).collect()
    }

    /// A file, whole.
    ///
    /// # Errors
    /// [`Error::Json`] where it is not what diffusers writes.
    pub fn give(&mut self, path: &str, bytes: Vec<u8>) -> Result<()> {
        let Some(at) = self.wanted.iter().position(|(_, wanted)| wanted == path) else { return Ok(()) };
        let (name, _) = self.wanted.remove(at);
        if bytes.len() > MAX_JSON {
            let problem = format!("it has more than {MAX_JSON} bytes");
            return Err(Error::Json { file: path.to_owned(), problem });
        }
        if name == MODEL_INDEX {
            self.parts.model_index = parse_object(path, &bytes)?;
            self.ask_for_parts();
            return Ok(());
        }
        match name.split_once('/') {
            Some((part, "config.json" | "scheduler_config.json")) => {
                self.parts.configs.insert(part.to_owned(), Value::Object(parse_object(path, &bytes)?));
            }
            _ => self.parts.files.push((name, bytes)),
        }
        Ok(())
    }

    /// There is no such file.
    ///
    /// # Errors
    /// [`Error::MissingFile`] where a part is not without it.
    pub fn absent(&mut self, path: &str) -> Result<()> {
        let Some(at) = self.wanted.iter().position(|(_, wanted)| wanted == path) else { return Ok(()) };
        let (name, _) = self.wanted.remove(at);
        if name == MODEL_INDEX {
            self.is_pipeline = Some(false);
        }
        if name.ends_with("/config.json") { Err(missing(&name)) } else { Ok(()) }
    }

    /// The parts; none where the folder has no more than one network, which [`Opening`] opens.
    ///
    /// # Errors
    /// [`Error::MissingFile`] where something is still wanted.
    pub fn finish(self) -> Result<Option<Parts>> {
        match self.wanted.first() {
            Some((wanted, _)) => Err(missing(wanted)),
            None => Ok(self.is_pipeline.unwrap_or(false).then_some(self.parts)),
        }
    }

    fn ask_for_parts(&mut self) {
        let is_pipeline = check_parts(&self.parts.model_index).is_err();
        self.is_pipeline = Some(is_pipeline);
        if !is_pipeline {
            return;
        }
        let names: Vec<String> = self.parts.named().map(str::to_owned).collect();
        for name in names {
            match kind(&name) {
                Kind::Network => self.ask(&format!("{name}/config.json")),
                Kind::Scheduler => self.ask(SCHEDULER),
                Kind::Tokenizer => TOKENIZER.iter().for_each(|file| self.ask(&format!("{name}/{file}"))),
                Kind::Unused => {}
            }
        }
    }

    /// Asks for a file below the root; of those that are not listed, only what is needed.
    fn ask(&mut self, name: &str) {
        let path = format!("{}{name}", self.parts.root);
        let given = self.parts.listing.as_ref().map(|listing| listing.given(&path).map(str::to_owned));
        match given {
            None => self.wanted.push((name.to_owned(), path)),
            Some(Some(given)) => self.wanted.push((name.to_owned(), given)),
            // It is asked for all the same, so that its absence is told.
            Some(None) if name.ends_with("/config.json") => self.wanted.push((name.to_owned(), path)),
            Some(None) => {}
        }
    }
}

fn missing(wanted: &str) -> Error {
    Error::MissingFile { wanted: wanted.to_owned(), found: "other files".to_owned() }
}
