//! Who holds a shard: open watchers, other handles, whether the drain has begun, and whose turn it is.

use crate::schedule::Place;
use crate::sync::{self, AtomicU64, Ordering, barrier, fence};

/// Three words. Everybody changes `shared`, by read-modify-writes that are in one order; the thread that owns the shard alone
/// changes `opened` and `closed`, by plain stores:
///
/// ```text
///  63      54 53          26 25         2     1          0
/// ┌──────────┬──────────────┬────────────┬──────────┬─────────┐
/// │   turn   │   watchers   │   holds    │ completed│ draining│  shared
/// ├──────────┴──────────────┴────────────┴──────────┴─────────┤
/// │              watchers opened by the owner                 │  opened
/// ├───────────────────────────────────────────────────────────┤
/// │              watchers closed by the owner                 │  closed
/// └───────────────────────────────────────────────────────────┘
/// ```
///
/// The open watchers are `watchers + opened - closed`, modulo 2^28: whoever does not own the shard adds and subtracts in `shared`.
///
/// Whoever opens or closes one looks at `shared` in the same step or after it. If a drain is on it goes on by a
/// read-modify-write of `shared`: opened, it is either before `completed`, and counted, or after it, and refused; closed, it tells
/// whoever waits if it was the last. A drain sets `draining`, has a [`barrier`] on all threads, and then adds up: an
/// owner that stored before the barrier is counted, one that stored after it sees `draining`. Without such barriers no thread
/// owns a shard and all go by `shared`.
///
/// The turn counts the watchers opened by `shared` and runs over at the top, where nothing is disturbed; `opened` counts
/// the owner's turns. A place in the queue follows from either. There is room for 2^28 watchers and 2^24 other handles a
/// shard, twice what its slab can park.
///
/// Holds are the node itself and handles that are not counted as watchers. When they and the watchers have come to zero nobody
/// knows the shard.
#[derive(Debug)]
pub(crate) struct Count {
    shared: AtomicU64,
    opened: AtomicU64,
    closed: AtomicU64,
    /// The number of the shard, by which its owner knows it.
    number: usize,
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

/// The shared word at a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found(u64);

impl Found {
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
    /// Nobody but the node. Each shard begins elsewhere in the queue, at `turn`.
    pub(crate) fn held(number: usize, turn: u64) -> Self {
        Self {
            shared: AtomicU64::new(none_of(turn) | turn << TURN_SHIFT),
            opened: AtomicU64::new(turn),
            closed: AtomicU64::new(0),
            number,
        }
    }

    /// As new, but that the turns go on. Only while nobody knows the shard.
    pub(crate) fn reset(&self) {
        let turn = self.shared.load(Ordering::Relaxed) & !(TURN - 1);
        let closed = self.closed.load(Ordering::Relaxed);
        let left = self.opened.load(Ordering::Relaxed).wrapping_sub(closed);
        // Whoever left last may take a turn in this moment; a swap is in one order with it.
        self.shared.swap(none_of(left) | turn, Ordering::AcqRel);
    }

    /// Whether the calling thread owns the shard.
    #[inline]
    fn is_mine(&self) -> bool {
        sync::my_own_shard() == self.number
    }

    /// A watcher of the thread that owns the shard, and of no other.
    #[inline]
    pub(crate) fn enter_mine(&self) -> (Place, Found) {
        let turn = self.opened.load(Ordering::Relaxed);
        self.opened.store(turn.wrapping_add(1), Ordering::Relaxed);
        barrier::light();
        let found = Found(self.shared.load(Ordering::Relaxed));
        let place = Place::new(place_of(turn));
        if found.is_idle() {
            (place, found)
        } else {
            (place, self.settle())
        }
    }

    /// Takes a turn, to be in one order with whoever completes the drain, and with those who come and go elsewhere.
    #[cold]
    #[inline(never)]
    fn settle(&self) -> Found {
        Found(self.shared.fetch_add(TURN, Ordering::AcqRel))
    }

