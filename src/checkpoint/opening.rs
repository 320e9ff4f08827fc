//! Opening a checkpoint, without reading anything: which files to get, in which order, and what they must say.
//!
//! A disk, a server and a page get the files in different ways, but the rules are the same: they ask an [`Opening`] what it
//! [wants](Opening::wanted), get that, and hand it over, until nothing is wanted any more.
//!
//! ```
//! use noiseball::checkpoint::{Opening, Wanted};
//! # use noiseball::{Checkpoint, Error};
//! # fn read(path: &str) -> Option<Vec<u8>> {
//! #     std::fs::read(format!("www/models/pixel-faces-16/{path}")).ok()
//! # }
//!
//! // Nobody knows which files there are, so it tries names. From a listed folder it wants only what is there.
//! let mut opening = Opening::unlisted("https://example.com/faces/", None)?;
//! loop {
//!     let wanted = opening.wanted();
//!     if wanted.is_empty() {
//!         break;
//!     }
//!     for Wanted { path, weights } in wanted {
//!         match read(&path) {
//!             None => opening.absent(&path)?,
//!             Some(bytes) if !weights => opening.give(&path, &bytes)?,
//!             Some(bytes) => {
//!                 opening.begin(&path, Some(bytes.len() as u64))?;
//!                 bytes.chunks(65_536).try_for_each(|chunk| opening.push(chunk))?;
//!                 opening.end()?;
//!             }
//!         }
//!     }
//! }
//! let checkpoint: Checkpoint = opening.finish()?;
//! # Ok::<(), Error>(())
//! ```

use std::collections::VecDeque;

use serde_json::{Map, Value};

use super::Checkpoint;
use super::folder::{self, LABELS, LAYOUTS, Layout, Listing, MODEL_INDEX, WeightFiles};
use super::json::{Fields, parse_object};
use super::labels::Labels;
use super::pipeline;
use super::safetensors::WeightsReader;
#[cfg(feature = "text")]
use super::weights::Sink;
use super::weights::{Asked, Shards, Weights};
use crate::error::{Error, Result};
use crate::network;
use crate::network::describe::{Inventory, describe};
use crate::schedule::Schedule;

/// More bytes than any of a checkpoint's JSON files has.
pub const MAX_JSON: usize = 4 << 20;

/// A file that an [`Opening`] waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its path: as it was listed, or relative to the checkpoint's address.
    pub path: String,
    /// Whether it is large and comes in pieces, by [`Opening::begin`], [`Opening::push`] and [`Opening::end`]. All others come
    /// whole, by [`Opening::give`], and have at most [`MAX_JSON`] bytes.
    pub weights: bool,
}

/// What a file is to the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    ModelIndex,
    Config,
    Scheduler,
    Labels,
    /// Of shards in this folder.
    ShardIndex(&'static str),
    Weights,
}

/// Where a file that is wanted has got to.
#[derive(Debug)]
enum Answer {
    None,
    Absent,
    Small(Vec<u8>),
    /// The weights that are being pushed.
    Begun,
    Whole,
}

#[derive(Debug)]
struct Request {
    role: Role,
    path: String,
    answer: Answer,
}

/// What was asked for last: all of a step's files are got before the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The pipeline's index and the network's config.
    Config,
    /// What else there may be beside it.
    Details,
    /// The scheduler's config in the other layout's place.
    OtherScheduler,
    Weights,
    Done,
}

/// A checkpoint that is being opened.
pub struct Opening {
    /// The address or folder, for errors.
    place: String,
    /// None where files can only be asked for.
    listing: Option<Listing>,
    variant: Option<String>,
    root: String,
    layout: &'static Layout,
    /// Why the network's config cannot be found among the listed names, unless its pipeline says better.
    rootless: Option<Error>,
    step: Step,
    requests: Vec<Request>,
    /// The first file that a server did not want to give.
    refused: Option<String>,
    /// Where the parts that are there were found.
    found: Found,
    /// Weights that are still to be tried.
    candidates: VecDeque<WeightFiles>,
    /// Once there is an index of shards: those that are still to come.
    shards: Option<VecDeque<String>>,
    asked: Option<Asked>,
    needs: Option<Needs>,
    reader: Option<WeightsReader>,
    /// Who takes the tensors, until there is a reader.
    #[cfg(feature = "text")]
    sink: Option<Box<dyn Sink>>,
    checkpoint: Checkpoint,
}

