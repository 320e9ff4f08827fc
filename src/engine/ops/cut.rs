//! How work is cut for a GPU: in tiles, for whose taps an image is loaded once or one by one, and in slices of a sum.

use super::product::Gemm;
use super::tile::Tile;
use crate::engine::lower::{Lowering, Tuning, chosen};
#[cfg(not(target_arch = "wasm32"))]
use crate::engine::value::Source;
use crate::engine::value::TILE_PIXELS;
#[cfg(not(target_arch = "wasm32"))]
use crate::error::Error;
use crate::error::Result;

/// Work of at most this many workgroups is cut into slices of its sums, until there are about [`WANTED_GROUPS`], so that a GPU has
/// enough to do.
const FEW_GROUPS: usize = 16;
const WANTED_GROUPS: usize = 128;
/// Tiles of the matrix's rows that a slice has at least.
const SLICE_TILES: usize = 4;

/// Products use the largest tile where that makes at least this many workgroups: fewer would leave cores without work.
const LARGE_GROUPS: usize = 256;

/// The output as rows of the product.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutputRows {
    pub(super) batch: usize,
    #[cfg_attr(target_arch = "wasm32", allow(dead_code, reason = "only a halo asks"))]
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) columns: usize,
    /// Pixels of a sample.
    pub(super) pixels: usize,
    /// Places of a sample: so many that a run of [`TILE_PIXELS`] places holds pixels of one sample, or whole samples.
    pub(super) padded: usize,
}

impl OutputRows {
    pub(super) fn of([batch, height, width, columns]: [usize; 4]) -> Self {
        let pixels = height * width;
        let whole = pixels.is_multiple_of(TILE_PIXELS) || TILE_PIXELS.is_multiple_of(pixels);
        let padded = if whole { pixels } else { pixels.next_multiple_of(TILE_PIXELS) };
        Self { batch, height, width, columns, pixels, padded }
    }

    pub(super) fn places(&self) -> usize {
        self.batch * self.padded
    }

    /// Places whose moments are taken together.
    pub(super) fn run(&self) -> usize {
        self.padded.min(TILE_PIXELS)
    }

    /// Tiles below each other and side by side.
    pub(super) fn tiles(&self, tile: Tile) -> [usize; 2] {
        [self.places().div_ceil(tile.pixels()), self.columns.div_ceil(tile.columns())]
    }

    /// Workgroups of a slice.
    pub(super) fn groups(&self, tile: Tile) -> usize {
        self.tiles(tile).iter().product()
    }

    /// The most samples that the places of one workgroup belong to.
    pub(super) fn samples(&self, tile: Tile) -> usize {
        let samples = if self.padded.is_multiple_of(tile.pixels()) {
            1
        } else if tile.pixels().is_multiple_of(self.padded) {
            tile.pixels() / self.padded
        } else {
            tile.pixels() / self.padded + 2
        };
        samples.min(self.batch)
    }
}

/// The tile of a product before its taps are looked at.
pub(super) fn tile_of(rows: &OutputRows, to: &Lowering) -> Result<Tile> {
    #[cfg(not(target_arch = "wasm32"))]
    if let Some(numbers) = to.choice.tile {
        // Only the command's benchmark chooses; a page has no bytes for the sentence.
        let tile = Tile::of(numbers).ok_or_else(|| Error::Option {
            option: "tile",
            found: format!("{numbers:?}"),
            expected: "rows 1 to 16, 1, 2 or 4 vectors of columns, a depth of 8, 16 or 32 and 64, 128 or 256 threads that \
                       suit each other and fit in 16 KiB of workgroup memory"
                .to_owned(),
        })?;
        if to.tuning == Tuning::Hardware && rows.run() == TILE_PIXELS {
            return Ok(tile);
        }
    }
    let large = chosen!(to.choice, large, LARGE_GROUPS);
    Ok(if to.tuning == Tuning::Software {
        Tile::MEDIUM
    } else if rows.places() <= Tile::SMALL.pixels() {
        Tile::SMALL
    } else if rows.run() == TILE_PIXELS && rows.groups(Tile::LARGE) >= large {
        Tile::LARGE
    } else {
        Tile::MEDIUM
    })
}

/// Whether the channels of all images come in fours.
pub(super) fn in_fours(channels: &[usize]) -> bool {
    channels.iter().all(|c| c.is_multiple_of(4))
}

/// The same tile, perhaps less deep, where all taps can be loaded together.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn with_halo(g: &Gemm, rows: &OutputRows, tile: Tile, to: &Lowering) -> Option<Tile> {
    let [_, height, width, _] = to.shape(g.source.first);
    let doubled = |source: &Source| source.upsample;
    let channels = [to.channels(Some(&g.source)), to.channels(g.shortcut.as_ref())];
    let suits = to.choice.halo.unwrap_or(true)
        && to.tuning == Tuning::Hardware
        && (g.window.taps(), g.window.stride(), g.window.before()) == (9, 1, 1)
        && !doubled(&g.source)
        && !g.shortcut.as_ref().is_some_and(doubled)
        && [height, width] == [rows.height, rows.width]
        && in_fours(channels.as_flattened())
        && (width.is_multiple_of(8) && width.is_power_of_two());
    let fits = |tile: &Tile| {
        rows.pixels.is_multiple_of(tile.pixels())
            && tile.pixels().is_multiple_of(width)
            && tile.halo_norms(width) >= 128
    };
    // The depth must leave room for it.
    let shallow = Tile { depth: tile.depth.min(16), ..tile };
    [tile, shallow].into_iter().find(|tile| suits && fits(tile))
}

#[cfg(target_arch = "wasm32")]
pub(super) fn with_halo(_: &Gemm, _: &OutputRows, _: Tile, _: &Lowering) -> Option<Tile> {
    None
}

/// How many slices work of so many workgroups should be cut into.
pub(super) fn wanted_slices(groups: usize, to: &Lowering) -> usize {
    let few = to.tuning == Tuning::Hardware && groups <= chosen!(to.choice, few, FEW_GROUPS);
    if few { chosen!(to.choice, wanted, WANTED_GROUPS) / groups } else { 1 }
}

/// A product's depth, and how it is cut into slices.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slices {
    pub(super) count: usize,
    /// Tiles of the matrix's rows that a slice has.
    pub(super) tiles: usize,
    /// Floats of all slices' sums; none where there is one slice.
    pub(super) floats: usize,
}

impl Slices {
    pub(super) fn of(depth_tiles: usize, rows: &OutputRows, tile: Tile, to: &Lowering) -> Self {
        let groups = rows.groups(tile);
        let slices = wanted_slices(groups, to).min(depth_tiles / SLICE_TILES).max(1);
        let tiles = depth_tiles.div_ceil(slices);
        let count = depth_tiles.div_ceil(tiles);
        let floats = if count == 1 { 0 } else { count * groups * tile.pixels() * tile.columns() };
        Self { count, tiles, floats }
    }
}
