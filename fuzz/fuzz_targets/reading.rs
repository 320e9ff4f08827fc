//! Reads files as a data set, as the page and the terminal do, and counts the memory that it takes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use noiseball::train::dataset::{Options, Reader, Step};

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(now, Relaxed);
        // SAFETY: the caller keeps to the trait's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(now, Relaxed);
        // SAFETY: as above. The system does not touch the pages, as it would not in the product.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps to the trait's contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Reads one file of this name to its end. What it says does not matter, but that it takes no more memory than it may.
pub fn read(name: &str, bytes: Vec<u8>, with_browser: bool) {
    let allowed = 256_000_000 + 4 * bytes.len();
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    let _ = dataset(name, bytes, with_browser);
    let held = PEAK.load(Relaxed) - before;
    assert!(held <= allowed, "{held} bytes held, of which {allowed} are allowed");
}

fn dataset(name: &str, bytes: Vec<u8>, with_browser: bool) -> noiseball::Result<()> {
    let mut reader = Reader::new(Options::default(), with_browser)?;
    reader.push(name.to_owned(), Box::new(bytes))?;
    loop {
        match reader.next()? {
            Step::Read { done, total } => assert!(done <= total),
            Step::Foreign { name, .. } => reader.skip(&name, "no browser is here"),
            Step::Done => break,
        }
    }
    reader.finish()?.data.check()
}
