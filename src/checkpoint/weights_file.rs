//! What files of weights have in common, whichever format they are in: limits, and room for bytes as they arrive.

use crate::error::Error;
use crate::text;

/// More tensors than any network here has; bounds what a file full of empty tensors can ask for.
pub(super) const MAX_TENSORS: usize = 1 << 16;
/// More dimensions than any weight has; bounds what a shape such as `1,1,1,…` can ask for.
pub(super) const MAX_RANK: usize = 8;
/// Room given to a tensor without asking how much has arrived.
const FIRST_ROOM: usize = 1 << 16;

/// Appends to a buffer that will have `size` bytes in the end. It never has more room than all that has been received
/// (or twice its own content), so that no announced size costs memory before its bytes come; and never more than
/// `size`, so that no room is left over. Past a file's first tensors that is one allocation a tensor.
pub(super) fn append(buffer: &mut Vec<u8>, bytes: &[u8], size: usize, received: u64) -> Result<(), ()> {
    let len = buffer.len() + bytes.len();
    if len > buffer.capacity() {
        let received = usize::try_from(received).unwrap_or(usize::MAX);
        let room = received.max(2 * buffer.len()).max(FIRST_ROOM).max(len).min(size);
        buffer.try_reserve_exact(room - buffer.len()).map_err(|_| ())?;
    }
    buffer.extend_from_slice(bytes);
    Ok(())
}

pub(super) fn out_of_memory(name: &str, size: usize) -> Error {
    Error::OutOfMemory { problem: format!("`{}` takes {size} bytes", text::name(name)) }
}

/// What a file is that begins so, where no kind of weights does.
pub(super) fn foreign(first: &[u8]) -> Option<&'static str> {
    match first {
        [0x89, b'P', b'N', b'G', ..] => Some("it is a PNG image"),
        [b'<', ..] => Some("it is an HTML or XML page"),
        _ if first.starts_with(b"version ") => Some("it is a git-lfs pointer instead of the file itself"),
        _ => None,
    }
}
