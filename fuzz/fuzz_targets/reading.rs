//! Reads files as a data set, as the page and the terminal do, and counts the memory that it takes.

#[path = "../../tests/counting/mod.rs"]
mod counting;

use counting::peak;
use noiseball::train::dataset::{Options, Reader, Step};

/// Reads one file of this name to its end. What it says does not matter, but that it takes no more memory than it may.
pub fn read(name: &str, bytes: Vec<u8>, with_browser: bool) {
    let allowed = 256_000_000 + 4 * bytes.len();
    let (held, _) = peak(|| dataset(name, bytes, with_browser));
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
