//! Gaussian bumps, the hidden units of a radial-basis-function network.

use crate::activation::exp;
use crate::product::{PANEL, Panels};

/// `exp(−½ Σᵢ ((xᵢ − cᵢ) · scale · w)²)` for each pixel x and each unit, with its centre c, a column of `centres`, and its w of
/// `widths`.
pub fn radial_basis(pixels: &[f32], centres: Panels, widths: &[f32], scale: f32, out: &mut [f32]) {
    let Panels { data, rows, columns, .. } = centres;
    for (x, out) in pixels.chunks_exact(rows).zip(out.chunks_exact_mut(columns)) {
        for (unit, (out, width)) in out.iter_mut().zip(widths).enumerate() {
            let centre = data[unit / PANEL * rows * PANEL + unit % PANEL..].iter().step_by(PANEL);
            let mut sum = 0.0;
            for (x, c) in x.iter().zip(centre) {
                let part = (x - c) * (scale * width);
                sum += part * part;
            }
            *out = exp(-0.5 * sum);
        }
    }
}
