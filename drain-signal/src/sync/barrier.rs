//! A fence of which one side pays: a drain, which is rare, orders what all threads have stored, so that the thread that
//! opens a watcher needs no fence of its own.
//!
//! Light and heavy barriers together do what two sequentially consistent fences would: of a thread that stores, has a light
//! barrier and looks, and one that stores elsewhere, has a heavy barrier and looks, one at least sees the other.

use crate::sync::{AtomicU64, Ordering};

pub(crate) use crate::sync::{ask, light, pass};

/// Numbers heavy barriers, so that one serves all who asked for it before.
#[derive(Debug)]
pub(crate) struct Barriers {
    asked: AtomicU64,
    passed: AtomicU64,
}

/// What was stored before a barrier was asked for. Ordered when a later barrier has passed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked(u64);

impl Asked {
    /// Nothing was.
    pub(crate) const NONE: Self = Self(0);

    pub(crate) const fn of(number: u64) -> Self {
        Self(number)
    }

    pub(crate) const fn number(self) -> u64 {
        self.0
    }
}

impl Barriers {
    #[cfg_attr(
        not(any(loom, shuttle)),
        expect(
            clippy::missing_const_for_fn,
            reason = "the models' atomics are made at run time"
        )
    )]
    pub(crate) fn new() -> Self {
        Self {
            asked: AtomicU64::new(0),
            passed: AtomicU64::new(0),
        }
    }

    pub(crate) fn ask(&self) -> Asked {
        Asked(self.asked.fetch_add(1, Ordering::AcqRel))
    }

    /// Returns when a barrier has passed since it was asked for: at once, if another has seen to it.
    pub(crate) fn pass(&self, asked: Asked, heavy: impl FnOnce()) {
        if self.passed.load(Ordering::Acquire) > asked.0 {
            return;
        }
        // An addition, which reads what every `ask` before it has written: what they stored is stored before this barrier.
        let number = self.asked.fetch_add(1, Ordering::AcqRel);
        heavy();
        self.passed.fetch_max(number, Ordering::AcqRel);
    }
}
