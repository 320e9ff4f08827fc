//! Notes when memory runs out. Rust then ends the module with a trap that says nothing, from which JavaScript could not tell
//! a batch that is too large from a bug.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use wasm_bindgen::prelude::*;

struct TrackingAllocator;

#[global_allocator]
static ALLOCATOR: TrackingAllocator = TrackingAllocator;

static REFUSED: AtomicUsize = AtomicUsize::new(0);

fn noted(to: *mut u8, bytes: usize) -> *mut u8 {
    if to.is_null() {
        REFUSED.store(bytes, Ordering::Relaxed);
    }
    to
}

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for TrackingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as for the whole; here as below.
        noted(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        noted(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, from: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        noted(unsafe { System.realloc(from, layout, size) }, size)
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
}

/// Bytes of the last allocation that failed; 0 where none did. May be asked after a trap.
#[wasm_bindgen]
pub fn refused_bytes() -> f64 {
    REFUSED.load(Ordering::Relaxed) as f64
}