/// What a network takes, as its config says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Needs {
    /// Bytes of the activations for one picture.
    pub activation_bytes: u64,
    /// Numbers of its answer for one picture.
    pub numbers: u64,
    /// Numbers of its weights.
    pub parameters: u64,
}

#[derive(Debug, Default)]
struct Found {
    config: Option<String>,
    scheduler: Option<String>,
    labels: Option<String>,
    weights: bool,
}

impl Opening {
    /// From a folder or an archive of these files: their names relative to it, with slashes of either kind. The checkpoint may
    /// lie further in. A `variant` as in Python, for instance `"fp16"`, asks for the weights that carry it in their names.
    ///
    /// # Errors
    /// [`Error::MissingFile`] where no checkpoint is there, or several are; [`Error::Option`] for a variant that is no part of a
    /// file name.
    pub fn listed<S: AsRef<str>>(place: &str, names: &[S], variant: Option<&str>) -> Result<Self> {
        let listing = Listing::new(names);
        let found = listing.root();
        let pipeline = listing.pipeline().map(str::to_owned);
        let mut opening = Self::new(place, variant)?;
        opening.listing = Some(listing);
        match (found, pipeline) {
            (Ok((root, layout)), _) => (opening.root, opening.layout) = (root, layout),
            (Err(error), None) => return Err(error),
            (Err(error), Some(root)) => (opening.root, opening.rootless) = (root, Some(error)),
        }
        opening.begin_with_config()?;
        Ok(opening)
    }

    /// From an address, where files can only be asked for: those of the first layout are tried, then of the second.
    ///
    /// # Errors
    /// [`Error::Option`] for a variant that is no part of a file name.
    pub fn unlisted(place: &str, variant: Option<&str>) -> Result<Self> {
        let mut opening = Self::new(place, variant)?;
        opening.begin_with_config()?;
        Ok(opening)
    }

    /// The weights of a part that has its folder below `root`, whose parameters are `asked`.
    #[cfg(feature = "text")]
    pub(super) fn part(
        place: &str,
        listing: Option<Listing>,
        root: &str,
        layout: &'static Layout,
        variant: Option<&str>,
        asked: Vec<(String, Vec<usize>)>,
    ) -> Result<Self> {
        let mut opening = Self::new(place, variant)?;
        (opening.listing, opening.root, opening.layout) = (listing, root.to_owned(), layout);
        opening.begin_with_weights(asked)?;
        Ok(opening)
    }

    /// Hands the tensors to a sink as they come, in place of keeping them: the checkpoint's weights are then names alone.
    #[cfg(all(feature = "text", not(all(target_arch = "wasm32", feature = "burn"))))]
    pub(crate) fn deliver(&mut self, sink: Box<dyn Sink>) {
        self.sink = Some(sink);
    }

    fn new(place: &str, variant: Option<&str>) -> Result<Self> {
        folder::check_variant(variant)?;
        Ok(Self {
            place: place.to_owned(),
            listing: None,
            variant: variant.map(str::to_owned),
            root: String::new(),
            layout: &LAYOUTS[0],
            rootless: None,
            step: Step::Config,
            requests: Vec::new(),
            refused: None,
            found: Found::default(),
            candidates: VecDeque::new(),
            shards: None,
            asked: None,
            needs: None,
            reader: None,
            #[cfg(feature = "text")]
            sink: None,
            checkpoint: Checkpoint {
                model_index: None,
                unet_config: Map::new(),
                scheduler_config: None,
                labels: None,
                weights: Weights::default(),
            },
        })
    }

    /// The files to get next, in any order or side by side; empty once the checkpoint is whole.
    #[must_use]
    pub fn wanted(&self) -> Vec<Wanted> {
        let open = self.requests.iter().filter(|r| matches!(r.answer, Answer::None | Answer::Begun));
        open.map(|r| Wanted { path: r.path.clone(), weights: r.role == Role::Weights }).collect()
    }

