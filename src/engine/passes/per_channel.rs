//! A vector of the prelude that is added to every pixel of a sample, such as a timestep's, is added by the product before.

use super::epilogue::{absorb, is_sum};
use crate::engine::draft::Draft;
use crate::engine::plan::{Combine, Gemm, Map, Place};

pub(super) fn per_channel(draft: &mut Draft) {
    absorb(draft, &|product, map| match map {
        Map { load, operand: Some((Combine::AddPerChannel, Place::Rows(time))), .. }
            if load.is_plain() && is_sum(product) =>
        {
            Some(Gemm { time: Some(*time), ..product.clone() })
        }
        _ => None,
    });
}
