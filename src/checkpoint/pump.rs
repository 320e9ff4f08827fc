//! Getting natively, where reading may block, what an [`Opening`] wants.

use std::io::Read;

use serde_json::{Map, Value};

use super::Checkpoint;
use super::opening::{MAX_JSON, Opening, Wanted};
use crate::error::Result;

const CHUNK: usize = 1 << 18;

/// How far [`Checkpoint::open_with`] has come.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// The configs have been read, the weights have not: the moment to refuse an architecture.
    Config(&'a Map<String, Value>),
    /// A file of the weights is being read.
    Weights {
        /// Bytes so far.
        received: u64,
        /// Bytes in the file, once they are known.
        total: Option<u64>,
    },
}

/// Told about progress; an error stops the work and is returned.
pub(super) type Observer<'a> = &'a mut dyn FnMut(Progress<'_>) -> Result<()>;

/// What became of a file that was wanted.
pub(super) enum Got<T> {
    Here(T),
    Absent,
    /// The server forbids to read it.
    #[cfg_attr(not(feature = "fetch"), expect(dead_code, reason = "no server is asked"))]
    Refused,
}

/// Where a checkpoint's files are.
pub(super) trait Source {
    /// A small file, or its first bytes beyond what is allowed.
    fn read(&self, path: &str) -> Result<Got<Vec<u8>>>;

    /// Pushes a file of the weights from its beginning to its end.
    fn stream(&self, path: &str, opening: &mut Opening, observer: Observer<'_>) -> Result<Got<()>>;
}

/// Opens a checkpoint from where its files are.
pub(super) fn open(mut opening: Opening, source: &dyn Source, observer: Observer<'_>) -> Result<Checkpoint> {
    let mut configured = false;
    while let Some(Wanted { path, weights }) = opening.wanted().into_iter().next() {
        if let Some(config) = opening.config().filter(|_| !configured) {
            configured = true;
            observer(Progress::Config(config))?;
        }
        if !weights {
            match source.read(&path)? {
                Got::Here(bytes) => opening.give(&path, &bytes)?,
                Got::Absent => opening.absent(&path)?,
                Got::Refused => opening.refused(&path)?,
            }
            continue;
        }
        match source.stream(&path, &mut opening, &mut *observer)? {
            Got::Here(()) => opening.end()?,
            Got::Absent => opening.absent(&path)?,
            Got::Refused => opening.refused(&path)?,
        }
    }
    opening.finish()
}

/// All of a small file, or one byte more than is allowed.
pub(super) fn read_small(source: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(MAX_JSON as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Pushes all that `source` holds. The outer error is the source's, which another try may not have.
pub(super) fn push_all(
    mut source: impl Read,
    opening: &mut Opening,
    observer: Observer<'_>,
) -> std::io::Result<Result<()>> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let n = match source.read(&mut chunk) {
            Ok(0) => return Ok(Ok(())),
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        let pushed = opening.push(&chunk[..n]).and_then(|()| {
            let (received, total) = opening.progress();
            observer(Progress::Weights { received, total })
        });
        if pushed.is_err() {
            return Ok(pushed);
        }
    }
}