    /// What the network takes, once it is known: before the weights are wanted.
    #[must_use]
    pub fn needs(&self) -> Option<Needs> {
        self.needs
    }

    /// The network's config, once it is known: before the weights are wanted.
    #[must_use]
    pub fn config(&self) -> Option<&Map<String, Value>> {
        self.asked.is_some().then_some(&self.checkpoint.unet_config)
    }

    /// A small file, whole.
    ///
    /// # Errors
    /// By what is wrong with the checkpoint as far as it is known; the opening has then come to its end. So for all below.
    pub fn give(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        if bytes.len() > MAX_JSON {
            let problem = format!("it has more than {MAX_JSON} bytes");
            return Err(Error::Json { file: path.to_owned(), problem });
        }
        self.answer(path, Answer::Small(bytes.to_vec()))
    }

    /// There is no such file.
    ///
    /// # Errors
    /// [`Error::MissingFile`] where it is needed, [`Error::Fetch`] where nothing at the address is a checkpoint.
    pub fn absent(&mut self, path: &str) -> Result<()> {
        self.answer(path, Answer::Absent)
    }

    /// The server forbids to read the file (HTTP 403). That is also what some say of a file that they do not have, so it counts
    /// as absent.
    ///
    /// # Errors
    /// As for [`Self::absent`].
    pub fn refused(&mut self, path: &str) -> Result<()> {
        self.refused.get_or_insert_with(|| path.to_owned());
        self.absent(path)
    }

    /// The bytes of a weights file follow, of this length where it is known. To begin the same file again is to read it once more,
    /// after a broken connection.
    ///
    /// # Errors
    /// [`Error::Safetensors`] or [`Error::Torch`] where the shard before it was too short.
    pub fn begin(&mut self, path: &str, length: Option<u64>) -> Result<()> {
        let Some(request) = self.requests.iter_mut().find(|r| r.path == path) else { return Ok(()) };
        let again = matches!(request.answer, Answer::Begun);
        request.answer = Answer::Begun;
        // What was pushed of a candidate before this one is forgotten.
        let reader = match &mut self.reader {
            Some(reader) if again => {
                reader.restart();
                reader
            }
            Some(reader) if self.shards.is_some() => {
                reader.next_file(path)?;
                reader
            }
            other => {
                #[cfg(feature = "text")]
                let sink = match other.take() {
                    None => self.sink.take(),
                    // Its tensors may be on a device by now.
                    Some(before) if before.sink.is_some() && before.received() > 0 => {
                        let problem = "it was there at first and then no more. Try again".to_owned();
                        return Err(Error::Fetch { url: path.to_owned(), problem });
                    }
                    Some(before) => before.sink,
                };
                let reader = other.insert(WeightsReader::new(path));
                #[cfg(feature = "text")]
                {
                    reader.sink = sink;
                }
                if let Some(asked) = &self.asked {
                    reader.keep(asked.clone(), self.shards.is_none());
                }
                reader
            }
        };
        if let Some(length) = length {
            reader.expect_len(length);
        }
        Ok(())
    }

