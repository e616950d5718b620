//! How many watches of one shard are open, whether a drain is on, and whose turn in the queue is
//! next. Invariants 2 to 4.

use drain_sync::{AtomicU64, Ordering};

use crate::schedule::Place;

/// One word:
///
/// ```text
///  63       42 41          2     1          0
/// ┌───────────┬─────────────┬──────────┬──────────┐
/// │   turn    │   watches   │  closed  │ draining │
/// └───────────┴─────────────┴──────────┴──────────┘
/// ```
///
/// The turn counts the watches ever opened, and runs over at the top, where it disturbs nothing.
/// 2^40 open watches do not fit into any memory.
pub(crate) struct Count(AtomicU64);

const DRAINING: u64 = 1;
const CLOSED: u64 = 1 << 1;
const WATCH: u64 = 1 << 2;
const TURN: u64 = 1 << 42;
const WATCHES: u64 = TURN - WATCH;

/// The word that an operation found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found(u64);

impl Found {
    /// No drain is on.
    #[inline]
    pub(crate) const fn is_idle(self) -> bool {
        self.0 & (DRAINING | CLOSED) == 0
    }

    pub(crate) const fn is_closed(self) -> bool {
        self.0 & CLOSED != 0
    }

    const fn watches(self) -> usize {
        ((self.0 & WATCHES) / WATCH) as usize
    }

    /// The place in the queue of the watch that opened: the golden-ratio sequence, which fills any
    /// window evenly at every length.
    #[inline]
    pub(crate) const fn place(self) -> Place {
        Place::new(((self.0 / TURN).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48) as u16)
    }
}

impl Count {
    pub(crate) fn new(first_turn: u64, draining: bool, closed: bool) -> Self {
        let bits = (u64::from(draining) * DRAINING) | (u64::from(closed) * CLOSED);
        Self(AtomicU64::new(first_turn.wrapping_mul(TURN) | bits))
    }

    /// Counts a watch in.
    ///
    /// Relaxed, pairs with no load: what was found decides (invariant 2), and an opener that finds
    /// a drain takes the lock that its facts were published under. A stronger ordering would order
    /// the connection's later work after the count, which no thread asks for.
    #[inline]
    pub(crate) fn open(&self) -> Found {
        Found(self.0.fetch_add(TURN + WATCH, Ordering::Relaxed))
    }

    /// Counts in another watch of a connection that is counted already, and so cannot be refused.
    ///
    /// Relaxed: the watch that is cloned keeps the count above zero until its own `leave`, which
    /// comes after this in the order of this one word.
    pub(crate) fn open_another(&self) {
        self.0.fetch_add(WATCH, Ordering::Relaxed);
    }

    /// Counts a watch out. Whether it was the last, under a drain (invariant 4).
    ///
    /// Release pairs with the Acquire in `watches` and `close`: what the connection did is seen by
    /// the thread that sees it gone. Without it `drained()` could return before the connection's
    /// last writes.
    #[inline]
    pub(crate) fn leave(&self) -> bool {
        let before = Found(self.0.fetch_sub(WATCH, Ordering::Release));
        before.watches() == 1 && !before.is_idle()
    }

    /// How many are open.
    ///
    /// Acquire pairs with the Release in `leave`: a thread that reads zero sees all that the
    /// connections did. Without it `drained()` could resolve before their last writes are visible
    /// to its task.
    pub(crate) fn watches(&self) -> usize {
        Found(self.0.load(Ordering::Acquire)).watches()
    }

    /// A drain is on from now on.
    ///
    /// Relaxed: an opener that finds the bit takes `published`, which this is called under; a
    /// leaver that finds it takes the waiters' lock. Nothing is read by the bit alone.
    pub(crate) fn begin(&self) {
        self.0.fetch_or(DRAINING, Ordering::Relaxed);
    }

    /// Watches that open from now on wait for the decision (invariant 3). Whether none was open.
    ///
    /// Acquire pairs with the Release in `leave`, as in `watches`: the completion that rests on a
    /// zero comes after what the last connection did. Nothing is released: an opener that finds the
    /// bit takes `published`, which this is called under.
    pub(crate) fn close(&self) -> bool {
        Found(self.0.fetch_or(CLOSED, Ordering::Acquire)).watches() == 0
    }

    /// The decision was against it. Relaxed: as `begin`; an opener that found the bit waits for
    /// `published`.
    pub(crate) fn reopen(&self) {
        self.0.fetch_and(!CLOSED, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn the_turn_runs_over_without_a_trace() {
        let count = Count::new(u64::MAX, true, false);
        assert!(!count.open().is_idle());
        assert_eq!(count.watches(), 1);
        assert!(!count.open().is_closed());
        assert!(!count.leave() && count.leave());
    }

    #[test]
    fn a_closed_count_counts_on() {
        let count = Count::new(0, true, false);
        assert!(count.close());
        assert!(count.open().is_closed());
        count.reopen();
        assert_eq!(count.watches(), 1);
        assert!(!count.close());
    }
}
