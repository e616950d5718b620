//! Who holds a shard: open watchers, other handles, whether the drain has begun, and whose turn it is.

use crate::schedule::Place;
use crate::sync::{AtomicU64, Ordering, barrier};

/// Two words. Everybody changes `shared`, by read-modify-writes that are in one order; the thread that owns the shard alone
/// changes `opened`, by plain stores:
///
/// ```text
///  63      54 53          26 25         2     1          0
/// ┌──────────┬──────────────┬────────────┬──────────┬─────────┐
/// │   turn   │   watchers   │   holds    │ completed│ draining│  shared
/// ├──────────┴──────────────┴────────────┴──────────┴─────────┤
/// │                  watchers ever opened                     │  opened
/// └───────────────────────────────────────────────────────────┘
/// ```
///
/// The open watchers are the sum of both, modulo 2^28: what the owner opens is added to `opened`, what another thread opens to
/// `shared`, and whoever closes one subtracts it from `shared`. That subtraction also says whether a drain is on; if one is,
/// or nobody but watchers knows the shard, the sum tells whether this was the last.
///
/// A drain sets `draining`, has a [barrier](barrier) on all threads, and then adds up. An owner that stored before the
/// barrier is counted; one that stored after it sees `draining`, and goes on by a read-modify-write of `shared`, which is
/// either before `completed`, and counted, or after it, and refused. Without such barriers no thread owns a shard and all
/// open by `shared`.
///
/// The turn counts the watchers opened by `shared` and runs over at the top, where nothing is disturbed; `opened` counts
/// the owner's turns. A place in the queue follows from either. There is room for 2^28 watchers and 2^24 other handles a
/// shard, twice what its slab can park.
///
/// Holds are the node itself and handles that are not counted as watchers. Who brings both to zero is the last to know the
/// shard: `opened` does not move any more when the node is gone.
#[derive(Debug)]
pub(crate) struct Count {
    shared: AtomicU64,
    opened: AtomicU64,
}

const DRAINING: u64 = 1;
const COMPLETED: u64 = 2;
const HOLD: u64 = 1 << 2;
const HOLDS: u64 = WATCHER - HOLD;
const WATCHER: u64 = 1 << WATCHER_SHIFT;
const WATCHER_SHIFT: u32 = 26;
const WATCHERS: u64 = TURN - WATCHER;
const TURN: u64 = 1 << TURN_SHIFT;
const TURN_SHIFT: u32 = 54;

/// The shared word as it was before a change.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Before(u64);

impl Before {
    /// Nothing has begun.
    pub(crate) const IDLE: Self = Self(0);

    #[inline]
    pub(crate) const fn is_idle(self) -> bool {
        self.0 & (DRAINING | COMPLETED) == 0
    }

    pub(crate) const fn is_completed(self) -> bool {
        self.0 & COMPLETED != 0
    }

    /// Nobody asks whether a watcher that left was the last: no drain is on, and the shard is known to others.
    #[inline]
    pub(crate) const fn nobody_asks(self) -> bool {
        self.is_idle() && self.0 & HOLDS != 0
    }

    /// Nobody but watchers knows the shard.
    pub(crate) const fn is_left_alone(self) -> bool {
        self.0 & HOLDS == 0
    }

    /// The place of the watcher that came: the golden-ratio sequence, which fills any window evenly at every length.
    const fn place(self) -> Place {
        let place = place_of(self.0 >> TURN_SHIFT);
        // There are 1024 turns, 64 places apart; how many watchers there are tells those of one turn apart.
        Place::new(place ^ (self.0 >> WATCHER_SHIFT & 0x3f) as u16)
    }
}

/// The golden-ratio sequence.
#[inline]
const fn place_of(turn: u64) -> u16 {
    (turn.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48) as u16
}

impl Count {
    /// Nobody but the node; the first turn is `turn`.
    pub(crate) fn held(turn: u64) -> Self {
        Self {
            shared: AtomicU64::new(none_of(turn) | turn << TURN_SHIFT),
            opened: AtomicU64::new(turn),
        }
    }

    /// As new, but that the turns go on. Only while nobody knows the shard.
    pub(crate) fn reset(&self) {
        let turn = self.shared.load(Ordering::Relaxed) & !(TURN - 1);
        let opened = self.opened.load(Ordering::Relaxed);
        self.shared.store(none_of(opened) | turn, Ordering::Release);
    }

    /// A watcher of the thread that owns the shard, and nobody else.
    #[inline]
    pub(crate) fn enter_mine(&self) -> (Place, Before) {
        let turn = self.opened.load(Ordering::Relaxed);
        self.opened.store(turn.wrapping_add(1), Ordering::Relaxed);
        barrier::light();
        let before = Before(self.shared.load(Ordering::Relaxed));
        let place = Place::new(place_of(turn));
        if before.is_idle() {
            (place, Before::IDLE)
        } else {
            (place, self.settle())
        }
    }

    /// Takes a turn, to be in one order with whoever completes the drain.
    #[cold]
    #[inline(never)]
    fn settle(&self) -> Before {
        Before(self.shared.fetch_add(TURN, Ordering::AcqRel))
    }

    /// A watcher of any thread.
    pub(crate) fn enter(&self) -> (Place, Before) {
        let before = Before(self.shared.fetch_add(TURN + WATCHER, Ordering::AcqRel));
        (before.place(), before)
    }

    #[inline]
    pub(crate) fn leave(&self) -> Before {
        Before(self.shared.fetch_sub(WATCHER, Ordering::AcqRel))
    }

    /// Whether the watcher that left was the last.
    pub(crate) fn was_last(&self, before: Before) -> bool {
        self.sum(before) == 1
    }

    /// A watcher that is counted elsewhere: a hold, with a turn.
    pub(crate) fn hold_in_turn(&self) -> (Place, Before) {
        let before = Before(self.shared.fetch_add(TURN + HOLD, Ordering::AcqRel));
        (before.place(), before)
    }

    pub(crate) fn hold(&self) {
        self.shared.fetch_add(HOLD, Ordering::AcqRel);
    }

    /// Whether this was the last hold, and no watcher is left either.
    pub(crate) fn release(&self) -> bool {
        let before = Before(self.shared.fetch_sub(HOLD, Ordering::AcqRel));
        before.0 & HOLDS == HOLD && self.sum(before) == 0
    }

    /// The open watchers at `shared` or a little later: what was opened is read after what was closed, so they are never too
    /// few.
    fn sum(&self, shared: Before) -> usize {
        let opened = self.opened.load(Ordering::Acquire) << WATCHER_SHIFT;
        ((shared.0.wrapping_add(opened) & WATCHERS) >> WATCHER_SHIFT) as usize
    }

    pub(crate) fn watchers(&self) -> usize {
        self.sum(Before(self.shared.load(Ordering::Acquire)))
    }

    pub(crate) fn begin(&self) {
        self.shared.fetch_or(DRAINING, Ordering::AcqRel);
    }

    /// Refuses watchers from now on. Whether there were none.
    pub(crate) fn close(&self) -> bool {
        self.sum(Before(self.shared.fetch_or(COMPLETED, Ordering::AcqRel))) == 0
    }

    pub(crate) fn reopen(&self) {
        self.shared.fetch_and(!COMPLETED, Ordering::AcqRel);
    }
}

/// The shared word of a shard that the node alone knows, of whose `opened` none is left.
const fn none_of(opened: u64) -> u64 {
    HOLD | (opened.wrapping_neg() << WATCHER_SHIFT & WATCHERS)
}
