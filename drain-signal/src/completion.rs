//! Who waits for a drain to become empty.

use std::task::Waker;

use crate::sync::{Mutex, lock};

/// The tasks that want to look again whenever a shard runs empty during a drain.
#[derive(Debug, Default)]
pub(crate) struct Completion {
    waiting: Mutex<Waiting>,
}

/// There is one as a rule, and it needs no allocation.
#[derive(Debug, Default)]
struct Waiting {
    first: Option<Waker>,
    others: Vec<Waker>,
}

impl Completion {
    /// Registers `waker` for the next [`wake`](Self::wake). Register first, look afterwards.
    pub(crate) fn register(&self, waker: &Waker) {
        let waker = waker.clone();
        let mut waiting = lock(&self.waiting);
        let known = waiting
            .first
            .iter()
            .chain(&waiting.others)
            .any(|known| known.will_wake(&waker));
        if known {
            drop(waiting);
            drop(waker);
        } else if waiting.first.is_none() {
            waiting.first = Some(waker);
        } else {
            waiting.others.push(waker);
        }
    }

    pub(crate) fn wake(&self) {
        let mut waiting = lock(&self.waiting);
        let first = waiting.first.take();
        let others = std::mem::take(&mut waiting.others);
        drop(waiting);
        first.into_iter().chain(others).for_each(Waker::wake);
    }

    pub(crate) fn clear(&self) {
        let mut waiting = lock(&self.waiting);
        let left = std::mem::take(&mut *waiting);
        drop(waiting);
        drop(left);
    }
}
