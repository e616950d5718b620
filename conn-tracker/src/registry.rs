//! What all handles share: the shards, the ledgers, the clock, and who is told when little is left.
//!
//! Locks, in order: the ledger table, then one shard at a time; a gate's lock is taken with no other held.
//! Nothing of the caller's (wakers, closers) runs under any of them.
//!
//! Books are never freed but used again by the next tracker with as many shards, so that handles and guards keep them by
//! a plain reference.

use crate::{
    books::Watchers,
    clock::CoarseClock,
    counts::{Cell, ConnCounts},
    gate::Gate,
    labels::LabelSet,
    ledger::{Key, Ledger, Table},
    shard::{MaybeFew, Shard},
    sync::{self, AtomicUsize, Mutex},
};
use std::{
    fmt,
    sync::{Arc as StdArc, atomic::Ordering},
};

pub(crate) struct Registry {
    pub(crate) shards: Box<[Shard]>,
    pub(crate) clock: CoarseClock,
    table: Mutex<Table>,
    gate: Gate,
    /// Public handles (not guards). With the last one the books are abandoned.
    pub(crate) handles: AtomicUsize,
    /// Those who may still reach the books: the handles as one, and each shard in which a connection is open.
    holders: AtomicUsize,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("shards", &self.shards.len())
            .finish_non_exhaustive()
    }
}

impl Registry {
    fn new(shards: usize) -> Self {
        debug_assert!(shards.is_power_of_two());
        Self {
            shards: (0..shards).map(Shard::new).collect(),
            clock: CoarseClock::default(),
            table: Mutex::new(Table::default()),
            gate: Gate::new(),
            handles: AtomicUsize::new(0),
            holders: AtomicUsize::new(0),
        }
    }

    // === claimed by a tracker, and given back ===

