//! Who waits for a node to become empty.

use std::task::Waker;

use crate::sync::{Mutex, lock};

/// The tasks that want to look again whenever a shard runs empty during a drain.
#[derive(Debug, Default)]
pub(crate) struct Completion {
    waiting: Mutex<Vec<Waker>>,
}

impl Completion {
    /// Registers `waker` for the next [`wake`](Self::wake). Register first, look afterwards.
    pub(crate) fn register(&self, waker: &Waker) {
        let mut waiting = lock(&self.waiting);
        if !waiting.iter().any(|known| known.will_wake(waker)) {
            waiting.push(waker.clone());
        }
    }

    pub(crate) fn wake(&self) {
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        for waker in waiting {
            waker.wake();
        }
    }
}
