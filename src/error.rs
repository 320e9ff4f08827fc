//! Every way to fail, by cause. Each message says what is wrong and what to do about it;
//! [`Error::kind`] is the short name that page authors and scripts see as the error's `type`.
//!
//! Fields hold a stranger's text as it was found; messages show it escaped and cut, through [`crate::text`].

#[cfg(any(not(target_arch = "wasm32"), feature = "data"))]
use std::path::Path;

use crate::text::{name, number, prose};

/// What every fallible function of the crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // ---- Checkpoints ----
    /// The bytes of a file are not what its format promises: truncated, overlapping, not that format at all.
    #[error("{} is not a readable safetensors file: {}. Download or export it again", prose(.file), prose(.problem))]
    Safetensors {
        /// The file's name.
        file: String,
        /// What was found, with numbers.
        problem: String,
    },
    /// A file is not one that PyTorch's `torch.save` wrote from a state dict, or asks for more than tensors.
    #[error(
        "{file} cannot be read as PyTorch weights: {problem}. Save the weights alone in Python: `torch.save(model.state_dict(), file)`, or a folder with `save_pretrained(folder)`"
    )]
    Torch {
        /// The file's name.
        file: String,
        /// What was found, by its name.
        problem: String,
    },
    /// A JSON file does not parse or is not an object.
    #[error("{} is not the JSON that diffusers writes: {}", prose(.file), prose(.problem))]
    Json {
        /// The file's name.
        file: String,
        /// What the parser found and where.
        problem: String,
    },
    #[cfg(feature = "data")]
    /// A recipe in TOML does not parse, or is no recipe.
    #[error("{} is not a recipe in TOML: {}. See docs/training.md", prose(.file), prose(.problem))]
    Recipe {
        /// The file's name.
        file: String,
        /// What is wrong and where.
        problem: String,
    },
    /// A configuration field has the wrong type or a value no network or schedule can have.
    #[error("{}: `{}` is {}, but it must be {}", prose(.file), name(.field), name(.found), prose(.expected))]
    Config {
        /// The file's name.
        file: String,
        /// The field's name.
        field: String,
        /// The value found, shortened.
        found: String,
        /// What would be valid.
        expected: String,
    },
    /// A folder, archive or URL lacks a file that the checkpoint needs.
    #[error("no {} here (found: {}). Choose the folder that save_pretrained() wrote", prose(.wanted), prose(.found))]
    MissingFile {
        /// The file or files looked for.
        wanted: String,
        /// What is there instead.
        found: String,
    },
    /// The network asks for tensors that the weights file does not hold.
    #[error("the weights lack `{}` with shape {expected:?}{}. The config and the weights do not belong together", name(.key), others(*.more))]
    MissingKey {
        /// The first missing key.
        key: String,
        /// The shape the network needs.
        expected: Vec<usize>,
        /// How many other keys are missing.
        more: usize,
    },
    /// The tensors' names are not those that diffusers gives this network's.
    #[error(
        "the weights are not named as diffusers does: {}. Choose a checkpoint that save_pretrained() wrote, or rename them in Python",
        prose(.problem)
    )]
    KeyNames {
        /// What is there, by a few names.
        problem: String,
    },
    /// A tensor has another shape than the network needs.
    #[error(
        "`{}` has shape {found:?}, but the config needs {expected:?}. The config and the weights do not belong together", name(.key)
    )]
    WrongShape {
        /// The tensor's key.
        key: String,
        /// The shape the network needs.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A tensor is stored in a number format that is not a float.
    #[error(
        "`{}` is stored as {}; weights must be F64, F32, F16 or BF16. Convert it with `model.to(torch.float32)` in Python", name(.key), name(.dtype)
    )]
    Dtype {
        /// The tensor's key.
        key: String,
        /// The format's name in the file.
        dtype: String,
    },
    /// A file of low-rank updates is of another model, or of a kind that cannot be merged.
    #[error("this LoRA cannot be merged into {}: {}. Choose one that was trained for this model", name(.part), prose(.problem))]
    Lora {
        /// The part of the pipeline: `unet`, `text_encoder`, `text_encoder_2`.
        part: String,
        /// What does not fit, by name.
        problem: String,
    },
    /// A weight is NaN or infinite.
    #[error(
        "`{}` holds {} at position {index}; the training run that wrote it has diverged. Use an earlier checkpoint", name(.key), number(f64::from(*.value))
    )]
    NotFiniteWeight {
        /// The tensor's key.
        key: String,
        /// Position in row-major order.
        index: usize,
        /// NaN or an infinity.
        value: f32,
    },

    // ---- Architectures ----
    /// The architecture, scheduler or file format exists but is not supported here.
    #[error("{} is not supported: {}", name(.what), prose(.why))]
    Unsupported {
        /// The block, class or format by its name in the file.
        what: String,
        /// The reason and, where there is one, the way round.
        why: String,
    },

    // ---- Options ----
    /// An option of a call is out of its range.
    #[error("`{option}` is {}, but it must be {}", prose(.found), prose(.expected))]
    Option {
        /// The option's name.
        option: &'static str,
        /// The value given.
        found: String,
        /// What would be valid.
        expected: String,
    },
    /// A second run was started on a model that is still sampling.
    #[error("this model is already sampling; wait for that run or stop it first")]
    Busy,
    #[cfg(not(target_arch = "wasm32"))]
    /// Another process writes the folder.
    #[error(
        "{} is being written by another process. Wait until that one has ended, or choose another folder",
        prose(.folder)
    )]
    InUse {
        /// The folder.
        folder: String,
    },
    /// The model was disposed of.
    #[error("this model was disposed of; load it again")]
    Disposed,
    /// The caller stopped the work.
    #[error("stopped on request")]
    Aborted,

    // ---- Getting files ----
    /// A download failed.
    #[error("could not download {}: {}", prose(.url), prose(.problem))]
    Fetch {
        /// The address.
        url: String,
        /// Status, cause, and what to do.
        problem: String,
    },
    #[cfg(any(not(target_arch = "wasm32"), feature = "data"))]
    /// The operating system refused to read or write a file.
    #[error("{}: {}", prose(.path), prose(.source))]
    Io {
        /// The file or folder.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },

    // ---- Training ----
    #[cfg(feature = "data")]
    /// There is nothing to train on.
    #[error("this data set cannot be trained on: {}", prose(.problem))]
    Dataset {
        /// What is wrong with it, by file or image where one is to blame.
        problem: String,
    },
    #[cfg(feature = "data")]
    /// The loss is not a finite number any more.
    #[error(
        "training diverged by step {step}: its loss is {loss}. Go on from the last save with a lower learning rate than {learning_rate}, or a longer warm-up"
    )]
    Diverged {
        /// The step, from 0.
        step: u64,
        /// Its loss.
        loss: f32,
        /// Its learning rate.
        learning_rate: f64,
    },
    #[cfg(feature = "data")]
    /// A saved training run is not one, or another's.
    #[error("{} cannot be resumed: {}", prose(.file), prose(.problem))]
    Resume {
        /// The file's name.
        file: String,
        /// What does not fit, and what to do.
        problem: String,
    },

    // ---- Devices ----
    /// No GPU adapter answered.
    #[error("no GPU adapter is available: {}. Choose the CPU device to run without one", prose(.problem))]
    NoAdapter {
        /// What the graphics API said.
        problem: String,
    },
    /// The GPU was taken away while it worked (driver reset, sleep, or another tab's fault).
    #[error("the GPU device was lost: {}. Run again: a new device is made", prose(.problem))]
    DeviceLost {
        /// What the graphics API said.
        problem: String,
    },
    /// The network needs more than the adapter allows.
    #[error(
        "{limit} is {available} on this adapter, but this run needs {needed}. Lower the batch size or choose the CPU device"
    )]
    Limit {
        /// The limit's name in WebGPU.
        limit: &'static str,
        /// Needed by this run.
        needed: u64,
        /// Allowed by the adapter.
        available: u64,
    },
    /// Memory ran out.
    #[error("out of memory: {}. Lower the batch size, or take smaller pictures or a smaller model", prose(.problem))]
    OutOfMemory {
        /// What was being allocated.
        problem: String,
    },
    /// The network returned NaN or infinity where the scheduler keeps them.
    #[error(
        "the network's output is not finite at timestep {}; the weights or their precision do not suit this scheduler",
        number(*.timestep)
    )]
    NotFiniteOutput {
        /// The timestep it happened at.
        timestep: f64,
    },
}