    /// Books for a new tracker, with one handle: some that nobody uses, or new ones.
    pub(crate) fn claim(shards: usize, excluded: LabelSet) -> &'static Self {
        let unused = sync::unused_books(|unused| {
            let at = unused.iter().position(|books| books.shards.len() == shards)?;
            Some(unused.swap_remove(at))
        });
        let registry = unused.unwrap_or_else(|| Box::leak(Box::new(Self::new(shards))));
        registry.clock.reset();
        *registry.table.lock() = Table::default();
        for shard in &registry.shards {
            shard.reset(excluded);
        }
        registry.holders.store(shards + 1, Ordering::Relaxed);
        registry.handles.store(1, Ordering::Relaxed);
        registry
    }

    /// The last handle is gone: nothing is opened any more, and the last connection gives the books back.
    pub(crate) fn abandon(&'static self) {
        for shard in &self.shards {
            if shard.abandon() {
                self.give_back();
            }
        }
        self.give_back();
    }

    /// One holder less; after the last the books are for the next tracker.
    #[cold]
    pub(crate) fn give_back(&'static self) {
        // AcqRel: the last one sees all that the others did, and hands it on with the list's lock.
        if self.holders.fetch_sub(1, Ordering::AcqRel) == 1 {
            sync::unused_books(|unused| unused.push(self));
        }
    }

    /// The shard of the calling thread.
    #[inline]
    pub(crate) fn my_shard(&'static self) -> &'static Shard {
        &self.shards[sync::thread_index() & (self.shards.len() - 1)]
    }

    pub(crate) fn counts(&self) -> ConnCounts {
        ConnCounts::sum(self.shards.iter().map(|shard| &shard.counts))
    }

    // === ledgers come and go ===

    /// Finds or makes the ledger of `key` and takes a handle on it.
    pub(crate) fn ledger(&self, key: Key) -> StdArc<Ledger> {
        let mut table = self.table.lock();
        if let Some(entry) = table.find(&key) {
            entry.ledger.handles.fetch_add(1, Ordering::Relaxed);
            let ledger = StdArc::clone(&entry.ledger);
            if std::mem::take(&mut entry.retired) {
                self.unwatch(Some(&ledger));
            }
            return ledger;
        }
        let ledger = table.add(key, self.shards.len());
        for shard in &self.shards {
            shard.lock().add_ledger(StdArc::clone(&ledger));
        }
        ledger
    }

    /// Gives a handle back. A ledger without handles is removed with its last connection.
    pub(crate) fn let_go(&self, ledger: &StdArc<Ledger>) {
        // Release: pairs with the Acquire in `is_unheld`, so that what other handles did is seen by who removes.
        if ledger.handles.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        let mut table = self.table.lock();
        match table.entry_of(ledger) {
            Some(entry) if is_unheld(ledger) && !entry.retired => entry.retired = true,
            _ => return,
        }
        // From here on a closing connection tells us when its shard runs empty.
        self.watch(Some(ledger), 0);
        self.remove_if_gone(&mut table, ledger);
    }

    fn remove_if_gone(&self, table: &mut Table, ledger: &StdArc<Ledger>) {
        match table.entry_of(ledger) {
            Some(entry) if entry.retired => {}
            _ => return,
        }
        // One pass is exact: without a handle nothing is opened, so each share only falls.
        if self
            .shards
            .iter()
            .any(|shard| shard.read(Some(ledger), Cell::open) > 0)
        {
            return;
        }
        for shard in &self.shards {
            shard.lock().remove_ledger(ledger.index);
        }
        table.remove(ledger);
    }

    pub(crate) fn ledgers(&self) -> Vec<StdArc<Ledger>> {
        self.table.lock().ledgers().cloned().collect()
    }

    // === few are left ===

    pub(crate) fn gate<'a>(&'a self, ledger: Option<&'a StdArc<Ledger>>) -> &'a Gate {
        ledger.map_or(&self.gate, |ledger| &ledger.gate)
    }

    /// Asks every shard to tell us when no more than `few` are held open in its share.
    pub(crate) fn watch(&self, ledger: Option<&StdArc<Ledger>>, few: u64) {
        self.watchers(ledger, |watchers| watchers.join(few));
    }

    pub(crate) fn unwatch(&self, ledger: Option<&StdArc<Ledger>>) {
        self.watchers(ledger, Watchers::leave);
    }

    fn watchers(&self, ledger: Option<&StdArc<Ledger>>, change: impl Fn(&mut Watchers)) {
        for shard in &self.shards {
            if let Some(watchers) = shard.lock().watchers(ledger) {
                change(watchers);
            }
        }
    }

    /// How many were held open at most, at a moment during this call.
    ///
    /// Shards are read one after the other, so their counts are from different moments. Both passes read counts
    /// that only grow: all that had come at a moment between the passes is at most what the second pass read, all that
    /// had gone at least what the first pass read, so no more than the difference were open.
    ///
    /// No close is missed: it is before our lock of its shard, and counted; or after it, and then it sees the
    /// watcher (set under the same lock, before) and looks for itself.
    pub(crate) fn at_most(&self, ledger: Option<&StdArc<Ledger>>) -> u64 {
        let went = self.sum(|shard| shard.read(ledger, Cell::went));
        let came = self.sum(|shard| shard.read(ledger, Cell::came));
        came.wrapping_sub(went)
    }

    fn sum(&self, of: impl Fn(&Shard) -> u64) -> u64 {
        self.shards.iter().map(of).sum()
    }

    /// Called outside all locks, after a shard saw one of its watched shares run low.
    #[cold]
    pub(crate) fn look(&self, maybe: MaybeFew) {
        if maybe.total {
            self.let_through(None);
        }
        for ledger in maybe.ledgers.into_iter().flatten() {
            self.look_at(&ledger);
        }
    }

    #[cold]
    fn look_at(&self, ledger: &StdArc<Ledger>) {
        self.let_through(Some(ledger));
        if is_unheld(ledger) {
            self.remove_if_gone(&mut self.table.lock(), ledger);
        }
    }

    #[cold]
    fn let_through(&self, ledger: Option<&StdArc<Ledger>>) {
        let gate = self.gate(ledger);
        let line = gate.line();
        gate.let_through(line, self.at_most(ledger));
    }
}

fn is_unheld(ledger: &Ledger) -> bool {
    ledger.handles.load(Ordering::Acquire) == 0
}
