//! The tasks that wait until few connections are left, in the whole tracker or in one group.

use drain_sync::{AtomicU64, Mutex, WaitEntries, Waiter, lock};
use std::{sync::atomic::Ordering::Relaxed, task::Waker};

/// Waiting tasks. Wakers are cloned, woken and dropped with nothing locked (invariant 2).
///
/// A waiter is released by taking its entry out, which it finds out whenever it is polled: a task
/// that is polled late does not miss the moment because a new connection has opened since.
pub(crate) struct Waiters {
    /// Not less than the largest number of connections that any waiter accepts, plus one. A waiter
    /// that leaves does not lower it: the next look does, or the last waiter. 0 without waiters.
    /// Changed under the lock.
    ///
    /// Relaxed throughout: the locks of invariant 5 order it against the counters. Without them an
    /// end could miss the waiter, and the waiter the end.
    threshold: AtomicU64,
    list: Mutex<List>,
}

struct List {
    /// Each with how many connections may be left.
    entries: WaitEntries<u64>,
    /// The group has no handle: it waits for its own last connection.
    is_retired: bool,
}

impl List {
    fn threshold(&self) -> u64 {
        let most = self.entries.values().max();
        let most = most.map_or(0, |at_most| at_most.saturating_add(1));
        most.max(u64::from(self.is_retired))
    }
}

impl Waiters {
    pub(crate) fn new() -> Self {
        Self {
            threshold: AtomicU64::new(0),
            list: Mutex::new(List {
                entries: WaitEntries::default(),
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
        let mut list = lock(&self.list);
        list.is_retired = is_retired;
        self.threshold.store(list.threshold(), Relaxed);
    }

    pub(crate) fn enter(&self, waiter: &mut Waiter, waker: &Waker, at_most: u64) {
        let waker = waker.clone();
        let mut list = lock(&self.list);
        let replaced = list.entries.put(waiter, waker, at_most);
        let threshold = self.threshold.load(Relaxed);
        self.threshold
            .store(threshold.max(at_most.saturating_add(1)), Relaxed);
        drop(list);
        drop(replaced);
    }

    pub(crate) fn leave(&self, waiter: &mut Waiter) {
        let mut list = lock(&self.list);
        let waker = list.entries.take(waiter);
        if list.entries.values().next().is_none() {
            self.threshold.store(list.threshold(), Relaxed);
        }
        drop(list);
        drop(waker);
    }

    /// Whether the waiter has been released; its newest waker is kept if not.
    pub(crate) fn is_released(&self, waiter: &Waiter, waker: &Waker) -> bool {
        let newest = waker.clone();
        let renewed = lock(&self.list).entries.renew(waiter, newest);
        renewed.is_err()
    }

    /// A line between the tasks that wait now and those that come later. Drawn before the counters
    /// are read, so that a low number releases only the tasks that waited when it was true.
    pub(crate) fn line(&self) -> u64 {
        lock(&self.list).entries.last_ticket()
    }

    /// Releases all tasks that came before the line and accept `connections`. Their wakers, to be
    /// woken with nothing locked.
    #[must_use]
    pub(crate) fn release(&self, line: u64, connections: u64) -> Vec<Waker> {
        let mut list = lock(&self.list);
        let is_over = |ticket, &at_most: &u64| ticket <= line && connections <= at_most;
        let wakers = list.entries.take_where(is_over);
        self.threshold.store(list.threshold(), Relaxed);
        wakers
    }
}
