//! What the threads of one shard share of a drain: counts, records and parked waits.

use std::sync::Arc;
use std::task::Waker;

use drain_sync::{AtomicU64, AtomicUsize, CachePadded, Mutex, MutexGuard, Ordering, Table, lock};

use super::count::Count;
use super::entries::{Entries, NO_ENTRY, Walked};
use super::records::Record;
use super::state::State;
use super::word::Word;
use crate::{DrainState, DrainedBy, Phase};

pub(crate) struct Shard {
    pub(crate) state: Arc<State>,
    /// Read by any thread, claimed and freed with the entries locked.
    pub(crate) records: Table<Record>,
    /// The vtable of the first waker that parked here; most programs have no other.
    vtable: AtomicUsize,
    /// The last word at which every wait that was over had been taken.
    walked: AtomicU64,
    entries: Mutex<Entries>,
    /// Written by every connection that comes or goes: on cache lines of their own.
    counts: CachePadded<[Count; 2]>,
}

impl Shard {
    /// With `published` locked, so that no publication falls between the look at `word` and the
    /// shard's becoming visible.
    pub(crate) fn new(state: &Arc<State>, word: Word, first_turn: u64) -> Self {
        let count = |by| {
            let draining = word.concerns(by);
            let closed = draining && word.state() == DrainState::Completed;
            Count::new(first_turn, draining, closed)
        };
        Self {
            state: Arc::clone(state),
            records: Table::new(),
            vtable: AtomicUsize::new(0),
            walked: AtomicU64::new(0),
            entries: Mutex::new(Entries::default()),
            counts: CachePadded::new([count(DrainedBy::Any), count(DrainedBy::Full)]),
        }
    }

    /// The count of the watches that are drained by `by`.
    #[inline]
    pub(crate) fn count(&self, by: DrainedBy) -> &Count {
        &self.counts[by as usize]
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, Entries> {
        lock(&self.entries)
    }

    /// Takes as many of the waits that are over as there is room for. Whether there is more room.
    /// The word is read with the lock held (invariant 6).
    pub(crate) fn take_due(&self, walked: &mut Walked) -> bool {
        let mut entries = self.lock();
        let word = self.state.word();
        if entries.take_due(word, self.state.clock(), walked) {
            // Release pairs with the Acquire in `is_walked`.
            self.walked.store(word.0, Ordering::Release);
        }
        walked.has_room()
    }

    /// Whether every wait that is over at `word` has been taken.
    ///
    /// Acquire pairs with the Release in `take_due`: a driver that finds another driver's walk done
    /// also finds the entries as that walk has left them. Without it the driver could report the
    /// drain as idle and count a waker as waiting that has been taken.
    pub(crate) fn is_walked(&self, word: Word) -> bool {
        self.walked.load(Ordering::Acquire) == word.0
    }

    /// Whether `waker` has the vtable that this shard knows; the first that asks makes it known.
    /// Relaxed: with the entries locked.
    pub(super) fn knows(&self, waker: &Waker) -> bool {
        if self.vtable.load(Ordering::Relaxed) == 0 {
            self.vtable.store(vtable(waker), Ordering::Relaxed);
        }
        self.is_known(waker)
    }

    /// Relaxed: set once, with the entries locked, before the wait that asks parked under the same
    /// lock. A wait that has not parked here is refused by its own `Parked` whatever this loads.
    #[inline]
    fn is_known(&self, waker: &Waker) -> bool {
        self.vtable.load(Ordering::Relaxed) == vtable(waker)
    }
}

fn vtable(waker: &Waker) -> usize {
    std::ptr::from_ref(waker.vtable()).addr()
}

/// A wait's claim to an entry, kept beside the wait so that a poll by the same task takes no lock:
/// 16 bytes.
#[derive(Debug)]
pub(crate) struct Parked {
    /// The data of the parked waker, of the clone that is in the entry.
    pub(super) data: usize,
    pub(super) entry: u32,
    /// The phase that the wait waits to pass.
    pub(super) after: Phase,
    /// Whether the shard knows the waker's vtable.
    pub(super) is_known: bool,
}

impl Parked {
    pub(crate) const NOWHERE: Self = Self {
        data: 0,
        entry: NO_ENTRY,
        after: Phase::Open,
        is_known: false,
    };

    /// Whether the wait is parked with this very waker until it passes `after`; of a wait that is
    /// not over (invariant 5).
    #[inline]
    pub(crate) fn is_parked(&self, shard: &Shard, waker: &Waker, after: Phase) -> bool {
        self.is_known
            && self.after == after
            && self.data == waker.data().addr()
            && shard.is_known(waker)
    }
}
