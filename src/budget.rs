//! What reading may cost: one [`Budget`] for everything that unpacks. No file may take memory or time out of proportion
//! to the bytes that were given, whatever its headers claim.

use std::cell::Cell;
use std::io::{self, Read};

/// Memory that anything may take, in bytes. The rest of the promised 256 MB is for what decoders hold uncounted.
pub const BASE: u64 = 160_000_000;
/// Memory that a byte given may take, in bytes.
pub const TIMES: u64 = 4;
/// Bytes that may be unpacked or decoded in sum, whatever was given, and for each byte given: a bound of the time.
const WORK: (u64, u64) = (1 << 30, 256);
/// Bytes of JSON in one file.
pub const MAX_JSON: u64 = 4 << 20;

/// The memory and the work that reading some input may take: [`BASE`] bytes and [`TIMES`] the bytes given at a time.
#[derive(Debug, Default)]
pub struct Budget {
    given: Cell<u64>,
    held: Cell<u64>,
    done: Cell<u64>,
}

/// Why something was not read: it would take too much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Bytes that were given so far.
    pub given: u64,
    /// What is exceeded, in bytes.
    pub limit: u64,
    /// Whether it is the sum of all that was unpacked, so that nothing more can be read.
    pub is_total: bool,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { given, limit, is_total } = self;
        let what = if *is_total { "unpacks in all to" } else { "takes" };
        write!(f, "it {what} more than {limit} bytes, the limit for an input of {given} bytes")
    }
}

impl std::error::Error for Refused {}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        Self::new(io::ErrorKind::QuotaExceeded, refused)
    }
}

/// Memory counted in a [`Budget`] until it is dropped.
#[derive(Debug)]
pub struct Held<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}

impl Budget {
    /// Counts bytes that were given: those of a file on disk or of a download.
    pub fn give(&self, bytes: u64) {
        self.given.set(self.given.get().saturating_add(bytes));
    }

    fn limit(&self, (base, times): (u64, u64)) -> u64 {
        self.given.get().saturating_mul(times).saturating_add(base)
    }

    /// The memory that is left, in bytes.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.limit((BASE, TIMES)) - self.held.get()
    }

    /// Counts memory before it is allocated. What is not given back by [`Self::release`] counts for good.
    ///
    /// # Errors
    /// Where there is not as much left.
    pub fn keep(&self, bytes: u64) -> Result<(), Refused> {
        if bytes > self.left() {
            let (given, limit) = (self.given.get(), self.limit((BASE, TIMES)));
            return Err(Refused { given, limit, is_total: false });
        }
        self.held.set(self.held.get() + bytes);
        Ok(())
    }

    /// Gives back what [`Self::keep`] counted.
    pub fn release(&self, bytes: u64) {
        self.held.set(self.held.get().saturating_sub(bytes));
    }

    /// Counts memory until what is returned is dropped.
    ///
    /// # Errors
    /// As [`Self::keep`].
    pub fn hold(&self, bytes: u64) -> Result<Held<'_>, Refused> {
        self.keep(bytes).map(|()| Held { budget: self, bytes })
    }

    /// Counts bytes before they are unpacked or decoded.
    ///
    /// # Errors
    /// Where that is more in all than the bytes given can be worth.
    pub fn work(&self, bytes: u64) -> Result<(), Refused> {
        let (done, limit) = (self.done.get().saturating_add(bytes), self.limit(WORK));
        if done > limit {
            return Err(Refused { given: self.given.get(), limit, is_total: true });
        }
        self.done.set(done);
        Ok(())
    }

    /// Reads to the end, at most `expected` bytes where that is known. Room grows with what arrives, whatever was claimed.
    ///
    /// # Errors
    /// The reader's, [`io::ErrorKind::QuotaExceeded`] where the budget ends, and [`io::ErrorKind::InvalidData`] where
    /// more than `expected` bytes arrive.
    pub fn read(&self, source: &mut dyn Read, expected: Option<u64>) -> io::Result<(Vec<u8>, Held<'_>)> {
        const CHUNK: usize = 1 << 16;
        let mut bytes = Vec::new();
        let mut held = self.hold(0)?;
        loop {
            if bytes.len() == bytes.capacity() {
                // Twice as much, with the old bytes still there while they are moved.
                let more = bytes.len().max(CHUNK);
                let more = expected.map_or(more, |e| more.min((e as usize).saturating_sub(bytes.len()) + 1));
                let moving = self.hold((bytes.len() + more) as u64)?;
                bytes.try_reserve_exact(more)?;
                held = moving;
            }
            let (start, room) = (bytes.len(), (bytes.capacity() - bytes.len()).min(CHUNK));
            bytes.resize(start + room, 0);
            let read = source.read(&mut bytes[start..])?;
            bytes.truncate(start + read);
            if read == 0 {
                return Ok((bytes, held));
            }
            self.work(read as u64)?;
            if expected.is_some_and(|e| bytes.len() as u64 > e) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it is larger than it says"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_and_the_bytes_given_count_fourfold() {
        let budget = Budget::default();
        budget.give(10);
        let all = budget.hold(BASE + 40).unwrap();
        assert!(!budget.hold(1).unwrap_err().is_total);
        drop(all);
        assert_eq!(budget.left(), BASE + 40);
        assert!(budget.keep(u64::MAX).is_err());
    }

    #[test]
    fn what_is_unpacked_is_counted_in_all() {
        let budget = Budget::default();
        for _ in 0..WORK.0 >> 20 {
            budget.work(1 << 20).unwrap();
        }
        assert!(budget.work(1).unwrap_err().is_total);
        budget.give(1);
        assert!(budget.work(256).is_ok() && budget.work(1).is_err());
    }

    #[test]
    fn a_stream_without_end_ends() {
        let budget = Budget::default();
        let error = budget.read(&mut io::repeat(0), None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
        assert_eq!(budget.left(), BASE);
        let (bytes, _held) = budget.read(&mut &[7u8; 100][..], Some(100)).unwrap();
        assert!(bytes == [7; 100] && bytes.capacity() <= 101);
        let error = budget.read(&mut &[7u8; 100][..], Some(99)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
