//! Where bytes come from: a file on disk, a file that the reader of a page chose, or memory.

use std::io::{self, Read};

/// Bytes that are read by position, so that no archive has to be held as a whole.
pub trait Source {
    /// How many bytes there are.
    fn size(&self) -> u64;

    /// Reads some bytes from `offset` on into `buffer` and says how many; 0 only at the end.
    ///
    /// # Errors
    /// Where they cannot be read.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Lets go of what reading holds open; it is opened again where that is needed.
    fn close(&self) {}
}

impl Source for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        (&self[from..]).read(buffer)
    }
}

/// A part of a source as a stream.
pub(super) struct Section<'a> {
    source: &'a dyn Source,
    at: u64,
    end: u64,
}

impl<'a> Section<'a> {
    pub(super) fn new(source: &'a dyn Source, at: u64, length: u64) -> Self {
        Self { source, at, end: at.saturating_add(length).min(source.size()) }
    }

    pub(super) fn whole(source: &'a dyn Source) -> Self {
        Self::new(source, 0, source.size())
    }
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = self.end.saturating_sub(self.at).min(buffer.len() as u64) as usize;
        if wanted == 0 {
            return Ok(0);
        }
        let read = self.source.read_at(self.at, &mut buffer[..wanted])?;
        self.at += read as u64;
        Ok(read)
    }
}
