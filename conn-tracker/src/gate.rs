//! Those who wait for a count to fall to zero, or to a few, and how they are let through.

use crate::sync::Mutex;
use std::task::Waker;

/// Waiting tasks. Wakers are cloned, woken and dropped outside the lock: each of these may run anything, even the end
/// of another connection.
///
/// Being let through is remembered: a waiter that is slow to be polled does not miss the moment
/// because a new connection has opened since.
#[derive(Debug)]
pub(crate) struct Gate(Mutex<Waiters>);

#[derive(Debug)]
struct Waiters {
    next_key: u64,
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    key: u64,
    /// How many it may be to let this one through.
    few: u64,
    /// `None`: let through.
    waker: Option<Waker>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Waiters {
            next_key: 0,
            waiting: Vec::new(),
        }))
    }

    pub(crate) fn enter(&self, waker: &Waker, few: u64) -> u64 {
        let waker = Some(waker.clone());
        let mut waiters = self.0.lock();
        let key = waiters.next_key;
        waiters.next_key += 1;
        waiters.waiting.push(Waiting { key, few, waker });
        key
    }

    pub(crate) fn leave(&self, key: u64) {
        let mut waiters = self.0.lock();
        let at = waiters.waiting.iter().position(|w| w.key == key);
        let waiting = at.map(|at| waiters.waiting.swap_remove(at));
        drop(waiters);
        drop(waiting);
    }

    /// Whether the waiter has been let through; its newest waker is kept if not.
    pub(crate) fn passed(&self, key: u64, waker: &Waker) -> bool {
        let newest = waker.clone();
        let mut waiters = self.0.lock();
        let waiting = waiters.waiting.iter_mut().find(|w| w.key == key);
        let known = waiting.and_then(|w| w.waker.as_mut());
        let passed = known.is_none();
        let unused = match known {
            Some(known) => std::mem::replace(known, newest),
            None => newest,
        };
        drop(waiters);
        drop(unused);
        passed
    }

    /// A line between those who wait now and those who come later. Drawn before looking at the counts, so that
    /// a moment lets through only those who were waiting when it was.
    pub(crate) fn line(&self) -> u64 {
        self.0.lock().next_key
    }

    /// Lets through all who came before the line and are content with `count`.
    pub(crate) fn let_through(&self, line: u64, count: u64) {
        let mut waiters = self.0.lock();
        let before = waiters
            .waiting
            .iter_mut()
            .filter(|w| w.key < line && count <= w.few);
        let wakers: Vec<Waker> = before.filter_map(|w| w.waker.take()).collect();
        drop(waiters);
        wakers.into_iter().for_each(Waker::wake);
    }
}
