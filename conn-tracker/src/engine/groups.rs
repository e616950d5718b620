//! The groups: the connections of one listener version, or of one filter chain.

use super::{counters::Counters, waiters::Waiters};
use crate::counts::ConnCounts;
use drain_sync::{AtomicUsize, Mutex, lock};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, atomic::Ordering::Acquire},
};

/// What a group counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) listener: Arc<str>,
    pub(crate) version: u64,
    /// `None`: the whole version.
    pub(crate) chain: Option<Arc<str>>,
}

impl Key {
    /// Whether both are of the same version of the same listener.
    pub(crate) fn is_same_version(&self, other: &Self) -> bool {
        self.version == other.version && self.listener == other.listener
    }
}

/// One listener version or filter chain: its counters, and the tasks that wait for its last
/// connection.
pub(crate) struct Group {
    pub(crate) key: Key,
    /// Its place in the table and in every shard; see invariant 7.
    pub(crate) index: u32,
    /// Public handles. From one to zero and from zero to one only under the table's lock.
    pub(crate) handles: AtomicUsize,
    pub(crate) waiters: Waiters,
    /// One for each shard in which a connection of the group has been opened: a group costs nothing
    /// in the other shards.
    parts: Mutex<Vec<Part>>,
}

struct Part {
    shard: usize,
    counters: Arc<Counters>,
}

/// With nothing locked.
impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Group").field(&self.key).finish()
    }
}

impl Group {
    pub(crate) fn new(key: Key, index: u32) -> Self {
        Self {
            key,
            index,
            handles: AtomicUsize::new(1),
            waiters: Waiters::new(),
            parts: Mutex::new(Vec::new()),
        }
    }

    /// The counters of a shard in which the group has had no connection yet. Called with the shard
    /// locked.
    pub(crate) fn add_part(&self, shard: usize) -> Arc<Counters> {
        let counters = Arc::<Counters>::default();
        let part = Part {
            shard,
            counters: Arc::clone(&counters),
        };
        let mut parts = lock(&self.parts);
        parts.reserve_exact(1);
        parts.push(part);
        counters
    }

    /// In which shards it has counters: one bit each.
    pub(crate) fn shards(&self) -> u64 {
        let parts = lock(&self.parts);
        parts.iter().fold(0, |mask, part| mask | 1 << part.shard)
    }

    pub(crate) fn counts(&self) -> ConnCounts {
        let parts = lock(&self.parts);
        ConnCounts::sum(parts.iter().map(|part| &*part.counters))
    }

    /// Acquire pairs with the Release in `Registry::release_handle`: what was done through the last
    /// handle is seen by the thread that removes the group. Without it that thread could overlook a
    /// connection that the handle has opened.
    pub(crate) fn has_no_handle(&self) -> bool {
        self.handles.load(Acquire) == 0
    }
}

/// All groups by key. Locked when listener versions and chains come and go, never when connections
/// do.
#[derive(Default)]
pub(crate) struct GroupTable {
    by_key: HashMap<Key, u32>,
    entries: Vec<Option<TableEntry>>,
    free: Vec<u32>,
}

pub(crate) struct TableEntry {
    pub(crate) group: Arc<Group>,
    /// Its last handle is gone; it is removed with its last connection.
    pub(crate) is_retired: bool,
}

impl GroupTable {
    pub(crate) fn find(&mut self, key: &Key) -> Option<&mut TableEntry> {
        let index = *self.by_key.get(key)?;
        self.entries.get_mut(index as usize)?.as_mut()
    }

    /// The entry of this very group; not that of a later one under the same key or index.
    pub(crate) fn entry_of(&mut self, group: &Arc<Group>) -> Option<&mut TableEntry> {
        let entry = self.entries.get_mut(group.index as usize)?.as_mut()?;
        Arc::ptr_eq(&entry.group, group).then_some(entry)
    }

    pub(crate) fn add(&mut self, key: Key) -> Arc<Group> {
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() as u32 - 1
        });
        let group = Arc::new(Group::new(key.clone(), index));
        self.by_key.insert(key, index);
        self.entries[index as usize] = Some(TableEntry {
            group: Arc::clone(&group),
            is_retired: false,
        });
        group
    }

    pub(crate) fn remove(&mut self, group: &Group) -> Option<TableEntry> {
        self.by_key.remove(&group.key);
        self.free.push(group.index);
        self.entries[group.index as usize].take()
    }

    pub(crate) fn groups(&self) -> impl Iterator<Item = &Arc<Group>> {
        self.entries.iter().flatten().map(|entry| &entry.group)
    }
}
