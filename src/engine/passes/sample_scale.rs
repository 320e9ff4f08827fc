//! A number of the prelude that multiplies a sample is applied by the product before.

use super::epilogue::absorb;
use crate::engine::draft::Draft;
use crate::engine::plan::{Combine, Gemm, Map, Place};

pub(super) fn sample_scale(draft: &mut Draft) {
    absorb(draft, &|product, map| match map {
        Map { load, operand: Some((Combine::ScaleSamples, Place::Rows(factor))), .. } if load.is_plain() => {
            Some(Gemm { sample_scale: Some(*factor), ..product.clone() })
        }
        _ => None,
    });
}
