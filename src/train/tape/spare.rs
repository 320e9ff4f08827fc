//! Memory that steps use again: each asks for the same numbers of floats as the one before, and fresh memory has to be made zero by
//! the system, page by page.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Buffers by their length.
#[derive(Debug, Default)]
pub(in crate::train) struct Spare(Mutex<HashMap<usize, Buffers>>);

/// Buffers of one length.
#[derive(Debug, Default)]
struct Buffers {
    /// How many were taken and not given back.
    taken: usize,
    /// Those that nobody uses now.
    free: Vec<Vec<f32>>,
}

impl Spare {
    fn buffers(&self) -> MutexGuard<'_, HashMap<usize, Buffers>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many floats, whatever they hold.
    pub(super) fn take(&self, len: usize) -> Vec<f32> {
        let mut all = self.buffers();
        let buffers = all.entry(len).or_default();
        buffers.taken += 1;
        buffers.free.pop().unwrap_or_else(|| vec![0.0; len])
    }

    /// Keeps them for who asks next, unless they are from elsewhere.
    pub(super) fn give(&self, buffer: Vec<f32>) {
        if let Some(buffers) = self.buffers().get_mut(&buffer.len())
            && buffers.taken > 0
        {
            buffers.taken -= 1;
            buffers.free.push(buffer);
        }
    }
}
