//! The wakers of the tasks that wait for one thing.
//!
//! 1. A wait owns its entry: it alone renews it and takes it back. What wakes takes the entry out;
//!    a wait finds that out when it renews, and gets a new one if it registers again.
//! 2. Tickets are never used twice, so a wait whose entry is gone cannot touch that of another.
//! 3. Wakers are cloned before the lock is taken, and woken and dropped after it is released.

use std::collections::BTreeMap;
use std::fmt;
use std::mem;
use std::panic::catch_unwind;
use std::task::Waker;

use crate::{Mutex, lock};

/// Wakes them all, also the ones after a waker that panics: their entries have been taken out, so
/// nothing else would wake them.
///
/// The panic ends here, and the panic hook reports it: it is the executor's, and would leave what
/// the caller does half done.
pub fn wake_each(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        // A model says by a panic what it finds.
        if cfg!(any(loom, shuttle)) {
            waker.wake();
        } else {
            catch_unwind(|| waker.wake()).ok();
        }
    }
}

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
#[derive(Default)]
pub struct WaitList {
    entries: Mutex<WaitEntries>,
}

/// With nothing locked while it writes.
impl fmt::Debug for WaitList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WaitList").field(&self.len()).finish()
    }
}

/// A wait's claim to an entry of one list: its owner takes it back before it drops it.
#[derive(Debug, Default)]
pub struct Waiter {
    /// Zero: none yet.
    ticket: u64,
}

impl WaitList {
    /// Registers `waker` for the next [`wake_all`](Self::wake_all), in place of the one that
    /// `waiter` registered before.
    pub fn register(&self, waiter: &mut Waiter, waker: &Waker) {
        let replaced = self.put(waiter, waker.clone());
        drop(replaced);
    }

    /// [`register`](Self::register) for a `waiter` that is under a lock of its owner's: the owner
    /// clones the waker before it takes that lock, and drops the one returned after it.
    #[must_use = "wakers are dropped with nothing locked"]
    pub fn put(&self, waiter: &mut Waiter, waker: Waker) -> Option<Waker> {
        lock(&self.entries).put(waiter, waker, ())
    }

    /// Takes the waiter's entry back, if there is one.
    pub fn remove(&self, waiter: &mut Waiter) {
        if waiter.ticket == 0 {
            return;
        }
        let removed = lock(&self.entries).take(waiter);
        drop(removed);
    }

    /// Takes all entries out and wakes them.
    #[cold]
    pub fn wake_all(&self) {
        let (first, others) = lock(&self.entries).take_all();
        wake_each(first.into_iter().chain(others));
    }

    /// How many wait.
    #[expect(clippy::len_without_is_empty, reason = "no caller asks")]
    pub fn len(&self) -> usize {
        lock(&self.entries).values().count()
    }
}

/// The entries of a list whose lock is its owner's, because more than the wakers changes under it.
/// Each has a value: what the task waits for.
///
/// The owner sees to rule 3: it clones wakers before it locks, and drops and wakes what it is given
/// back after it has unlocked.
///
/// # Examples
///
/// ```
/// use std::task::Waker;
/// use drain_sync::{WaitEntries, Waiter};
///
/// let mut entries = WaitEntries::default();
/// let (mut patient, mut content) = (Waiter::default(), Waiter::default());
/// entries.put(&mut patient, Waker::noop().clone(), 0);
/// entries.put(&mut content, Waker::noop().clone(), 5);
/// let woken = entries.take_where(|_, &at_most| 3 <= at_most);
/// assert_eq!(woken.len(), 1);
/// assert!(entries.renew(&content, Waker::noop().clone()).is_err());
/// assert!(entries.renew(&patient, Waker::noop().clone()).is_ok());
/// ```
#[derive(Debug)]
pub struct WaitEntries<T = ()> {
    last_ticket: u64,
    /// As a rule there is one, and it needs no allocation.
    first: Option<(u64, (T, Waker))>,
    others: BTreeMap<u64, (T, Waker)>,
}

impl<T> Default for WaitEntries<T> {
    fn default() -> Self {
        Self {
            last_ticket: 0,
            first: None,
            others: BTreeMap::new(),
        }
    }
}

impl<T> WaitEntries<T> {
    /// Registers `waker` with `value`; if `waiter` has an entry, only its waker is replaced, and
    /// the old one returned.
    #[must_use = "wakers are dropped with nothing locked"]
    pub fn put(&mut self, waiter: &mut Waiter, waker: Waker, value: T) -> Option<Waker> {
        if let Some(known) = self.find(waiter) {
            return Some(mem::replace(known, waker));
        }
        self.last_ticket += 1;
        waiter.ticket = self.last_ticket;
        if self.first.is_none() {
            self.first = Some((waiter.ticket, (value, waker)));
        } else {
            self.others.insert(waiter.ticket, (value, waker));
        }
        None
    }

    /// Replaces the waker of the waiter's entry and returns the old one.
    ///
    /// # Errors
    ///
    /// Returns `waker`, if the entry has been taken out.
    pub fn renew(&mut self, waiter: &Waiter, waker: Waker) -> Result<Waker, Waker> {
        match self.find(waiter) {
            Some(known) => Ok(mem::replace(known, waker)),
            None => Err(waker),
        }
    }

    #[inline]
    fn find(&mut self, waiter: &Waiter) -> Option<&mut Waker> {
        match &mut self.first {
            Some((first, (_, known))) if *first == waiter.ticket => Some(known),
            _ => Some(&mut self.others.get_mut(&waiter.ticket)?.1),
        }
    }

    /// Takes the waiter's entry back, if there is one.
    pub fn take(&mut self, waiter: &mut Waiter) -> Option<Waker> {
        let ticket = mem::take(&mut waiter.ticket);
        let first = self.first.take_if(|(first, _)| *first == ticket);
        let entry = match first {
            Some((_, entry)) => Some(entry),
            None => self.others.remove(&ticket),
        };
        entry.map(|(_, waker)| waker)
    }

    /// Takes out the entries that `is_over` chooses by ticket and value.
    pub fn take_where(&mut self, mut is_over: impl FnMut(u64, &T) -> bool) -> Vec<Waker> {
        let first = self
            .first
            .take_if(|(ticket, (value, _))| is_over(*ticket, value));
        let mut wakers: Vec<_> = first.into_iter().map(|(_, (_, waker))| waker).collect();
        self.others.retain(|ticket, (value, waker)| {
            let is_kept = !is_over(*ticket, value);
            if !is_kept {
                wakers.push(mem::replace(waker, Waker::noop().clone()));
            }
            is_kept
        });
        wakers
    }

    fn take_all(&mut self) -> (Option<Waker>, impl Iterator<Item = Waker> + use<T>) {
        let first = self.first.take().map(|(_, (_, waker))| waker);
        let others = mem::take(&mut self.others).into_values();
        (first, others.map(|(_, waker)| waker))
    }

    /// The newest ticket: later entries have larger ones.
    pub const fn last_ticket(&self) -> u64 {
        self.last_ticket
    }

    /// What the tasks wait for, in no order.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        let first = self.first.iter().map(|(_, entry)| entry);
        first.chain(self.others.values()).map(|(value, _)| value)
    }
}
