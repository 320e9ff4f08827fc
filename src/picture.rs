//! From a sampler's numbers to pixels.

/// The numbers that are black and white to a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Range {
    /// -1 and 1.
    #[default]
    Signed,
    /// 0 and 1, as to the networks of Song et al. (2021) with an exploding variance.
    Unit,
}

impl Range {
    /// A number of this range in [-1, 1].
    #[must_use]
    pub fn to_signed(self, x: f32) -> f32 {
        if self == Self::Unit { 2.0 * x - 1.0 } else { x }
    }

    /// A number in [-1, 1] in this range.
    #[must_use]
    pub fn of_signed(self, x: f32) -> f32 {
        if self == Self::Unit { 0.5 * x + 0.5 } else { x }
    }
}

/// Images `[batch, channels, height, width]` in `range`, by default [-1, 1], as RGBA bytes `[batch, height, width, 4]`, opaque: the value
/// `round(255 · (x / 2 + 0.5))`, clamped, as diffusers makes them. One or two channels are grey (the first counts), of
/// more the first three are red, green and blue. NaN becomes black.
#[must_use]
pub fn to_rgba(x: &[f32], shape: [usize; 4], range: Range) -> Vec<u8> {
    let [batch, channels, height, width] = shape;
    let plane = height * width;
    let mut rgba = Vec::with_capacity(batch * plane * 4);
    for image in x.chunks_exact((channels * plane).max(1)).take(batch) {
        let byte = |channel: usize, pixel: usize| to_byte(range.to_signed(image[channel * plane + pixel]));
        for p in 0..plane {
            let [r, g, b] = if channels < 3 { [byte(0, p); 3] } else { [byte(0, p), byte(1, p), byte(2, p)] };
            rgba.extend([r, g, b, 255]);
        }
    }
    rgba
}

fn to_byte(x: f32) -> u8 {
    // Half to even, as numpy rounds; a cast saturates, and maps NaN to 0.
    ((x / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_rounded_and_clamped() {
        assert_eq!(
            [-1.0, -0.99, 0.0, 0.5, 1.0, 7.0, -7.0, f32::NAN].map(to_byte),
            [0, 1, 128, 191, 255, 255, 0, 0]
        );
    }

    #[test]
    fn a_range_from_0_is_black_and_white_at_its_ends() {
        assert_eq!(
            to_rgba(&[0.0, 1.0, 0.5], [1, 1, 1, 3], Range::Unit)[..9],
            [0, 0, 0, 255, 255, 255, 255, 255, 128]
        );
        assert_eq!(
            [0.0, 0.25, 1.0].map(|x| Range::Unit.of_signed(Range::Unit.to_signed(x))),
            [0.0, 0.25, 1.0]
        );
    }

    #[test]
    fn channels_become_colours() {
        assert_eq!(to_rgba(&[-1.0, 1.0], [2, 1, 1, 1], Range::Signed), [0, 0, 0, 255, 255, 255, 255, 255]);
        assert_eq!(
            to_rgba(&[-1.0, 0.0, 1.0, 1.0, 1.0, -1.0], [1, 3, 1, 2], Range::Signed),
            [0, 255, 255, 255, 128, 255, 0, 255]
        );
        assert_eq!(to_rgba(&[1.0, -1.0, 1.0, 0.0], [1, 4, 1, 1], Range::Signed), [255, 0, 255, 255]);
    }
}
