//! What a run is given, in the order in which a plan's prelude asks for it.

use super::execute;
pub use super::execute::check_prompts;
use super::packed::Packed;
use super::plan::Plan;
pub use super::stage::Rows;
use crate::error::Result;

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
