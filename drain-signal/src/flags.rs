//! What was said to one connection alone: "start now", "be gone now". Shared by all its handles.

use std::task::Waker;

use crate::sync::{AtomicU8, Mutex, Ordering, lock};

const TOLD: u8 = 1;
const FORCED: u8 = 2;

#[derive(Debug, Default)]
pub(crate) struct Flags {
    bits: AtomicU8,
    waiting: Mutex<Vec<Waker>>,
}

impl Flags {
    pub(crate) fn told(&self) -> bool {
        self.bits.load(Ordering::Acquire) & TOLD != 0
    }

    pub(crate) fn forced(&self) -> bool {
        self.bits.load(Ordering::Acquire) & FORCED != 0
    }

    /// Whether this call was the one that told it.
    pub(crate) fn tell(&self) -> bool {
        self.raise(TOLD)
    }

    /// Whether this call was the one that forced it.
    pub(crate) fn force(&self) -> bool {
        self.raise(FORCED)
    }

    fn raise(&self, bit: u8) -> bool {
        // Most callers come after the first: they only read.
        if self.bits.load(Ordering::Acquire) & bit != 0
            || self.bits.fetch_or(bit, Ordering::AcqRel) & bit != 0
        {
            return false;
        }
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        waiting.into_iter().for_each(Waker::wake);
        true
    }

    /// Registers for the next change. Register first, look afterwards.
    pub(crate) fn register(&self, waker: &Waker) {
        let mut waiting = lock(&self.waiting);
        if !waiting.iter().any(|known| known.will_wake(waker)) {
            waiting.push(waker.clone());
        }
    }
}
