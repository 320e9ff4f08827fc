//! What a kernel's tasks share, some of which may run at the same time.

use std::marker::PhantomData;
use std::ops::Range;

/// Columns of a panel: two vectors of the widest instruction set that the kernel is made for. Narrower ones take a panel in
/// parts.
pub const PANEL: usize = if cfg!(target_arch = "wasm32") {
    8
} else if cfg!(target_arch = "x86_64") {
    32
} else {
    16
};

/// Calls a function with each number below a count, once each, in whatever order, and perhaps on several threads; returns when all
/// have returned.
pub type Each<'a> = &'a dyn Fn(usize, &(dyn Fn(usize) + Sync));

/// [`Each`] on the thread that asks.
pub fn in_turn(count: usize, task: &(dyn Fn(usize) + Sync)) {
    (0..count).for_each(task);
}

/// A slice of which every task writes another part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SharedSlice<'a> {
    data: *mut f32,
    len: usize,
    slice: PhantomData<&'a mut [f32]>,
}

// SAFETY: it stands for a mutable slice of floats, and whoever asks for a part vouches that nobody else has it.
unsafe impl Send for SharedSlice<'_> {}
// SAFETY: as above.
unsafe impl Sync for SharedSlice<'_> {}

impl<'a> SharedSlice<'a> {
    pub(crate) fn new(slice: &'a mut [f32]) -> Self {
        Self { data: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    #[inline(always)]
    fn check(&self, range: &Range<usize>) {
        if range.start > range.end || range.end > self.len {
            outside();
        }
    }

    /// A part of the slice.
    ///
    /// # Safety
    /// While it is held, nobody else may hold a part with a number of it.
    #[inline(always)]
    pub(crate) unsafe fn part(&self, range: Range<usize>) -> &'a mut [f32] {
        self.check(&range);
        // SAFETY: the range lies within the slice, and is nobody else's.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(range.start), range.end - range.start) }
    }

    /// A part of the slice that is only read.
    ///
    /// # Safety
    /// While it is held, nobody may hold a part to write with a number of it.
    #[inline(always)]
    pub(crate) unsafe fn read(&self, range: Range<usize>) -> &'a [f32] {
        self.check(&range);
        // SAFETY: the range lies within the slice, and nobody writes it.
        unsafe { std::slice::from_raw_parts(self.data.add(range.start), range.end - range.start) }
    }
}

#[cold]
#[inline(never)]
fn outside() -> ! {
    panic!("a part outside of the whole")
}
