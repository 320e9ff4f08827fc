//! What a network is to those who plan, run and train it. An author writes [`Network`], which says what it is given, and
//! [`Architecture`], which reads its config and has its forward pass; everybody else sees a `dyn Network`.

use std::fmt;

use serde_json::{Map, Value as Json};

#[cfg(feature = "burn")]
use super::on_burn::Value;
use super::ops::Ops;
use crate::error::{Error, Result};
use crate::text::number;

/// A tensor of an interpreter that only writes calls down: its position among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// One sample's part of a recorded tensor: an image; or a sequence of tokens, which is an image one pixel wide; or a vector,
/// which is one pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows of pixels, or tokens.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// Numbers of a pixel.
    pub channels: usize,
}

impl Shape {
    /// A vector of so many numbers.
    #[must_use]
    pub fn vector(channels: usize) -> Self {
        Self { height: 1, width: 1, channels }
    }

    /// Pixels.
    #[must_use]
    pub fn pixels(self) -> usize {
        self.height * self.width
    }
}

/// How often a tensor changes. A result changes as often as the argument that does so most often; what changes less often than
/// the network is evaluated is computed once for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rate {
    /// Never.
    Model,
    /// With the label or prompt.
    Prompt,
    /// With the timestep.
    Timestep,
    /// With every evaluation.
    Evaluation,
}

/// What the network is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input {
    /// What it is called.
    pub name: &'static str,
    /// How often it changes.
    pub rate: Rate,
    /// One sample's part of it.
    pub shape: Shape,
}

impl Input {
    /// A vector.
    #[must_use]
    pub fn vector(name: &'static str, rate: Rate, width: usize) -> Self {
        Self { name, rate, shape: Shape::vector(width) }
    }
}

/// What a class label is to the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassEmbedding {
    /// The network knows no classes.
    None,
    /// A row of a learned table with this many rows.
    Table(usize),
    /// A number embedded as the timestep is.
    Timestep,
    /// The embedding itself, a vector of this many numbers.
    Identity(usize),
}

/// A network by its checked config: all that the engine, the samplers and training want to know of one that predicts noise.
pub trait Network: Interpreted + Send + Sync {
    /// Channels of the noisy image.
    fn in_channels(&self) -> usize;

    /// Channels of the prediction; twice [`Self::in_channels`] where the variance is learned too.
    fn out_channels(&self) -> usize;

    /// Whether it predicts a variance beside its prediction.
    fn learns_variance(&self) -> bool {
        self.out_channels() == 2 * self.in_channels()
    }

    /// Height and width the network was trained at, where its config says.
    fn sample_size(&self) -> Option<[usize; 2]> {
        None
    }

    /// Height and width of the least image.
    fn least_size(&self) -> [usize; 2] {
        [1, 1]
    }

    /// Whether an image of this size can go through it.
    ///
    /// # Errors
    /// [`Error::Option`] that says which can.
    fn check_size(&self, height: usize, width: usize) -> Result<()>;

    /// What a forward pass on an image of this size is given, the noisy image first. The rest are what
    /// [`Self::features`] gives, in this order.
    fn inputs(&self, height: usize, width: usize) -> Vec<Input>;

    /// A parameter that features are made with and that the forward pass does not use, by its key, and its length: random
    /// frequencies. It is not trained.
    fn frequencies(&self) -> Option<(&'static str, usize)> {
        None
    }

    /// Whether it is told every timestep as a row of a learned table, of so many rows.
    fn timestep_rows(&self) -> Option<usize> {
        None
    }

    /// What a class label is to it.
    fn classes(&self) -> ClassEmbedding {
        ClassEmbedding::None
    }

    /// Whether the network can be told this timestep.
    ///
    /// # Errors
    /// [`Error::Option`] where it cannot.
    fn check_timestep(&self, timestep: f32) -> Result<()> {
        if timestep.is_finite() {
            return Ok(());
        }
        Err(Error::Option {
            option: "timestep",
            found: number(timestep.into()),
            expected: "a finite number".to_owned(),
        })
    }

    /// Whether the network can be given these labels, for as many samples: one number each, or one vector each where the
    /// class embedding is the identity.
    ///
    /// # Errors
    /// [`Error::Option`] where a label is missing, out of range, or given to a network without classes.
    fn check_labels(&self, _samples: usize, labels: Option<&[f32]>) -> Result<()> {
        if labels.is_none() {
            return Ok(());
        }
        Err(Error::Option {
            option: "labels",
            found: "given".to_owned(),
            expected: "left out: this network knows no classes".to_owned(),
        })
    }

    /// What a forward pass is given beside the image, worked out on the CPU: a vector for each sample of each of
    /// [`Self::inputs`] but the first. `timesteps` holds one number a sample, `labels` are as for [`Self::check_labels`],
    /// and `frequencies` is the parameter of [`Self::frequencies`].
    ///
    /// # Errors
    /// Those of [`Self::check_timestep`] and [`Self::check_labels`].
    fn features(
        &self,
        timesteps: &[f32],
        labels: Option<&[f32]>,
        frequencies: &[f32],
    ) -> Result<Vec<Vec<f32>>>;
}

/// No more than its channels: a config's numbers would cost a page the code that prints them.
impl fmt::Debug for dyn Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Network({} → {} channels)", self.in_channels(), self.out_channels())
    }
}

/// A network that a config describes.
pub trait Architecture: Network + Sized {
    /// The values of `_class_name` that [`Self::parse`] reads.
    const CLASSES: &'static [&'static str];

    /// Reads and checks a config, which errors call `file`; also returns the keys that mean nothing to it.
    ///
    /// # Errors
    /// [`Error::Config`] on a value that no network can have, [`Error::Unsupported`] on what is not implemented, by its name.
    fn parse(file: &str, object: &Map<String, Json>) -> Result<(Self, Vec<String>)>;

    /// The prediction `[batch, out_channels, height, width]` for the [`Network::inputs`], whose size has passed
    /// [`Network::check_size`].
    fn forward<O: Ops + ?Sized>(&self, ops: &mut O, inputs: &[O::Tensor]) -> O::Tensor;
}

/// [`Architecture::forward`] for the interpreters that there are, behind pointers: it is compiled once for all that write calls down.
pub trait Interpreted {
    /// Writes the calls down.
    fn record(&self, ops: &mut dyn Ops<Tensor = NodeId>, inputs: &[NodeId]) -> NodeId;

    /// Computes on burn's tensors.
    #[cfg(feature = "burn")]
    fn compute(&self, ops: &mut dyn Ops<Tensor = Value>, inputs: &[Value]) -> Value;
}

impl<A: Architecture> Interpreted for A {
    fn record(&self, ops: &mut dyn Ops<Tensor = NodeId>, inputs: &[NodeId]) -> NodeId {
        self.forward(ops, inputs)
    }

    #[cfg(feature = "burn")]
    fn compute(&self, ops: &mut dyn Ops<Tensor = Value>, inputs: &[Value]) -> Value {
        self.forward(ops, inputs)
    }
}
