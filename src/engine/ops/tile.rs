//! How many outputs a workgroup and a thread of a product work out.

#[cfg(not(target_arch = "wasm32"))]
use crate::engine::value::TILE_PIXELS;

/// Threads that lie side by side in a product's workgroup; the others lie below them.
pub(super) const ACROSS: u32 = 8;

/// How many outputs a workgroup and a thread of a product work out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tile {
    /// Rows of a thread; a workgroup has [`Self::down`] times as many.
    pub(super) rows: u32,
    /// Vectors of four columns of a thread; a workgroup has [`ACROSS`] times as many.
    pub(super) columns4: u32,
    /// Inputs that go through workgroup memory at a time.
    pub(super) depth: u32,
    /// Threads of a workgroup.
    pub(super) threads: u32,
}

impl Tile {
    /// 64 × 64 outputs, where there are workgroups enough for that.
    pub(super) const LARGE: Self = Self { rows: 8, columns4: 2, depth: 16, threads: 64 };
    /// 32 × 32 outputs.
    pub(super) const MEDIUM: Self = Self { rows: 4, columns4: 1, depth: 32, threads: 64 };
    /// 16 × 32 outputs, for images of few pixels.
    pub(super) const SMALL: Self = Self { rows: 2, columns4: 1, depth: 32, threads: 64 };

    /// Threads that lie below each other.
    pub(super) fn down(self) -> u32 {
        self.threads / ACROSS
    }

    pub(super) fn pixels(self) -> usize {
        (self.rows * self.down()) as usize
    }

    pub(super) fn columns(self) -> usize {
        (4 * ACROSS * self.columns4) as usize
    }

    /// Vectors of inputs that each thread fetches of a tile.
    pub(super) fn inputs(self) -> u32 {
        self.rows * self.down() * self.depth / 4 / self.threads
    }

    /// Vectors of the matrix that each thread fetches of a tile.
    pub(super) fn weights(self) -> u32 {
        self.depth * self.columns4 * ACROSS / self.threads
    }

    /// Rows of a thread that belong to the same run of pixels.
    pub(super) fn rows_of_run(self, run: u32) -> u32 {
        (run / self.down()).max(1)
    }

    /// Pairs of scale and shift that fit in the 16 KiB of workgroup memory that every adapter has, beside the tiles.
    pub(super) fn norms(self) -> usize {
        let inputs = 4 * self.depth * self.down() * (self.rows + 1);
        let matrix = 4 * ACROSS * self.matrix_rows() * (4 * self.columns4 + 1);
        let (inputs, matrix) = (inputs as usize, matrix as usize);
        16_384_usize.saturating_sub(inputs + matrix) / 8
    }

    /// Vectors of each four channels that a convolution's pixels need of an image so wide, for all taps.
    pub(super) fn spots(self, width: u32) -> u32 {
        (width + 2) * (self.pixels() as u32 / width + 2)
    }

    /// Vectors that each thread fetches of what all taps need of an image so wide.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn patches(self, width: usize) -> u32 {
        (self.spots(width as u32) * self.depth / 4).div_ceil(self.threads)
    }

    /// The same as [`Self::norms`], beside what all taps of a convolution need of an image so wide.
    pub(super) fn halo_norms(self, width: usize) -> usize {
        let width = width as u32;
        let inputs = 4 * self.depth * (self.spots(width) / 4 * 4 + 6);
        let matrix = 4 * ACROSS * self.matrix_rows() * (4 * self.columns4 + 1);
        16_352_usize.saturating_sub((inputs + matrix) as usize) / 8
    }

    /// Rows of the matrix in workgroup memory, which at the end holds the sums of a run that moments are taken of.
    pub(super) fn matrix_rows(self) -> u32 {
        self.depth.max(self.down())
    }

    /// A tile by its rows, vectors of columns, depth and threads, if there can be one.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn of(numbers: [u32; 4]) -> Option<Self> {
        let [rows, columns4, depth, threads] = numbers;
        let tile = Self { rows, columns4, depth, threads };
        let fine = [64, 128, 256].contains(&threads)
            && [1, 2, 4, 8, 16].contains(&rows)
            && [1, 2, 4].contains(&columns4)
            && [8, 16, 32].contains(&depth)
            && tile.pixels() * depth as usize >= 4 * threads as usize
            && tile.columns() * depth as usize >= 4 * threads as usize
            && threads >= depth / 4
            && threads >= 4 * ACROSS * columns4
            && rows >= TILE_PIXELS as u32 / tile.down()
            && tile.norms() >= 128;
        fine.then_some(tile)
    }
}
