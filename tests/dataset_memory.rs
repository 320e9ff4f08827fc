//! How much memory reading a data set takes, counted by the allocator: for any input at most 256 MB and four times the bytes
//! given. Alone in its binary, and in one test, so that nothing else allocates meanwhile.
#![cfg(all(feature = "data", not(target_arch = "wasm32")))]
#![allow(clippy::print_stdout, reason = "tests say how close they came")]

mod bombs;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use noiseball::Result;
use noiseball::train::dataset::{Options, Reader, Reading, Step};

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged. (`realloc` is the trait's own: allocate, copy, free.)
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(now, Relaxed);
        // SAFETY: the caller keeps to the trait's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps to the trait's contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What reading files makes, how many bytes it holds at most, and how long it takes.
fn measured(files: &[(&str, &[u8])], size: Option<usize>) -> (Result<Reading>, usize, f64) {
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    let began = std::time::Instant::now();
    let read = || {
        let mut reader = Reader::new(Options { size, ..Options::default() }, false)?;
        for (name, bytes) in files {
            reader.push((*name).to_owned(), Box::new(bytes.to_vec()))?;
        }
        while !matches!(reader.next()?, Step::Done) {}
        reader.finish()
    };
    let result = read();
    (result, PEAK.load(Relaxed) - before, began.elapsed().as_secs_f64())
}

#[test]
fn nothing_takes_more_than_it_is_worth() {
    // Each is refused, and holds no more than is allowed while it is.
    for (name, bytes, size) in &bombs::bombs() {
        let (result, held, seconds) = measured(&[(name, bytes)], *size);
        let allowed = 256_000_000 + 4 * bytes.len();
        println!(
            "{name}: {} bytes, {held} held, {seconds:.2} s: {:?}",
            bytes.len(),
            result.as_ref().err().map(ToString::to_string)
        );
        assert!(held <= allowed, "{name}: {held} bytes held for {} given", bytes.len());
        assert!(result.is_err(), "{name} is accepted");
    }

    for (name, bytes, size) in &bombs::large_ones() {
        let (result, held, seconds) = measured(&[(name, bytes)], *size);
        println!("{name}: {} bytes, {held} held, {seconds:.2} s", bytes.len());
        assert!(held <= 256_000_000 + 4 * bytes.len(), "{name}: {held} bytes held for {} given", bytes.len());
        result.unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}
