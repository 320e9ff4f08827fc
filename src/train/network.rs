//! A network that can be trained: all that training wants to know of one.

use burn::tensor::Tensor;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::model::UNET_CONFIG;
use crate::network::architecture::ClassEmbedding;
use crate::network::describe::{Inventory, describe};
use crate::network::mlp::MlpConfig;
use crate::network::on_burn::{Parameters, forward};
use crate::network::unet::{TimeEmbedding, UNet2DConfig};
use crate::network::{self, Architecture as _, Network as _};

/// The config of a network that can be trained, checked.
#[derive(Clone, Debug, PartialEq)]
pub enum TrainableNetwork {
    /// diffusers' `UNet2DModel`, for images.
    UNet(Box<UNet2DConfig>),
    /// An MLP or RBF network, for points and bit strings.
    Mlp(MlpConfig),
}

impl TrainableNetwork {
    /// Reads and checks a config; `_class_name` says of what.
    ///
    /// # Errors
    /// [`Error::Config`] and [`Error::Unsupported`].
    pub fn parse(file: &str, object: &Map<String, Value>) -> Result<Self> {
        let class = object.get("_class_name").and_then(Value::as_str);
        if class.is_some_and(|class| MlpConfig::CLASSES.contains(&class)) {
            return Ok(Self::Mlp(MlpConfig::parse(file, object)?.0));
        }
        Ok(Self::UNet(Box::new(UNet2DConfig::parse(file, object)?.0)))
    }

    /// The network that it is.
    fn any(&self) -> &dyn network::Network {
        match self {
            Self::UNet(config) => &**config,
            Self::Mlp(config) => config,
        }
    }

    /// Channels of what is noised.
    #[must_use]
    pub fn in_channels(&self) -> usize {
        self.any().in_channels()
    }

    /// Channels of the prediction.
    #[must_use]
    pub fn out_channels(&self) -> usize {
        self.any().out_channels()
    }

    /// What a class label is to it.
    #[must_use]
    pub fn class_embedding(&self) -> ClassEmbedding {
        self.any().classes()
    }

    /// Whether images of this size can go through it.
    ///
    /// # Errors
    /// [`Error::Option`] that says which can.
    pub(super) fn check_size(&self, height: usize, width: usize) -> Result<()> {
        self.any().check_size(height, width)
    }

    /// Whether it can be told this number for a timestep.
    ///
    /// # Errors
    /// [`Error::Config`] for a row that a learned table lacks, and for a logarithm that there is not.
    pub(super) fn check_told(&self, told: f32, timesteps: usize) -> Result<()> {
        let Self::UNet(config) = self else { return Ok(()) };
        let Err(Error::Option { expected, .. }) = config.check_timestep(told) else { return Ok(()) };
        let wrong = |field: &str, found: String, expected: String| Error::Config {
            file: UNET_CONFIG.to_owned(),
            field: field.to_owned(),
            found,
            expected,
        };
        Err(match (config.time_embedding_type, config.num_train_timesteps) {
            (TimeEmbedding::Learned, Some(rows)) if told.fract() == 0.0 && rows < timesteps => wrong(
                "num_train_timesteps",
                rows.to_string(),
                format!(
                    "at least {timesteps}, a row for each of the scheduler's timesteps, where time_embedding_type is learned"
                ),
            ),
            (kind, _) => wrong(
                "time_embedding_type",
                format!("{kind:?}").to_lowercase(),
                format!(
                    "positional, as in training the network is told the time {told}, which must be {expected}"
                ),
            ),
        })
    }

    /// What one evaluation for one image of this size needs.
    #[must_use]
    pub fn describe(&self, height: usize, width: usize) -> Inventory {
        describe(self.any(), 1, height, width)
    }

    /// Every parameter's key and shape, for images of this size.
    pub(super) fn parameters(&self, height: usize, width: usize) -> Vec<(String, Vec<usize>)> {
        self.describe(height, width).parameters
    }

    /// The key of the parameter that is not trained: random Fourier frequencies.
    pub(super) fn frequencies(&self) -> Option<&'static str> {
        self.any().frequencies().map(|(key, _)| key)
    }

    /// One evaluation: see [`on_burn::forward`](forward).
    pub(super) fn forward(
        &self,
        parameters: &Parameters,
        frequencies: &[f32],
        x: Tensor<4>,
        c_noise: &[f32],
        labels: Option<&[f32]>,
    ) -> Result<Tensor<4>> {
        forward(self.any(), parameters, frequencies, x, c_noise, labels)
    }
}
