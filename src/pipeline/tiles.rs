//! An autoencoder's halves tile by tile, for pictures whose activations do not fit in memory: diffusers' `enable_tiling`.
//!
//! Tiles overlap by a quarter, and where they do, one fades into the next. Each is normalised by itself and attends to itself alone, so that
//! the picture is not the same as in one piece.

use super::part::{Coder, Part, Ready};
use crate::error::Result;
use crate::network::array::Array;

/// How a picture, or its latents, are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    /// Rows and columns of what a tile is given, a multiple of 4 of the latents' pixels.
    given: usize,
    /// Rows and columns of what is made of it.
    made: usize,
}

/// Latents' pixels of a side of the smallest tile that is tried.
const LEAST: usize = 16;

impl Tiling {
    /// In tiles of so many of the latents' pixels on each side, of which each is `factor` of the picture's; `encodes` says which of them is
    /// given. Python's tiles are those of the size that the autoencoder was trained at.
    #[must_use]
    pub fn new(latents: usize, factor: usize, encodes: bool) -> Self {
        // Of what is no multiple of four the overlaps are not whole, and Python's pictures have another size.
        let latents = (latents / 4 * 4).max(4);
        let (given, made) = (latents, latents * factor);
        if encodes { Self { given: made, made: given } } else { Self { given, made } }
    }

    /// The ways to cut what is given for a part, of this size, the largest tiles first; none for parts that have no tiles.
    pub(super) fn ways(part: &Part, size: [usize; 2], factor: usize) -> Vec<Self> {
        let (coder, encodes) = match part {
            Part::Encoder(coder) => (coder, true),
            Part::Decoder(coder) => (coder, false),
            _ => return Vec::new(),
        };
        let Coder::Kl(net) = coder else { return Vec::new() };
        let side = net.sample_size.map_or(32, |[height, width]| height.min(width)) / factor;
        let sides =
            std::iter::successors(Some(side), |side| Some(side / 2)).take_while(|side| *side >= LEAST);
        let ways = sides.map(|side| Self::new(side, factor, encodes));
        ways.filter(|way| size.iter().any(|side| *side > way.given)).collect()
    }

    /// The least that a part is given at once of an image of this size.
    pub(super) fn least(part: &Part, size: [usize; 2], factor: usize) -> [usize; 2] {
        let ways = Self::ways(part, size, factor);
        ways.last().map_or(size, |way| size.map(|side| side.min(way.given)))
    }

    /// Rows and columns of what a tile is given.
    #[must_use]
    pub fn given(self) -> usize {
        self.given
    }

    /// What a part makes of one image, `[1, channels, height, width]`.
    ///
    /// # Errors
    /// Those of the part.
    pub async fn run(self, part: &mut dyn Ready, image: &Array) -> Result<Array> {
        let [_, channels, height, width] = image.shape[..] else { return Ok(image.clone()) };
        let step = self.given / 4 * 3;
        let fade = self.made / 4;
        let keep = self.made - fade;
        let mut whole = Image { size: [0, 0], channels: 0, values: Vec::new() };
        // The row of tiles above, and that which is being made.
        let (mut above, mut row): (Vec<Image>, Vec<Image>) = (Vec::new(), Vec::new());
        let starts = |side: usize| (0..side).step_by(step);
        let sizes = |side: usize| starts(side).map(move |at| (side - at).min(self.given));
        let ratio = |side: usize| side * self.made / self.given;
        let made = [height, width].map(|side| sizes(side).map(|size| ratio(size).min(keep)).sum::<usize>());
        for (i, y) in starts(height).enumerate() {
            for (j, x) in starts(width).enumerate() {
                let size = [(height - y).min(self.given), (width - x).min(self.given)];
                let tile = cut(&image.values, channels, [height, width], [y, x], size);
                let given = [Array { shape: vec![1, channels, size[0], size[1]], values: tile }];
                let mut tile = Image::of(part.ask(&given, false).await?.swap_remove(0));
                if i > 0 {
                    tile.fade_from(&above[j], fade, true);
                }
                if j > 0 {
                    tile.fade_from(&row[j - 1], fade, false);
                }
                if whole.values.is_empty() {
                    let len = tile.channels * made[0] * made[1];
                    whole = Image { size: made, channels: tile.channels, values: vec![0.0; len] };
                }
                whole.paste(&tile, [i * keep, j * keep], keep);
                row.push(tile);
            }
            above = std::mem::take(&mut row);
        }
        Ok(Array { shape: vec![1, whole.channels, made[0], made[1]], values: whole.values })
    }
}

/// A part of an image, channel by channel.
fn cut(
    values: &[f32],
    channels: usize,
    [height, width]: [usize; 2],
    [y, x]: [usize; 2],
    size: [usize; 2],
) -> Vec<f32> {
    let line = |at: usize| {
        let (channel, row) = (at / size[0], at % size[0]);
        let start = (channel * height + y + row) * width + x;
        &values[start..start + size[1]]
    };
    (0..channels * size[0]).flat_map(line).copied().collect()
}

struct Image {
    size: [usize; 2],
    channels: usize,
    values: Vec<f32>,
}

impl Image {
    fn of(array: Array) -> Self {
        let size = [array.shape[2], array.shape[3]];
        Self { size, channels: array.shape[1], values: array.values }
    }

    fn at(&self, channel: usize, [y, x]: [usize; 2]) -> usize {
        (channel * self.size[0] + y) * self.size[1] + x
    }

    /// Lets the last rows of the tile above fade into the first of this one, or the last columns of the tile on the left.
    fn fade_from(&mut self, other: &Self, fade: usize, down: bool) {
        let axis = usize::from(!down);
        let fade = fade.min(self.size[axis]).min(other.size[axis]);
        for channel in 0..self.channels {
            for step in 0..fade {
                // As Python works it out: in double precision, and multiplied in single.
                let share = step as f64 / fade as f64;
                let (old, new) = ((1.0 - share) as f32, share as f32);
                for across in 0..self.size[1 - axis].min(other.size[1 - axis]) {
                    let place = |along: usize| if down { [along, across] } else { [across, along] };
                    let from = other.values[other.at(channel, place(other.size[axis] - fade + step))];
                    let to = self.at(channel, place(step));
                    self.values[to] = from * old + self.values[to] * new;
                }
            }
        }
    }

    /// Copies a tile's first rows and columns, at most `keep` of them.
    fn paste(&mut self, tile: &Self, [y, x]: [usize; 2], keep: usize) {
        let [rows, columns] = tile.size.map(|side| side.min(keep));
        for channel in 0..self.channels {
            for row in 0..rows {
                let (from, to) = (tile.at(channel, [row, 0]), self.at(channel, [y + row, x]));
                self.values[to..to + columns].copy_from_slice(&tile.values[from..from + columns]);
            }
        }
    }
}
