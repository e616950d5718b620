//! One line of the books: the connections of one listener version, or of one filter chain.

use crate::{
    counts::{Cell, ConnCounts},
    gate::Gate,
    sync::AtomicUsize,
};
use std::{collections::HashMap, sync::Arc};

/// What a ledger counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) listener: Arc<str>,
    pub(crate) version: u64,
    /// `None`: the whole version.
    pub(crate) chain: Option<Arc<str>>,
}

/// The counts of one key and those who wait for them to reach zero.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) key: Key,
    /// Its place in the table and in every shard's list.
    pub(crate) index: u32,
    pub(crate) cells: Box<[Cell]>,
    pub(crate) gate: Gate,
    /// Public handles. From one to zero and from zero to one only under the table's lock.
    pub(crate) handles: AtomicUsize,
}

impl Ledger {
    pub(crate) fn new(key: Key, index: u32, shards: usize) -> Self {
        let cells = (0..shards).map(|_| Cell::default()).collect();
        Self {
            key,
            index,
            cells,
            gate: Gate::new(),
            handles: AtomicUsize::new(1),
        }
    }

    pub(crate) fn counts(&self) -> ConnCounts {
        ConnCounts::sum(self.cells.iter())
    }
}

/// All ledgers by key. Locked when listener versions come and go, never when connections do.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) by_key: HashMap<Key, u32>,
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
}

/// A ledger, and whether its last handle is gone (it is removed with its last connection).
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) retired: bool,
}

impl Table {
    pub(crate) fn find(&mut self, key: &Key) -> Option<&mut Entry> {
        let index = *self.by_key.get(key)?;
        self.entries.get_mut(index as usize)?.as_mut()
    }

    /// The entry of this very ledger; not that of a later one under the same key or index.
    pub(crate) fn entry_of(&mut self, ledger: &Arc<Ledger>) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(ledger.index as usize)?.as_mut()?;
        Arc::ptr_eq(&entry.ledger, ledger).then_some(entry)
    }

    pub(crate) fn add(&mut self, key: Key, shards: usize) -> Arc<Ledger> {
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() as u32 - 1
        });
        let ledger = Arc::new(Ledger::new(key.clone(), index, shards));
        self.by_key.insert(key, index);
        self.entries[index as usize] = Some(Entry {
            ledger: Arc::clone(&ledger),
            retired: false,
        });
        ledger
    }

    pub(crate) fn remove(&mut self, ledger: &Ledger) -> Option<Entry> {
        self.by_key.remove(&ledger.key);
        self.free.push(ledger.index);
        self.entries[ledger.index as usize].take()
    }

    pub(crate) fn ledgers(&self) -> impl Iterator<Item = &Arc<Ledger>> {
        self.entries.iter().flatten().map(|entry| &entry.ledger)
    }
}
