//! How much memory reading a data set takes, counted by the allocator: for any input at most 256 MB and four times the bytes
//! given. Alone in its binary, and in one test, so that nothing else allocates meanwhile.
#![cfg(all(feature = "data", not(target_arch = "wasm32")))]
#![allow(clippy::print_stdout, reason = "tests say how close they came")]

mod bombs;
mod counting;

use counting::peak;
use noiseball::Result;
use noiseball::train::dataset::{Options, Reader, Reading, Step};

/// What reading files makes, how many bytes it holds at most, and how long it takes.
fn measured(files: &[(&str, &[u8])], size: Option<usize>) -> (Result<Reading>, usize, f64) {
    let began = std::time::Instant::now();
    let (held, result) = peak(|| {
        let mut reader = Reader::new(Options::default().size(size), false)?;
        for (name, bytes) in files {
            reader.push((*name).to_owned(), Box::new(bytes.to_vec()))?;
        }
        while !matches!(reader.next()?, Step::Done) {}
        reader.finish()
    });
    (result, held, began.elapsed().as_secs_f64())
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
