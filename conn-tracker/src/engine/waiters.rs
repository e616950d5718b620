//! The tasks that wait until few connections are left, in the whole tracker or in one group.

use super::sync::{AtomicU64, Mutex};
use std::{collections::BTreeMap, sync::atomic::Ordering::Relaxed, task::Waker};

/// Waiting tasks. Wakers are cloned, woken and dropped with nothing locked (invariant 2).
///
/// That a waiter has been released is remembered in its entry: a task that is polled late does not
/// miss the moment because a new connection has opened since.
#[derive(Debug)]
pub(crate) struct Waiters {
    /// The largest number of connections that any waiter accepts, plus one; 0 without waiters.
    /// Changed under the lock.
    ///
    /// Relaxed throughout: the locks of invariant 5 order it against the counters. Without them an
    /// end could miss the waiter, and the waiter the end.
    threshold: AtomicU64,
    list: Mutex<List>,
}

#[derive(Debug)]
struct List {
    next_key: u64,
    /// By key, so in the order in which they came.
    entries: BTreeMap<u64, Entry>,
    /// How many entries that are not released accept so many connections.
    levels: BTreeMap<u64, usize>,
    /// The group has no handle: it waits for its own last connection.
    is_retired: bool,
}

#[derive(Debug)]
struct Entry {
    /// How many connections may be left.
    at_most: u64,
    /// `None`: released.
    waker: Option<Waker>,
}

impl List {
    fn threshold(&self) -> u64 {
        let most = self.levels.last_key_value();
        let most = most.map_or(0, |(at_most, _)| at_most.saturating_add(1));
        most.max(u64::from(self.is_retired))
    }

    fn add_level(&mut self, at_most: u64) {
        *self.levels.entry(at_most).or_default() += 1;
    }

    fn remove_level(&mut self, at_most: u64) {
        if let Some(count) = self.levels.get_mut(&at_most) {
            *count -= 1;
            if *count == 0 {
                self.levels.remove(&at_most);
            }
        }
    }
}

impl Waiters {
    pub(crate) fn new() -> Self {
        Self {
            threshold: AtomicU64::new(0),
            list: Mutex::new(List {
                next_key: 0,
                entries: BTreeMap::new(),
                levels: BTreeMap::new(),
                is_retired: false,
            }),
        }
    }

    /// Whether there is any waiter.
    #[inline]
    pub(crate) fn is_any(&self) -> bool {
        self.threshold.load(Relaxed) != 0
    }

    /// Whether a waiter may be content with `awaited` connections in one shard. Where all shards
    /// together have few enough, each of them has.
    pub(crate) fn is_low(&self, awaited: u64) -> bool {
        awaited < self.threshold.load(Relaxed)
    }

    /// The group has no handle any more, or has one again.
    pub(crate) fn set_retired(&self, is_retired: bool) {
        let mut list = self.list.lock();
        list.is_retired = is_retired;
        self.threshold.store(list.threshold(), Relaxed);
    }

    pub(crate) fn enter(&self, waker: &Waker, at_most: u64) -> u64 {
        let waker = Some(waker.clone());
        let mut list = self.list.lock();
        let key = list.next_key;
        list.next_key += 1;
        list.entries.insert(key, Entry { at_most, waker });
        list.add_level(at_most);
        self.threshold.store(list.threshold(), Relaxed);
        key
    }

    pub(crate) fn leave(&self, key: u64) {
        let mut list = self.list.lock();
        let entry = list.entries.remove(&key);
        if let Some(Entry {
            at_most,
            waker: Some(_),
        }) = &entry
        {
            list.remove_level(*at_most);
        }
        self.threshold.store(list.threshold(), Relaxed);
        drop(list);
        drop(entry);
    }

    /// Whether the waiter has been released; its newest waker is kept if not.
    pub(crate) fn is_released(&self, key: u64, waker: &Waker) -> bool {
        let newest = waker.clone();
        let mut list = self.list.lock();
        let entry = list.entries.get_mut(&key);
        let kept = entry.and_then(|entry| entry.waker.as_mut());
        let is_released = kept.is_none();
        let unused = match kept {
            Some(kept) => std::mem::replace(kept, newest),
            None => newest,
        };
        drop(list);
        drop(unused);
        is_released
    }

    /// A line between the tasks that wait now and those that come later. Drawn before the counters
    /// are read, so that a low number releases only the tasks that waited when it was true.
    pub(crate) fn line(&self) -> u64 {
        self.list.lock().next_key
    }

    /// Releases all tasks that came before the line and accept `connections`.
    pub(crate) fn release(&self, line: u64, connections: u64) {
        let mut list = self.list.lock();
        let mut wakers = Vec::new();
        let before = list.entries.range_mut(..line);
        for (_, entry) in before.filter(|(_, entry)| connections <= entry.at_most) {
            if let Some(waker) = entry.waker.take() {
                wakers.push((waker, entry.at_most));
            }
        }
        for (_, at_most) in &wakers {
            list.remove_level(*at_most);
        }
        self.threshold.store(list.threshold(), Relaxed);
        drop(list);
        wakers.into_iter().for_each(|(waker, _)| waker.wake());
    }
}
