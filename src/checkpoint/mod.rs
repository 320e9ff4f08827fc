//! diffusers' checkpoint folders: configuration, weights, and the two layouts they come in.
//!
//! [`Opening`] has the rules: which file is which, what is tried in which order, and what is refused. It reads nothing itself.
//! Natively [`Checkpoint::open`] gets what it wants from a folder, an address or the hub; a page does the same in
//! www/checkpoint.js. [`json`] and [`labels`] read the small files, [`WeightsReader`] the large ones, in pieces as they come.

pub mod address;
#[cfg(not(target_arch = "wasm32"))]
mod disk;
#[cfg(all(feature = "fetch", not(target_arch = "wasm32")))]
mod fetch;
pub mod folder;
pub mod json;
mod json_text;
pub mod labels;
pub mod lora;
#[cfg(not(target_arch = "wasm32"))]
mod open;
mod opening;
mod packed;
#[cfg(feature = "text")]
mod parts;
mod pickle;
mod pipeline;
#[cfg(not(target_arch = "wasm32"))]
mod pump;
mod safetensors;
pub mod save;
mod torch;
pub mod weights;
mod weights_file;

use serde_json::{Map, Value};

#[cfg(all(feature = "text", not(target_arch = "wasm32")))]
pub use open::Folder;
pub use opening::{MAX_JSON, Needs, Opening, Wanted};
#[cfg(feature = "text")]
pub use parts::{Parts, PartsOpening};
#[cfg(not(target_arch = "wasm32"))]
pub use pump::Progress;
pub use safetensors::WeightsReader;

use labels::Labels;
use weights::Weights;

/// A checkpoint as it stands in its files: nothing is interpreted yet but the tensors' names.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// `model_index.json`, which names the pipeline's parts.
    pub model_index: Option<Map<String, Value>>,
    /// The network's `config.json`.
    pub unet_config: Map<String, Value>,
    /// `scheduler_config.json`.
    pub scheduler_config: Option<Map<String, Value>>,
    /// `labels.json`.
    pub labels: Option<Labels>,
    /// The network's tensors.
    pub weights: Weights,
}
