//! diffusers' checkpoint folders: configuration, weights, and the two layouts they come in.
//!
//! Natively [`Checkpoint::open`] reads one from a folder, an address or the hub. A page does the same from the parts,
//! in pieces as they come: [`folder`] says which file is which, [`json`] and [`labels`] read the small ones,
//! [`WeightsReader`] the large one.

#[cfg(all(feature = "fetch", not(target_arch = "wasm32")))]
mod fetch;
pub mod folder;
pub mod json;
pub mod labels;
#[cfg(not(target_arch = "wasm32"))]
mod open;
mod pickle;
mod safetensors;
pub mod save;
mod torch;
pub mod weights;

use serde_json::{Map, Value};

#[cfg(not(target_arch = "wasm32"))]
pub use open::Progress;
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