    /// The next bytes of the weights file that was begun.
    ///
    /// # Errors
    /// [`Error::Safetensors`] or [`Error::Torch`] where they cannot become a valid file, and once its header is known what it
    /// lacks: [`Error::MissingKey`], [`Error::WrongShape`], [`Error::Dtype`], [`Error::KeyNames`].
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.reader.as_mut().map_or(Ok(()), |reader| reader.push(bytes))
    }

    /// The weights file that was begun is at its end.
    ///
    /// # Errors
    /// [`Error::Safetensors`] or [`Error::Torch`] where it is too short. What a file of PyTorch's lacks shows here.
    pub fn end(&mut self) -> Result<()> {
        if let Some(reader) = &mut self.reader {
            reader.end_file()?;
        }
        let begun = self.requests.iter().find(|r| matches!(r.answer, Answer::Begun));
        match begun.map(|r| r.path.clone()) {
            Some(path) => self.answer(&path, Answer::Whole),
            None => Ok(()),
        }
    }

    /// Bytes of the weights file so far, and how many it has, where that is known.
    #[must_use]
    pub fn progress(&self) -> (u64, Option<u64>) {
        self.reader.as_ref().map_or((0, None), |reader| (reader.received(), reader.total()))
    }

    /// The checkpoint, once nothing is wanted any more.
    ///
    /// # Errors
    /// [`Error::MissingFile`] where something is; [`Error::MissingKey`] where an index of shards promised more than they hold.
    pub fn finish(self) -> Result<Checkpoint> {
        if let Some(wanted) = self.wanted().first() {
            return Err(missing(&wanted.path));
        }
        let Self { mut checkpoint, reader, asked, .. } = self;
        if let (Some(reader), Some(asked)) = (reader, asked) {
            checkpoint.weights = reader.finish()?;
            checkpoint.weights.check(asked.parameters())?;
        }
        Ok(checkpoint)
    }

    // ---- From one step to the next ----

    fn begin_with_config(&mut self) -> Result<()> {
        if self.rootless.is_none() {
            self.ask(Role::Config, self.layout.unet_config);
        }
        self.ask(Role::ModelIndex, MODEL_INDEX);
        self.go_on()
    }

    /// Asks for a file of this name below the root; one that is not listed is absent.
    fn ask(&mut self, role: Role, name: &str) {
        let name = format!("{}{name}", self.root);
        let (path, answer) = match self.listing.as_ref().map(|listing| listing.given(&name)) {
            None => (name, Answer::None),
            Some(Some(given)) => (given.to_owned(), Answer::None),
            Some(None) => (name, Answer::Absent),
        };
        self.requests.push(Request { role, path, answer });
    }

    fn answer(&mut self, path: &str, answer: Answer) -> Result<()> {
        if let Some(request) = self.requests.iter_mut().find(|r| r.path == path) {
            request.answer = answer;
        }
        self.go_on()
    }

    fn go_on(&mut self) -> Result<()> {
        while self.step != Step::Done && self.wanted().is_empty() {
            // In the order of asking, so that of two faults the same one is told whatever came first.
            for Request { role, path, answer } in std::mem::take(&mut self.requests) {
                match answer {
                    Answer::Small(bytes) => self.read(role, path, &bytes)?,
                    Answer::Whole => self.found.weights = self.shards.is_none(),
                    _ if role == Role::Weights && self.shards.is_some() => return Err(missing(&path)),
                    _ => {}
                }
            }
            self.next()?;
        }
        Ok(())
    }

    fn read(&mut self, role: Role, path: String, bytes: &[u8]) -> Result<()> {
        match role {
            Role::ModelIndex => {
                let index = parse_object(&path, bytes)?;
                pipeline::check_parts(&index)?;
                self.checkpoint.model_index = Some(index);
            }
            Role::Config => {
                let config = parse_object(&path, bytes)?;
                pipeline::check_network(&path, &config)?;
                self.checkpoint.unet_config = config;
                self.found.config = Some(path);
            }
            Role::Scheduler => {
                self.checkpoint.scheduler_config = Some(parse_object(&path, bytes)?);
                self.found.scheduler = Some(path);
            }
            Role::Labels => {
                self.checkpoint.labels = Some(Labels::parse(&path, bytes)?);
                self.found.labels = Some(path);
            }
            Role::ShardIndex(folder) => self.read_index(folder, &path, bytes)?,
            Role::Weights => {}
        }
        Ok(())
    }

    fn read_index(&mut self, folder: &str, path: &str, bytes: &[u8]) -> Result<()> {
        let Shards { files, tensors } = Shards::parse(path, bytes)?;
        if let Some(asked) = &mut self.asked {
            asked.settle(tensors.iter().map(String::as_str))?;
        }
        let shards: VecDeque<String> = files.iter().map(|file| format!("{folder}{file}")).collect();
        if let Some(listing) = &self.listing {
            let absent = |shard: &&String| listing.given(&format!("{}{shard}", self.root)).is_none();
            if let Some(shard) = shards.iter().find(absent) {
                return Err(missing(shard));
            }
        }
        self.shards = Some(shards);
        Ok(())
    }

    /// Asks for what comes next.
    fn next(&mut self) -> Result<()> {
        let Layout { folder, unet_config, scheduler_config } = *self.layout;
        match self.step {
            Step::Config if self.found.config.is_some() => {
                self.ask(Role::Scheduler, scheduler_config[0]);
                self.ask(Role::Labels, LABELS);
                self.step = Step::Details;
            }
            Step::Config => match self.rootless.take() {
                Some(error) => return Err(error),
                None if self.listing.is_some() => return Err(missing(unet_config)),
                None if !folder.is_empty() => {
                    self.layout = &LAYOUTS[1];
                    self.ask(Role::Config, self.layout.unet_config);
                }
                None => return Err(self.nothing_there()),
            },
            Step::Details => {
                if self.checkpoint.scheduler_config.is_none() {
                    self.ask(Role::Scheduler, scheduler_config[1]);
                }
                self.step = Step::OtherScheduler;
            }
            Step::OtherScheduler => {
                let found = self.check_configs()?;
                self.needs = Some(Needs {
                    activation_bytes: found.peak_activation_bytes,
                    numbers: found.output.iter().fold(1, |n, side| n.saturating_mul(*side as u64)),
                    parameters: found.parameter_count(),
                });
                self.begin_with_weights(found.parameters)?;
            }
            Step::Weights => self.next_weights()?,
            Step::Done => {}
        }
        Ok(())
    }

    fn begin_with_weights(&mut self, asked: Vec<(String, Vec<usize>)>) -> Result<()> {
        self.asked = Some(Asked::new(asked));
        let (folder, variant) = (self.layout.folder, self.variant.as_deref());
        self.candidates = match &self.listing {
            None => folder::candidates(folder, variant).into(),
            Some(listing) => [listing.weights(&self.root, folder, variant)?].into(),
        };
        self.step = Step::Weights;
        self.next_weights()
    }

    fn next_weights(&mut self) -> Result<()> {
        let folder = self.layout.folder;
        if let Some(shards) = &mut self.shards {
            match shards.pop_front() {
                Some(shard) => self.ask(Role::Weights, &shard),
                None => self.step = Step::Done,
            }
        } else if self.found.weights {
            self.step = Step::Done;
        } else {
            match self.candidates.pop_front() {
                Some(WeightFiles::Whole(name)) => self.ask(Role::Weights, &name),
                Some(WeightFiles::Sharded(name)) => self.ask(Role::ShardIndex(folder), &name),
                None => return Err(self.no_weights()),
            }
        }
        Ok(())
    }

    /// Reads the configs as far as that can go wrong, before the weights are got: the names and shapes of those.
    fn check_configs(&self) -> Result<Inventory> {
        let Found { config, scheduler, labels, .. } = &self.found;
        let name = |found: &Option<String>| found.clone().unwrap_or_default();
        let (network, _) = network::parse(&name(config), &self.checkpoint.unet_config)?;
        let (object, _) = self.checkpoint.scheduler();
        let file = scheduler.as_deref().unwrap_or(MODEL_INDEX);
        Schedule::from_fields(&Fields::new(file, &object))?;
        if let Some(found) = &self.checkpoint.labels {
            found.check(&name(labels), &*network)?;
        }
        // Parameters are the same at any size.
        let [height, width] = network.sample_size().unwrap_or_else(|| network.least_size());
        Ok(describe(&*network, 1, height, width))
    }

    fn nothing_there(&self) -> Error {
        let problem = if self.refused.is_some() {
            "HTTP 403: there is no such model, or it is not public".to_owned()
        } else {
            let [a, b] = &LAYOUTS;
            format!(
                "neither {} nor {} is there. Give the address of the folder that save_pretrained() wrote",
                a.unet_config, b.unet_config
            )
        };
        Error::Fetch { url: self.place.clone(), problem }
    }

    fn no_weights(&self) -> Error {
        let names = folder::candidates(self.layout.folder, self.variant.as_deref());
        let wanted = names.first().map_or("", WeightFiles::name);
        let found = match &self.refused {
            Some(path) => format!("a config, but HTTP 403 for {path}"),
            None => "a config, but no weights of any usual name".to_owned(),
        };
        Error::MissingFile { wanted: wanted.to_owned(), found }
    }
}

fn missing(wanted: &str) -> Error {
    Error::MissingFile { wanted: wanted.to_owned(), found: "other files".to_owned() }
}
