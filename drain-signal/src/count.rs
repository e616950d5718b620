//! Who holds a shard, in one word: open watchers, other handles, whether the drain has begun, and whose turn it is.

use crate::schedule::Place;
use crate::sync::{AtomicU64, Ordering};

/// ```text
///  63      54 53          26 25         2     1          0
/// ┌──────────┬──────────────┬────────────┬──────────┬─────────┐
/// │   turn   │   watchers   │   holds    │ completed│ draining│
/// └──────────┴──────────────┴────────────┴──────────┴─────────┘
/// ```
///
/// Open a watcher, and one addition counts it, says whether a drain is on and gives it a turn, from which its place in the
/// queue follows; close it, and one subtraction both counts it out and says whether it was the last. The turn counts the
/// watchers ever opened and runs over at the top, where nothing is disturbed. There is room for 2^28 watchers and 2^24
/// other handles a shard, twice what its slab can park. All changes are read-modify-writes of this one word, so whoever
/// begins or completes a drain and whoever comes or goes are in one order: one of the two sees the other.
///
/// Holds are the node itself and handles that are not counted as watchers. Who brings both to zero is the last to know
/// the shard.
#[derive(Debug)]
pub(crate) struct Count(AtomicU64);

const DRAINING: u64 = 1;
const COMPLETED: u64 = 2;
const HOLD: u64 = 1 << 2;
const WATCHER: u64 = 1 << WATCHER_SHIFT;
const WATCHER_SHIFT: u32 = 26;
const WATCHERS: u64 = TURN - WATCHER;
const TURN: u64 = 1 << TURN_SHIFT;
const TURN_SHIFT: u32 = 54;

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
        self.0 & WATCHERS == WATCHER
    }

    pub(crate) const fn watchers(self) -> usize {
        ((self.0 & WATCHERS) >> WATCHER_SHIFT) as usize
    }

    /// The watcher that left was the last to know the shard.
    pub(crate) const fn left_it_alone(self) -> bool {
        self.0 & (TURN - HOLD) == WATCHER
    }

    /// The hold that was given up was the last.
    const fn released_it(self) -> bool {
        self.0 & (TURN - HOLD) == HOLD
    }

    /// The place of the watcher that came: the golden-ratio sequence, which fills any window evenly at every length.
    #[inline]
    pub(crate) const fn place(self) -> Place {
        let turn = self.0 >> TURN_SHIFT;
        let place = (turn.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48) as u16;
        // There are 1024 turns, 64 places apart; how many watchers there are tells those of one turn apart.
        Place::new(place ^ (self.0 >> WATCHER_SHIFT & 0x3f) as u16)
    }
}

impl Count {
    /// Nobody but the node; the first turn is `turn`.
    pub(crate) fn held(turn: u64) -> Self {
        Self(AtomicU64::new(HOLD | turn << TURN_SHIFT))
    }

    /// As new, but that the turns go on. Only while nobody knows the shard.
    pub(crate) fn reset(&self) {
        let turn = self.0.load(Ordering::Relaxed) & !(TURN - 1);
        self.0.store(HOLD | turn, Ordering::Release);
    }

    #[inline]
    pub(crate) fn enter(&self) -> Before {
        Before(self.0.fetch_add(TURN + WATCHER, Ordering::AcqRel))
    }

    #[inline]
    pub(crate) fn leave(&self) -> Before {
        Before(self.0.fetch_sub(WATCHER, Ordering::AcqRel))
    }

    /// A watcher that is counted elsewhere: a hold, with a turn.
    pub(crate) fn hold_in_turn(&self) -> Before {
        Before(self.0.fetch_add(TURN + HOLD, Ordering::AcqRel))
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