fn others(more: usize) -> String {
    if more == 0 { String::new() } else { format!(" and {more} others") }
}

impl Error {
    /// What the operating system's refusal about `path` becomes, for `map_err`.
    #[cfg(any(not(target_arch = "wasm32"), feature = "data"))]
    pub fn io(path: &Path) -> impl Fn(std::io::Error) -> Self + '_ {
        |source| Self::Io { path: path.display().to_string(), source }
    }

    /// The error's short, stable name: what JavaScript sees as `error.type`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Error::Safetensors { .. }
            | Error::Torch { .. }
            | Error::Json { .. }
            | Error::Config { .. }
            | Error::MissingFile { .. }
            | Error::MissingKey { .. }
            | Error::KeyNames { .. }
            | Error::WrongShape { .. }
            | Error::Dtype { .. }
            | Error::Lora { .. }
            | Error::NotFiniteWeight { .. }
            | Error::NotFiniteOutput { .. } => "checkpoint",
            Error::Unsupported { .. } => "unsupported-architecture",
            Error::Option { .. } => "invalid-option",
            #[cfg(feature = "data")]
            Error::Recipe { .. } => "invalid-option",
            Error::Busy => "busy",
            #[cfg(not(target_arch = "wasm32"))]
            Error::InUse { .. } => "busy",
            Error::Disposed => "disposed",
            Error::Aborted => "aborted",
            Error::Fetch { .. } => "fetch",
            #[cfg(any(not(target_arch = "wasm32"), feature = "data"))]
            Error::Io { .. } => "fetch",
            #[cfg(feature = "data")]
            Error::Dataset { .. } => "dataset",
            #[cfg(feature = "data")]
            Error::Diverged { .. } => "diverged",
            #[cfg(feature = "data")]
            Error::Resume { .. } => "resume",
            Error::NoAdapter { .. } => "no-adapter",
            Error::DeviceLost { .. } => "device-lost",
            Error::Limit { .. } => "limit",
            Error::OutOfMemory { .. } => "out-of-memory",
        }
    }
}
