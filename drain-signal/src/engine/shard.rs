//! What the threads of one shard share of a drain: counts, records and parked waits.

use std::sync::Arc;
use std::task::Waker;

use drain_sync::{AtomicU64, AtomicUsize, CachePadded, Mutex, MutexGuard, Ordering, lock};

use super::count::Count;
use super::entries::{Entries, Walked};
use super::records::Records;
use super::slot::Slot;
use super::state::State;
use super::word::Word;
use crate::{DrainedBy, Phase};

pub(crate) struct Shard {
    pub(crate) state: Arc<State>,
    pub(crate) records: Records,
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
            let (draining, closed) = (word.concerns(by), word.concerns(by) && word.is_completed());
            Count::new(first_turn, draining, closed)
        };
        Self {
            state: Arc::clone(state),
            records: Records::new(),
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

    /// How far the drain has brought a slot.
    #[inline]
    pub(crate) fn phase(&self, slot: Slot) -> Phase {
        let word = self.state.word();
        if word.is_idle() {
            Phase::Open
        } else {
            slot.phase(word, || self.state.clock())
        }
    }

    /// Takes up to `wakers.len()` of the waits that are over. The word is read with the lock held
    /// (invariant 6).
    pub(crate) fn take_due(&self, wakers: &mut [Option<Waker>]) -> Walked {
        let mut entries = self.lock();
        let word = self.state.word();
        let walked = entries.take_due(word, self.state.clock(), wakers);
        if walked.done {
            // Release pairs with the Acquire in `is_walked`.
            self.walked.store(word.bits(), Ordering::Release);
        }
        walked
    }

    /// Whether every wait that is over at `word` has been taken.
    ///
    /// Acquire pairs with the Release in `take_due`: a driver that finds another driver's walk done
    /// also finds the entries as that walk has left them. Without it the driver could report the
    /// drain as idle and count a waker as waiting that has been taken.
    pub(crate) fn is_walked(&self, word: Word) -> bool {
        self.walked.load(Ordering::Acquire) == word.bits()
    }

    /// Whether `waker` has the vtable that this shard knows; the first that asks makes it known.
    /// Relaxed: with the entries locked.
    fn knows(&self, waker: &Waker) -> bool {
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

/// A wait's claim to an entry, kept beside the wait so that a poll by the same task takes no lock.
#[derive(Debug)]
pub(crate) struct Parked {
    /// The data of the parked waker, of the clone that is in the entry.
    data: usize,
    /// Entry (27 bits), the phase to pass (3), whether the shard knows the waker's vtable (1).
    at: u32,
}

const NO_ENTRY: u32 = super::entries::NO_ENTRY;
const PHASE_SHIFT: u32 = 27;
const KNOWN: u32 = 1 << 30;

impl Parked {
    pub(crate) const NOWHERE: Self = Self {
        data: 0,
        at: NO_ENTRY,
    };

    /// For a waker that is about to be parked, with the entries locked.
    pub(crate) fn new(after: Phase, waker: &Waker, shard: &Shard) -> Self {
        let known = if shard.knows(waker) { KNOWN } else { 0 };
        Self {
            data: waker.data().addr(),
            at: NO_ENTRY | (after as u32) << PHASE_SHIFT | known,
        }
    }

    pub(crate) const fn at_entry(self, entry: u32) -> Self {
        Self {
            data: self.data,
            at: self.at & !NO_ENTRY | entry,
        }
    }

    pub(crate) const fn entry(&self) -> Option<u32> {
        match self.at & NO_ENTRY {
            NO_ENTRY => None,
            entry => Some(entry),
        }
    }

    /// Whether the wait is parked with this very waker until it passes `after`; of a wait that is
    /// not over (invariant 5).
    #[inline]
    pub(crate) fn is_parked(&self, shard: &Shard, waker: &Waker, after: Phase) -> bool {
        let at = self.at & !NO_ENTRY;
        self.at & NO_ENTRY != NO_ENTRY
            && at == (after as u32) << PHASE_SHIFT | KNOWN
            && self.data == waker.data().addr()
            && shard.is_known(waker)
    }
}
