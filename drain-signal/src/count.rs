//! Who holds a shard, in one word: open watchers, other handles, and whether the drain has begun.

use crate::sync::{AtomicU64, Ordering};

/// ```text
///  63          32 31         2     1          0
/// ┌──────────────┬────────────┬──────────┬─────────┐
/// │   watchers   │   holds    │ completed│ draining│
/// └──────────────┴────────────┴──────────┴─────────┘
/// ```
///
/// Open a watcher, and one addition both counts it and says whether a drain is on; close it, and one subtraction both
/// counts it out and says whether it was the last. All changes are read-modify-writes of this one word, so whoever
/// begins or completes a drain and whoever comes or goes are in one order: one of the two sees the other.
///
/// Holds are the node itself and handles that are not counted as watchers. Who brings both to zero is the last to know
/// the shard.
#[derive(Debug)]
pub(crate) struct Count(AtomicU64);

const DRAINING: u64 = 1;
const COMPLETED: u64 = 2;
const HOLD: u64 = 1 << 2;
const WATCHER: u64 = 1 << 32;

/// A count as it was before a change.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Before(u64);

impl Before {
    #[inline]
    pub(crate) const fn is_idle(self) -> bool {
        self.0 & (DRAINING | COMPLETED) == 0
    }

    pub(crate) const fn is_completed(self) -> bool {
        self.0 & COMPLETED != 0
    }

    #[inline]
    pub(crate) const fn was_last_watcher(self) -> bool {
        self.0 >> 32 == 1
    }

    pub(crate) const fn watchers(self) -> usize {
        (self.0 >> 32) as usize
    }

    /// The watcher that left was the last to know the shard.
    pub(crate) const fn left_it_alone(self) -> bool {
        self.0 & !(DRAINING | COMPLETED) == WATCHER
    }

    /// The hold that was given up was the last.
    const fn released_it(self) -> bool {
        self.0 & !(DRAINING | COMPLETED) == HOLD
    }
}

impl Count {
    /// Nobody but the node.
    pub(crate) fn held() -> Self {
        Self(AtomicU64::new(HOLD))
    }

    /// As new. Only while nobody knows the shard.
    pub(crate) fn reset(&self) {
        self.0.store(HOLD, Ordering::Release);
    }

    #[inline]
    pub(crate) fn enter(&self) -> Before {
        Before(self.0.fetch_add(WATCHER, Ordering::AcqRel))
    }

    #[inline]
    pub(crate) fn leave(&self) -> Before {
        Before(self.0.fetch_sub(WATCHER, Ordering::AcqRel))
    }

    pub(crate) fn hold(&self) -> Before {
        Before(self.0.fetch_add(HOLD, Ordering::AcqRel))
    }

    /// Whether this was the last hold, and no watcher is left either.
    pub(crate) fn release(&self) -> bool {
        Before(self.0.fetch_sub(HOLD, Ordering::AcqRel)).released_it()
    }

    pub(crate) fn watchers(&self) -> usize {
        Before(self.0.load(Ordering::Acquire)).watchers()
    }

    pub(crate) fn begin(&self) {
        self.0.fetch_or(DRAINING, Ordering::AcqRel);
    }

    /// Refuses watchers from now on.
    pub(crate) fn close(&self) -> Before {
        Before(self.0.fetch_or(COMPLETED, Ordering::AcqRel))
    }

    pub(crate) fn reopen(&self) {
        self.0.fetch_and(!COMPLETED, Ordering::AcqRel);
    }
}
