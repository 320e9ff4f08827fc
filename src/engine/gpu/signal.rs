//! Callbacks of the graphics API as futures.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Poll, Waker};

/// Locks, even after a panic: nothing that is locked here is left half-changed by one.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Default)]
struct Waiting {
    fine: Option<bool>,
    waker: Option<Waker>,
}

/// All pending callbacks of one device. Some browsers never call back after the device is lost, so we fail them ourselves.
#[derive(Debug, Default)]
pub(super) struct Signals(Mutex<Vec<Weak<Mutex<Waiting>>>>);

pub(super) struct Sender(Arc<Mutex<Waiting>>);

#[derive(Debug)]
pub(super) struct Receiver(Arc<Mutex<Waiting>>);

impl Signals {
    /// A sender for one callback, and the receiver that waits for it.
    pub(super) fn signal(&self) -> (Sender, Receiver) {
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let mut all = lock(&self.0);
        all.retain(|other| other.strong_count() > 0);
        all.push(Arc::downgrade(&waiting));
        (Sender(Arc::clone(&waiting)), Receiver(waiting))
    }

    /// Fails everything that is pending.
    pub(super) fn fail(&self) {
        let all = std::mem::take(&mut *lock(&self.0));
        all.iter().filter_map(Weak::upgrade).for_each(|waiting| Sender(waiting).send(false));
    }
}

impl Sender {
    pub(super) fn send(self, fine: bool) {
        let mut waiting = lock(&self.0);
        waiting.fine.get_or_insert(fine);
        if let Some(waker) = waiting.waker.take() {
            drop(waiting);
            waker.wake();
        }
    }
}

impl Receiver {
    /// Whether the callback reported success. May be awaited again.
    pub(super) async fn wait(&self) -> bool {
        poll_fn(|context| {
            let mut waiting = lock(&self.0);
            if waiting.fine.is_none() {
                waiting.waker = Some(context.waker().clone());
            }
            waiting.fine.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}
