//! What networks compute with on burn.

use burn::tensor::Tensor;

/// An image or a vector on the device.
#[derive(Clone, Debug)]
pub enum Value {
    /// `[batch, channels, height, width]`.
    Image(Tensor<4>),
    /// `[batch, width]`.
    Vector(Tensor<2>),
}

impl Value {
    pub(super) fn image(&self) -> Tensor<4> {
        match self {
            Value::Image(x) => x.clone(),
            Value::Vector(v) => {
                let [batch, width] = v.dims();
                v.clone().reshape([batch, width, 1, 1])
            }
        }
    }

    pub(super) fn vector(&self) -> Tensor<2> {
        match self {
            Value::Vector(v) => v.clone(),
            Value::Image(x) => x.clone().flatten(1, 3),
        }
    }
}
