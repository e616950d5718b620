//! What all handles share: the shards, the ledgers, the clock, and who is told when something empties.
//!
//! Locks, in order: the ledger table, then one shard at a time; a gate's lock is taken with no other held.
//! Nothing of the caller's (wakers, closers) runs under any of them.

use crate::{
    clock::CoarseClock,
    counts::ConnCounts,
    gate::Gate,
    labels::LabelSet,
    ledger::{Key, Ledger, Table},
    shard::{MaybeEmpty, Shard},
    sync::{Arc, AtomicUsize, Mutex},
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
    /// Public handles (not guards). With the last one the pages are let go of.
    handles: AtomicUsize,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("shards", &self.shards.len())
            .finish_non_exhaustive()
    }
}

impl Registry {
    pub(crate) fn new(shards: usize, excluded: LabelSet) -> Self {
        debug_assert!(shards.is_power_of_two());
        Self {
            shards: (0..shards).map(|index| Shard::new(index, excluded)).collect(),
            clock: CoarseClock::default(),
            table: Mutex::new(Table::default()),
            gate: Gate::new(),
            handles: AtomicUsize::new(1),
        }
    }

    /// The shard of the calling thread.
    #[inline]
    pub(crate) fn my_shard(&self) -> &Shard {
        &self.shards[crate::sync::thread_index() & (self.shards.len() - 1)]
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
                self.watch(Some(&ledger), false);
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
        self.watch(Some(ledger), true);
        self.remove_if_gone(&mut table, ledger);
    }

    fn remove_if_gone(&self, table: &mut Table, ledger: &StdArc<Ledger>) {
        match table.entry_of(ledger) {
            Some(entry) if entry.retired => {}
            _ => return,
        }
        // One pass is exact: without a handle nothing is opened, so each share only falls.
        if self.shards.iter().any(|shard| shard.lock().open_in(ledger) > 0) {
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

    // === emptiness ===

    pub(crate) fn gate<'a>(&'a self, ledger: Option<&'a StdArc<Ledger>>) -> &'a Gate {
        ledger.map_or(&self.gate, |ledger| &ledger.gate)
    }

    /// Asks every shard to tell us when its share runs empty, or takes that back.
    pub(crate) fn watch(&self, ledger: Option<&StdArc<Ledger>>, begin: bool) {
        for shard in &self.shards {
            if let Some(tide) = shard.lock().tide(ledger) {
                tide.watchers = if begin {
                    tide.watchers + 1
                } else {
                    tide.watchers - 1
                };
            }
        }
    }

    /// Whether there was a moment, during this call, at which nothing was held open.
    ///
    /// Shards are read one after the other, so their counts are from different moments. Both passes read counts
    /// that only grow: if all that had come at a moment between the passes is at most what the second pass read,
    /// all that had gone at least what the first pass read, and the two are equal, then everything that had come
    /// had gone.
    ///
    /// No close is missed: it is before our lock of its shard, and counted; or after it, and then it sees the
    /// watcher (set under the same lock, before) and looks for itself.
    pub(crate) fn was_empty(&self, ledger: Option<&StdArc<Ledger>>) -> bool {
        let went = self.sum(|shard| shard.lock().tide(ledger).map_or(0, |tide| tide.went));
        let came = self.sum(|shard| shard.lock().tide(ledger).map_or(0, |tide| tide.came));
        went == came
    }

    fn sum(&self, of: impl Fn(&Shard) -> u64) -> u64 {
        self.shards.iter().map(of).sum()
    }

    /// Called outside all locks, after a shard saw one of its watched shares run empty.
    #[inline]
    pub(crate) fn look(&self, maybe: MaybeEmpty) {
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
        if self.was_empty(ledger) {
            gate.let_through(line);
        }
    }
}

fn is_unheld(ledger: &Ledger) -> bool {
    ledger.handles.load(Ordering::Acquire) == 0
}

/// A public handle's share of the registry. Pages and registry hold each other; the last handle parts them.
#[derive(Debug)]
pub(crate) struct Handle(Arc<Registry>);

impl Handle {
    pub(crate) fn new(registry: Registry) -> Self {
        Self(Arc::new(registry))
    }

    pub(crate) fn registry(&self) -> &Arc<Registry> {
        &self.0
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        self.0.handles.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // AcqRel: the last one sees all pages that connections opened through the others.
        if self.0.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            for shard in &self.0.shards {
                let pages = shard.lock().slab.release_pages();
                drop(pages);
            }
        }
    }
}

/// A handle on one ledger.
#[derive(Debug)]
pub(crate) struct LedgerHandle {
    handle: Handle,
    ledger: StdArc<Ledger>,
}

impl LedgerHandle {
    pub(crate) fn open(handle: Handle, key: Key) -> Self {
        let ledger = handle.registry().ledger(key);
        Self { handle, ledger }
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    pub(crate) fn ledger(&self) -> &StdArc<Ledger> {
        &self.ledger
    }
}

impl Clone for LedgerHandle {
    fn clone(&self) -> Self {
        self.ledger.handles.fetch_add(1, Ordering::Relaxed);
        Self {
            handle: self.handle.clone(),
            ledger: StdArc::clone(&self.ledger),
        }
    }
}

impl Drop for LedgerHandle {
    fn drop(&mut self) {
        self.handle.registry().let_go(&self.ledger);
    }
}
