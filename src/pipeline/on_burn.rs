//! Parts on burn's tensors, whose independent opinion the tests want.

use std::collections::HashMap;

use burn::tensor::Device;

use super::part::{Loader, Loading, Part, Pending, Ready};
use crate::engine::filling::Numbers;
use crate::error::{Error, Result};
use crate::network::array::Array;
use crate::network::on_burn::Parameters;
use crate::network::on_burn::transformer::{evaluate, upload};
use crate::network::unet_condition::WithMap;

/// burn on a device of its own, in f32.
#[derive(Clone, Debug)]
pub struct OnBurn(pub Device);

struct Loaded {
    part: Part,
    parameters: Parameters,
    device: Device,
}

/// What has arrived, by its key.
struct Arriving {
    part: Part,
    device: Device,
    shapes: Vec<(String, Vec<usize>)>,
    values: HashMap<String, Vec<f32>>,
}

impl Loader for OnBurn {
    fn begin(&self, part: Part, _: bool) -> Result<Box<dyn Loading>> {
        let (shapes, device) = (part.parameters(), self.0.clone());
        Ok(Box::new(Arriving { part, device, shapes, values: HashMap::new() }))
    }
}

impl Loading for Arriving {
    fn put(&mut self, key: &str, numbers: Numbers) -> Result<()> {
        let shape = self.shapes.iter().find(|(known, _)| known == key);
        let row = shape.map_or(1, |(_, shape)| shape.iter().skip(1).product());
        self.values.insert(key.to_owned(), numbers.into_f32(row)?);
        Ok(())
    }

    fn finish<'a>(self: Box<Self>) -> Pending<'a, Box<dyn Ready>> {
        Box::pin(async move {
            let Self { part, device, shapes, mut values } = *self;
            let parameters = upload(&shapes, &device, |key: &str, shape: &[usize]| {
                let missing = || Error::MissingKey { key: key.to_owned(), expected: shape.to_vec(), more: 0 };
                values.remove(key).ok_or_else(missing)
            })?;
            Ok(Box::new(Loaded { part, parameters, device }) as Box<dyn Ready>)
        })
    }
}

impl Ready for Loaded {
    fn ask<'a>(&'a mut self, inputs: &'a [Array], maps: bool) -> Pending<'a, Vec<Array>> {
        Box::pin(async move {
            match &self.part {
                Part::UNet(net) if maps => {
                    evaluate(&WithMap(net), &self.parameters, &self.device, inputs).await
                }
                part => evaluate(part, &self.parameters, &self.device, inputs).await,
            }
        })
    }
}
