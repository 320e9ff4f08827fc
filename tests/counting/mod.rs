//! An allocator that counts, for tests of how much memory something takes. It counts for the whole process: whoever asks
//! is alone in its binary, in one test.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes that are held now, and the most that were since [`peak`] began.
static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// The most bytes that may be held. An allocation beyond them fails, as on a machine that has no more.
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

struct Counting;

impl Counting {
    /// Counts an allocation before `allocate` makes it.
    fn count(layout: Layout, allocate: impl FnOnce() -> *mut u8) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        let pointer = if now > LIMIT.load(Relaxed) { std::ptr::null_mut() } else { allocate() };
        if pointer.is_null() {
            NOW.fetch_sub(layout.size(), Relaxed);
        } else {
            PEAK.fetch_max(now, Relaxed);
        }
        pointer
    }
}

// SAFETY: every call goes to the system's allocator unchanged, or fails. (`realloc` is the trait's own: allocate, copy, free.)
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps to the trait's contract.
        Self::count(layout, || unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above. The system does not touch the pages, as it would not in the product.
        Self::count(layout, || unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps to the trait's contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that `work` holds at a time beyond what was held before, and what it returns.
pub(crate) fn peak<T>(work: impl FnOnce() -> T) -> (usize, T) {
    peak_within(usize::MAX, work)
}

/// The same where there are no more than `limit` bytes for it.
pub(crate) fn peak_within<T>(limit: usize, work: impl FnOnce() -> T) -> (usize, T) {
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    LIMIT.store(before.saturating_add(limit), Relaxed);
    let result = work();
    LIMIT.store(usize::MAX, Relaxed);
    (PEAK.load(Relaxed) - before, result)
}
