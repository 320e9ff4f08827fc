//! Work that is shared among threads: natively rayon's, of the pool that an evaluation runs in. Elsewhere there is one.
//!
//! No sum is over numbers of two tasks, so that results are the same for any number of threads.

#[cfg(all(feature = "burn", not(target_arch = "wasm32")))]
pub(crate) use native::items;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use native::{chunks, each, enter};
#[cfg(not(target_arch = "wasm32"))]
pub(super) use native::{count, scratch};
#[cfg(all(feature = "burn", target_arch = "wasm32"))]
pub(crate) use single::items;
#[cfg(target_arch = "wasm32")]
pub(crate) use single::{chunks, each, enter};

/// Rows of an image of this height that make a task: all of them where there is one thread.
pub(super) fn rows(height: usize) -> usize {
    if cfg!(target_arch = "wasm32") {
        height
    } else {
        [8, 4, 2].into_iter().find(|rows| height.is_multiple_of(*rows)).unwrap_or(1)
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use std::cell::RefCell;

    use rayon::prelude::*;

    /// Threads of the pool.
    pub(in crate::engine) fn count() -> usize {
        rayon::current_num_threads()
    }

    /// Runs `task` on a thread of the pool, so that what it shares is begun without waiting for one to wake.
    pub(crate) fn enter(task: impl FnOnce() + Send) {
        if count() < 2 { task() } else { rayon::scope(|_| task()) }
    }

    /// Calls `task` with each number below `count`.
    pub(crate) fn each(count: usize, task: &(dyn Fn(usize) + Sync)) {
        if count < 2 || self::count() < 2 {
            (0..count).for_each(task);
        } else {
            (0..count).into_par_iter().for_each(task);
        }
    }

    /// Calls `task` with each `len` floats of `values` and how many such there are before them.
    pub(crate) fn chunks(values: &mut [f32], len: usize, task: &(dyn Fn(usize, &mut [f32]) + Sync)) {
        if values.len() <= len || count() < 2 {
            values.chunks_mut(len).enumerate().for_each(|(i, chunk)| task(i, chunk));
        } else {
            values.par_chunks_mut(len).enumerate().for_each(|(i, chunk)| task(i, chunk));
        }
    }

    /// Calls `task` with each of `items`.
    #[cfg(feature = "burn")]
    pub(crate) fn items<T: Send>(items: Vec<T>, task: impl Fn(T) + Sync + Send) {
        if items.len() < 2 || count() < 2 {
            items.into_iter().for_each(task);
        } else {
            items.into_par_iter().for_each(task);
        }
    }

    thread_local! {
        static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    }

    /// Calls `task` with `len` floats that are this thread's, whatever they hold.
    pub(in crate::engine) fn scratch(len: usize, task: impl FnOnce(&mut [f32])) {
        SCRATCH.with_borrow_mut(|floats| {
            if floats.len() < len {
                floats.resize(len, 0.0);
            }
            task(&mut floats[..len]);
        });
    }
}

#[cfg(target_arch = "wasm32")]
mod single {
    /// Runs `task`.
    pub(crate) fn enter(task: impl FnOnce()) {
        task();
    }

    /// Calls `task` with each number below `count`.
    pub(crate) fn each(count: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..count).for_each(task);
    }

    /// Calls `task` with each `len` floats of `values` and how many such there are before them.
    pub(crate) fn chunks(values: &mut [f32], len: usize, task: &(dyn Fn(usize, &mut [f32]) + Sync)) {
        values.chunks_mut(len).enumerate().for_each(|(i, chunk)| task(i, chunk));
    }

    /// Calls `task` with each of `items`.
    #[cfg(feature = "burn")]
    pub(crate) fn items<T>(items: Vec<T>, task: impl Fn(T)) {
        items.into_iter().for_each(task);
    }
}
