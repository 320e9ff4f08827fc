//! What a caller may choose for a run.

/// What a caller may choose for a run. A sampler ignores the options that it has no use for.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The number of steps, from 1 to the number of training timesteps.
    pub steps: usize,
    /// DDIM's share of fresh noise, from 0 to 1.
    pub eta: f64,
    /// DDIM: derive ε̂ from the clipped x̂₀.
    pub use_clipped_model_output: bool,
}

impl Default for Options {
    /// Those of diffusers' `DDIMPipeline`.
    fn default() -> Self {
        Self { steps: 50, eta: 0.0, use_clipped_model_output: false }
    }
}
