//! Parts on burn's tensors, whose independent opinion the tests want.

use burn::tensor::Device;

use super::part::{Loader, Part, Pending, Ready, Take};
use crate::engine::parameters::Storage;
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

impl Loader for OnBurn {
    fn load<'a>(&'a self, part: Part, _: Storage, take: Take<'a>) -> Pending<'a, Box<dyn Ready>> {
        Box::pin(async move {
            let parameters = upload(&part.parameters(), &self.0, take)?;
            Ok(Box::new(Loaded { part, parameters, device: self.0.clone() }) as Box<dyn Ready>)
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
