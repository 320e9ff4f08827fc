//! What a run is given, and its prelude: computed once by the processor, for every executor.

use std::sync::Arc;

use super::execute;
pub use super::execute::check_prompts;
use super::packed::Packed;
use super::parameters::Take;
use super::plan::Plan;
pub use super::stage::PreludeRows;
use crate::error::Result;
use crate::network::architecture::Network;

/// Computes the prelude for all rows of a run: `given` holds a row of each of its inputs for each timestep of the run, and for
/// each label where there are some. The result is the prelude's buffer. The processor computes it for every executor; a GPU gets
/// the result uploaded.
///
/// # Errors
/// [`Error::OutOfMemory`](crate::Error) where there is no room for it.
pub fn prelude(plan: &Plan, packed: &Packed, given: &[Vec<f32>]) -> Result<Vec<f32>> {
    let given: Vec<&[f32]> = given.iter().map(|numbers| &numbers[..]).collect();
    execute::prelude(plan, packed, &given)
}

/// A network and the frequencies that it has learned: what makes the inputs of a prelude of timesteps and labels.
#[derive(Debug)]
pub struct Conditioning {
    network: Arc<dyn Network>,
    frequencies: Vec<f32>,
}

impl Conditioning {
    /// `take` is asked for the frequencies, where the network has learned some.
    ///
    /// # Errors
    /// Those of `take`.
    pub fn new(network: Arc<dyn Network>, take: Take) -> Result<Self> {
        let frequencies = network.frequencies().map(|(key, length)| take(key, &[length])).transpose()?;
        Ok(Self { network, frequencies: frequencies.unwrap_or_default() })
    }

    /// The network.
    #[must_use]
    pub fn network(&self) -> &dyn Network {
        &*self.network
    }

    /// A row of each input for each timestep, and for each label where there are some.
    ///
    /// # Errors
    /// Those of [`Network::features`].
    pub fn given(&self, timesteps: &[f32], labels: Option<&[f32]>) -> Result<Vec<Vec<f32>>> {
        self.network.features(timesteps, labels, &self.frequencies)
    }
}
