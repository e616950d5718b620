//! The wakers of the tasks that wait for one thing.
//!
//! 1. A wait owns its entry: it alone renews it and takes it back. `wake_all` takes all entries
//!    out; a wait whose entry is gone gets a new one when it registers again.
//! 2. Tickets are never used twice, so a wait whose entry is gone cannot touch that of another.
//! 3. Wakers are cloned before the lock is taken, and woken and dropped after it is released.

use std::collections::BTreeMap;
use std::mem;
use std::task::Waker;

use crate::{Mutex, lock};

/// The tasks that look again when something happens.
///
/// Register first, look afterwards: an event that happens after the look finds the entry.
///
/// # Examples
///
/// ```
/// use std::task::Waker;
/// use drain_sync::{WaitList, Waiter};
///
/// let list = WaitList::default();
/// let mut waiter = Waiter::default();
/// list.register(&mut waiter, Waker::noop());
/// assert_eq!(list.len(), 1);
/// list.remove(&mut waiter);
/// assert_eq!(list.len(), 0);
/// ```
#[derive(Debug, Default)]
pub struct WaitList {
    entries: Mutex<Entries>,
}

/// As a rule there is one, and it needs no allocation.
#[derive(Debug, Default)]
struct Entries {
    last_ticket: u64,
    first: Option<(u64, Waker)>,
    others: BTreeMap<u64, Waker>,
}

/// A wait's claim to an entry of one [`WaitList`]: its owner calls [`WaitList::remove`] before it
/// drops it.
#[derive(Debug, Default)]
pub struct Waiter {
    /// Zero: none yet.
    ticket: u64,
}

impl WaitList {
    /// Registers `waker` for the next [`wake_all`](Self::wake_all), in place of the one that
    /// `waiter` registered before.
    pub fn register(&self, waiter: &mut Waiter, waker: &Waker) {
        let waker = waker.clone();
        let replaced = lock(&self.entries).put(waiter, waker);
        drop(replaced);
    }

    /// Takes the waiter's entry back, if there is one.
    pub fn remove(&self, waiter: &mut Waiter) {
        if waiter.ticket == 0 {
            return;
        }
        let removed = lock(&self.entries).take(waiter.ticket);
        drop(removed);
        waiter.ticket = 0;
    }

    /// Takes all entries out and wakes them.
    pub fn wake_all(&self) {
        let (first, others) = lock(&self.entries).take_all();
        first.into_iter().chain(others).for_each(Waker::wake);
    }

    /// How many wait.
    #[expect(clippy::len_without_is_empty, reason = "no caller asks")]
    pub fn len(&self) -> usize {
        let entries = lock(&self.entries);
        usize::from(entries.first.is_some()) + entries.others.len()
    }
}

impl Entries {
    /// The waker that was replaced.
    fn put(&mut self, waiter: &mut Waiter, waker: Waker) -> Option<Waker> {
        let ticket = waiter.ticket;
        match &mut self.first {
            Some((first, known)) if *first == ticket => return Some(mem::replace(known, waker)),
            _ => {}
        }
        if let Some(known) = self.others.get_mut(&ticket) {
            return Some(mem::replace(known, waker));
        }
        self.last_ticket += 1;
        waiter.ticket = self.last_ticket;
        if self.first.is_none() {
            self.first = Some((waiter.ticket, waker));
            None
        } else {
            self.others.insert(waiter.ticket, waker)
        }
    }

    fn take(&mut self, ticket: u64) -> Option<Waker> {
        match self.first.take_if(|(first, _)| *first == ticket) {
            Some((_, waker)) => Some(waker),
            None => self.others.remove(&ticket),
        }
    }

    fn take_all(&mut self) -> (Option<Waker>, impl Iterator<Item = Waker> + use<>) {
        let first = self.first.take().map(|(_, waker)| waker);
        (first, mem::take(&mut self.others).into_values())
    }
}
