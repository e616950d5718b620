//! One thread's share of a drain: a copy of the state word, the count of open watchers, and the parked ones.
//!
//! Lock order: the list of homes, a home's `published` lock, a shard's `parked` lock, a connection's `waits`. Wakers are
//! called, cloned for the first time and dropped with none of them held.

use std::task::Waker;

use crate::conn::Conn;
use crate::count::{Count, Found};
use crate::home::Home;
use crate::phase::Phase;
use crate::schedule::Place;
use crate::seat::{Clock, Seat};
use crate::slab::{Slab, Walked};
use crate::sync::{AtomicU64, AtomicUsize, Ordering, SHARDS, SpinGuard, SpinMutex};
use crate::word::Word;

/// A shard knows three waker vtables by number; most programs have one or two. The fourth number is that of all others,
/// whose waits are parked anew at every poll.
const VTABLES: usize = 4;
const OTHER_VTABLE: u32 = 3;

/// Two regions that are written by different sides, two cache lines apart.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Shard {
    // Written by whoever drives the drain, read by everybody.
    word: AtomicU64,
    pace: AtomicU64,
    drain_time: AtomicU64,
    pub(crate) home: &'static Home,
    vtables: [AtomicUsize; VTABLES],
    own: Own,
}

/// Written by the connections of the shard.
#[derive(Debug)]
#[repr(align(128))]
struct Own {
    count: Count,
    /// Watchers that a drain of inbound listeners leaves alone; they keep the shard by holds.
    outside: AtomicUsize,
    /// The last word at which everybody whose turn it was has been taken.
    walked: AtomicU64,
    parked: SpinMutex<Parked>,
}

#[derive(Debug, Default)]
pub(crate) struct Parked {
    pub(crate) slab: Slab,
    spare: Vec<&'static Conn>,
}

impl Shard {
    pub(crate) fn new(home: &'static Home, number: usize) -> Self {
        Self {
            word: AtomicU64::new(0),
            pace: AtomicU64::new(0),
            drain_time: AtomicU64::new(0),
            home,
            vtables: [const { 0 }; VTABLES].map(AtomicUsize::new),
            own: Own {
                count: Count::held(number, number as u64 * (1024 / SHARDS as u64)),
                outside: AtomicUsize::new(0),
                walked: AtomicU64::new(0),
                parked: SpinMutex::new(Parked::default()),
            },
        }
    }

    /// As new, for the next drain. Only while nobody knows the shard. What no walk took any more is returned: wakers may be
    /// anything, and are dropped outside of all locks.
    pub(crate) fn reset(&self) -> Slab {
        self.word.store(0, Ordering::Release);
        self.pace.store(0, Ordering::Relaxed);
        self.own.walked.store(0, Ordering::Relaxed);
        self.own.count.reset();
        std::mem::take(&mut self.lock().slab)
    }

    #[inline]
    pub(crate) fn word(&self) -> Word {
        Word::from_bits(self.word.load(Ordering::Acquire))
    }

    pub(crate) fn clock(&self) -> Clock {
        Clock {
            drain_time: self.drain_time.load(Ordering::Relaxed),
            pace: self.pace.load(Ordering::Acquire),
        }
    }

    /// How far the drain has brought a seat.
    #[inline]
    pub(crate) fn phase(&self, word: Word, seat: Seat) -> Phase {
        if word.is_idle() {
            Phase::Open
        } else {
            seat.phase(word, || self.clock())
        }
    }

    /// Stores the word after everything it speaks of.
    pub(crate) fn publish(&self, clock: Clock, word: Word) {
        self.drain_time.store(clock.drain_time, Ordering::Relaxed);
        self.pace.store(clock.pace, Ordering::Release);
        self.word.store(word.bits(), Ordering::Release);
    }

    pub(crate) const fn count(&self) -> &Count {
        &self.own.count
    }

    pub(crate) fn outside(&self) -> usize {
        self.own.outside.load(Ordering::Acquire)
    }

    pub(crate) fn enter_outside(&self) -> (Place, Found) {
        self.own.outside.fetch_add(1, Ordering::AcqRel);
        self.own.count.hold_in_turn()
    }

    #[inline]
    pub(crate) fn leave(&self) {
        if let Some(found) = self.own.count.leave() {
            self.look_back(found);
        }
    }

    /// A watcher has left during a drain, or a shard that nobody but watchers knows.
    #[cold]
    #[inline(never)]
    fn look_back(&self, found: Found) {
        if !self.own.count.was_last(found) {
            return;
        }
        if found.is_left_alone() {
            self.home.vacate();
        } else {
            self.home.completion.wake();
        }
    }

    pub(crate) fn leave_outside(&self) {
        let last = self.own.outside.fetch_sub(1, Ordering::AcqRel) == 1;
        // In one order with the beginning of a drain: that finds nobody outside, or is found here.
        let found = self.release();
        if last && !found.is_idle() {
            self.home.completion.wake();
        }
    }

    /// Gives up a hold. What was left.
    pub(crate) fn release(&self) -> Found {
        let found = self.own.count.release();
        if found.is_left_alone() && self.own.count.was_last(found) {
            self.home.vacate();
        }
        found
    }

    #[inline]
    pub(crate) fn lock(&self) -> SpinGuard<'_, Parked> {
        self.own.parked.lock()
    }

    /// The number of a waker's vtable. Only with the shard locked.
    pub(crate) fn number_vtable(&self, waker: &Waker) -> u32 {
        let vtable = std::ptr::from_ref(waker.vtable()) as usize;
        for (number, known) in (0..OTHER_VTABLE).zip(&self.vtables) {
            match known.load(Ordering::Relaxed) {
                0 => known.store(vtable, Ordering::Relaxed),
                known if known != vtable => continue,
                _ => {}
            }
            return number;
        }
        OTHER_VTABLE
    }

    #[inline]
    pub(crate) fn is_vtable(&self, number: u32, waker: &Waker) -> bool {
        let vtable = std::ptr::from_ref(waker.vtable()) as usize;
        self.vtables[number as usize % VTABLES].load(Ordering::Relaxed) == vtable
    }

    /// Wakes every wait of a connection, to make it look again. It stays parked.
    pub(crate) fn wake_conn(&self, conn: &Conn) {
        let parked = self.lock();
        let waits = conn.waits();
        let wakers: Vec<Waker> = waits
            .iter()
            .filter_map(|&wait| parked.slab.waker(wait).cloned())
            .collect();
        drop(parked);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Takes up to `wakers.len()` of those whose turn it is.
    pub(crate) fn take_due(&self, wakers: &mut [Option<Waker>]) -> Walked {
        let mut parked = self.lock();
        // Read with the lock held: a handle that takes the lock later sees this word or a newer one, and so knows which
        // of its entries are gone.
        let word = self.word();
        let walked = parked.slab.walk(word, self.clock(), wakers);
        if walked.done {
            self.own.walked.store(word.bits(), Ordering::Release);
        }
        walked
    }

    /// Whether everybody whose turn it is at `word` has been taken.
    pub(crate) fn is_walked(&self, word: Word) -> bool {
        self.own.walked.load(Ordering::Acquire) == word.bits()
    }
}

impl Parked {
    pub(crate) fn new_conn(&mut self) -> &'static Conn {
        self.spare
            .pop()
            .unwrap_or_else(|| Box::leak(Box::new(Conn::new())))
    }

    pub(crate) fn take_back(&mut self, conn: &'static Conn) {
        conn.reset();
        self.spare.push(conn);
    }
}
