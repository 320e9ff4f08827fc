//! A constant factor is applied by the product before.

use super::epilogue::absorb;
use crate::engine::draft::Draft;
use crate::engine::plan::{Gemm, Load, Map, Scaling};

pub(super) fn scale(draft: &mut Draft) {
    absorb(draft, &|product, map| match map {
        Map {
            load: Load { scaling: Some(Scaling::Constant { scale, shift: 0.0 }), activation: None },
            operand: None,
            ..
        } => Some(Gemm { scale: product.scale * scale, ..product.clone() }),
        _ => None,
    });
}