    /// A watcher of any thread.
    pub(crate) fn enter(&self) -> (Place, Found) {
        let found = Found(self.shared.fetch_add(TURN + WATCHER, Ordering::AcqRel));
        (found.place(), found)
    }

    /// A watcher is gone. What was found, if anybody may ask whether it was the last.
    #[inline]
    pub(crate) fn leave(&self) -> Option<Found> {
        if !self.is_mine() {
            return self.leave_from_elsewhere();
        }
        let closed = self.closed.load(Ordering::Relaxed).wrapping_add(1);
        self.closed.store(closed, Ordering::Release);
        barrier::light();
        let found = Found(self.shared.load(Ordering::Relaxed));
        (!found.nobody_asks()).then(|| self.settle())
    }

    #[inline(never)]
    fn leave_from_elsewhere(&self) -> Option<Found> {
        let before = Found(self.shared.fetch_sub(WATCHER, Ordering::AcqRel));
        if before.nobody_asks() {
            return None;
        }
        // The owner may have closed one a moment ago without having seen the drain. Either that is seen from here on, or
        // whoever waits, and has his barrier, finds both gone.
        fence(Ordering::SeqCst);
        Some(Found(before.0.wrapping_sub(WATCHER)))
    }

    /// A watcher that is counted elsewhere: a hold, with a turn.
    pub(crate) fn hold_in_turn(&self) -> (Place, Found) {
        let found = Found(self.shared.fetch_add(TURN + HOLD, Ordering::AcqRel));
        (found.place(), found)
    }

    pub(crate) fn hold(&self) {
        self.shared.fetch_add(HOLD, Ordering::AcqRel);
    }

    /// Gives up a hold. What is left.
    pub(crate) fn release(&self) -> Found {
        let before = self.shared.fetch_sub(HOLD, Ordering::AcqRel);
        Found(before.wrapping_sub(HOLD))
    }

    /// Whether nobody is left, for whoever has just left: never no if that is so and nobody else leaves.
    pub(crate) fn was_last(&self, found: Found) -> bool {
        self.sum(self.closed.load(Ordering::Acquire), found) == 0
    }

    fn sum(&self, closed: u64, shared: Found) -> usize {
        let opened = self.opened.load(Ordering::Acquire);
        let own = opened.wrapping_sub(closed) << WATCHER_SHIFT;
        ((shared.0.wrapping_add(own) & WATCHERS) >> WATCHER_SHIFT) as usize
    }

    /// The open watchers and the shared word. What was closed is read before what was opened, so there are never too few.
    fn look(&self, shared: impl FnOnce() -> u64) -> (usize, Found) {
        let closed = self.closed.load(Ordering::Acquire);
        let found = Found(shared());
        (self.sum(closed, found), found)
    }

    pub(crate) fn watchers(&self) -> usize {
        self.look(|| self.shared.load(Ordering::Acquire)).0
    }

    /// Whether nobody knows the shard.
    pub(crate) fn is_deserted(&self) -> bool {
        let (watchers, found) = self.look(|| self.shared.load(Ordering::Acquire));
        watchers == 0 && found.is_left_alone()
    }

    pub(crate) fn begin(&self) {
        self.shared.fetch_or(DRAINING, Ordering::AcqRel);
    }

    /// Refuses watchers from now on. Whether there were none.
    pub(crate) fn close(&self) -> bool {
        self.look(|| self.shared.fetch_or(COMPLETED, Ordering::AcqRel)).0 == 0
    }

    pub(crate) fn reopen(&self) {
        self.shared.fetch_and(!COMPLETED, Ordering::AcqRel);
    }
}

/// The shared word of a shard that the node alone knows, of whose own `left` watchers none is left.
const fn none_of(left: u64) -> u64 {
    HOLD | (left.wrapping_neg() << WATCHER_SHIFT & WATCHERS)
}
