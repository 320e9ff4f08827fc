//! The inner loop of [products](super::product) with relaxed SIMD's multiply-add, as a WebAssembly module of its own: a browser that
//! does not know the instruction would refuse any module that has it. It is a kilobyte, written here instruction by instruction when
//! this is compiled, so that there is no second build of everything for it.
//!
//! Who starts the main module puts its functions in the [`slots`] of the table of functions, and calls [`choose`].

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};

use super::shared::PANEL;

/// Adds to `pixels` times [`PANEL`] sums what so many rows of a panel come to with each pixel's run.
type Inner = extern "C" fn(sums: *mut f32, runs: *const *const f32, panel: *const f32, rows: usize);

/// Pixels of the larger tile: its sums, a row of the panel and an input fill the vector registers but for one.
pub(super) const MOST: usize = 6;
/// Pixels of the smaller one.
pub(super) const LEAST: usize = 4;

/// The module's exports, and the places in the table of functions that they take.
#[must_use]
pub fn slots() -> [(&'static str, usize); 2] {
    [("a", of_most as *const () as usize), ("b", of_least as *const () as usize)]
}

static CHOSEN: AtomicBool = AtomicBool::new(false);

/// Whether products use what is in the [`slots`].
pub fn choose(chosen: bool) {
    CHOSEN.store(chosen, Ordering::Relaxed);
}

/// Whether they do.
#[must_use]
pub fn is_chosen() -> bool {
    CHOSEN.load(Ordering::Relaxed)
}

/// The function in a slot. The compiler must not know which it is, as it is another one by then.
#[inline(always)]
pub(super) fn inner(pixels: usize) -> Inner {
    black_box(if pixels == MOST { of_most } else { of_least })
}

// Nobody calls these. There is one of each, and no two are the same, so that each has a place of its own in the table.
#[inline(never)]
extern "C" fn of_most(sums: *mut f32, _: *const *const f32, _: *const f32, _: usize) {
    // SAFETY: whoever calls has sums.
    unsafe { *sums = MOST as f32 };
}

#[inline(never)]
extern "C" fn of_least(sums: *mut f32, _: *const *const f32, _: *const f32, _: usize) {
    // SAFETY: as above.
    unsafe { *sums = LEAST as f32 };
}

/// The module. It imports the memory as `m.m`.
pub static MODULE: [u8; ASSEMBLED.len] = {
    let mut bytes = [0; ASSEMBLED.len];
    let mut i = 0;
    while i < bytes.len() {
        bytes[i] = ASSEMBLED.bytes[i];
        i += 1;
    }
    bytes
};

const ASSEMBLED: Code = {
    let mut code = Code { bytes: [0; 2048], len: 0 };
    code.put(b"\0asm\x01\0\0\0");
    // One type, of four i32 and no result; the memory; two functions of the type, with their names.
    code.put(&[1, 8, 1, 0x60, 4, 0x7f, 0x7f, 0x7f, 0x7f, 0]);
    code.put(&[2, 8, 1, 1, b'm', 1, b'm', 2, 0, 0]);
    code.put(&[3, 3, 2, 0, 0]);
    code.put(&[7, 9, 2, 1, b'a', 0, 0, 1, b'b', 0, 1]);
    code.put(&[10]);
    let section = code.begin();
    code.put(&[2]);
    code.tile(MOST as u8);
    code.tile(LEAST as u8);
    code.end(section);
    code
};

/// Instructions by their numbers in WebAssembly's specification.
mod op {
    pub(super) const I32_LOAD: u8 = 0x28;
    pub(super) const I32_CONST: u8 = 0x41;
    pub(super) const I32_ADD: u8 = 0x6a;
    pub(super) const V128_LOAD: u8 = 0;
    pub(super) const V128_LOAD32_SPLAT: u8 = 9;
    pub(super) const V128_STORE: u8 = 11;
    pub(super) const RELAXED_MADD: [u8; 3] = [0xfd, 0x85, 0x02];
}

/// Bytes of a vector, and of a row of a panel.
const VECTOR: u8 = 16;
const ROW: u8 = 4 * PANEL as u8;
const _: () = assert!(PANEL == 8);

// The parameters.
const SUMS: u8 = 0;
const RUNS: u8 = 1;
const MATRIX: u8 = 2;
const ROWS: u8 = 3;

struct Code {
    bytes: [u8; 2048],
    len: usize,
}

impl Code {
    const fn put(&mut self, bytes: &[u8]) {
        let mut i = 0;
        while i < bytes.len() {
            self.bytes[self.len] = bytes[i];
            self.len += 1;
            i += 1;
        }
    }

    /// Leaves room for how many bytes follow.
    const fn begin(&mut self) -> usize {
        self.put(&[0, 0]);
        self.len
    }

    const fn end(&mut self, from: usize) {
        let len = self.len - from;
        self.bytes[from - 2] = (len & 0x7f) as u8 | 0x80;
        self.bytes[from - 1] = (len >> 7) as u8;
    }

    const fn get(&mut self, local: u8) {
        self.put(&[0x20, local]);
    }

    const fn set(&mut self, local: u8) {
        self.put(&[0x21, local]);
    }

    /// An instruction for a vector or a number of it in memory, so many bytes after an address.
    const fn vector(&mut self, instruction: u8, align: u8, offset: u8) {
        self.put(&[0xfd, instruction, align, offset & 0x7f | 0x80, offset >> 7]);
    }

    const fn advance(&mut self, local: u8, bytes: u8) {
        self.get(local);
        self.put(&[op::I32_CONST, bytes, op::I32_ADD]);
        self.set(local);
    }

    /// The function for so many pixels. Each vector of sums, the run of each pixel, a row of the matrix and an input are variables.
    const fn tile(&mut self, pixels: u8) {
        let (run, sum) = (ROWS + 1, ROWS + 1 + pixels);
        let (row, input) = (sum + 2 * pixels, sum + 2 * pixels + 2);
        let function = self.begin();
        // So many further i32, and v128.
        self.put(&[2, pixels, 0x7f, 2 * pixels + 3, 0x7b]);
        let mut i = 0;
        while i < pixels {
            self.get(RUNS);
            self.put(&[op::I32_LOAD, 2, 4 * i]);
            self.set(run + i);
            i += 1;
        }
        self.all_sums(pixels, sum, true);
        self.put(&[0x03, 0x40]); // loop
        self.half_row(0, row);
        self.half_row(1, row);
        let mut i = 0;
        while i < pixels {
            self.get(run + i);
            self.vector(op::V128_LOAD32_SPLAT, 2, 0);
            self.set(input);
            let mut j = 0;
            while j < 2 {
                self.get(input);
                self.get(row + j);
                self.get(sum + 2 * i + j);
                self.put(&op::RELAXED_MADD);
                self.set(sum + 2 * i + j);
                j += 1;
            }
            self.advance(run + i, 4);
            i += 1;
        }
        self.advance(MATRIX, ROW);
        // One row less; again while there are any.
        self.get(ROWS);
        self.put(&[op::I32_CONST, 0x7f, op::I32_ADD, 0x22, ROWS, 0x0d, 0, 0x0b]);
        self.all_sums(pixels, sum, false);
        self.put(&[0x0b]);
        self.end(function);
    }

    const fn half_row(&mut self, half: u8, row: u8) {
        self.get(MATRIX);
        self.vector(op::V128_LOAD, 4, VECTOR * half);
        self.set(row + half);
    }

    /// Loads all vectors of sums, or stores them.
    const fn all_sums(&mut self, pixels: u8, sum: u8, load: bool) {
        let mut i = 0;
        while i < 2 * pixels {
            self.get(SUMS);
            if load {
                self.vector(op::V128_LOAD, 4, VECTOR * i);
                self.set(sum + i);
            } else {
                self.get(sum + i);
                self.vector(op::V128_STORE, 4, VECTOR * i);
            }
            i += 1;
        }
    }
}
