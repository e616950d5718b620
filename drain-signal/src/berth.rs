//! Where a handle is parked, kept beside it so that a poll by the same task costs no lock.
//!
//! An entry belongs to its handle as long as the drain has not brought the connection further than it was when it parked.
//! From then on it belongs to the walk of the drain, which takes it out of the slab, now or later; the handle forgets it.
//! Words and paces only move forward, so both sides agree. Three things follow:
//!
//! 1. Same phase and same waker: still parked, nothing to do.
//! 2. A woken handle leaves nothing to tidy up: a million of them wake and go without a lock.
//! 3. With the shard locked, a look at the word tells for certain whose the entry is: a walk reads the word under that
//!    lock too.

use std::task::{Poll, Waker};

use crate::DrainHandle;
use crate::conn::Conn;
use crate::phase::Phase;
use crate::seat::Seat;
use crate::shard::Shard;
use crate::slab::NO_ENTRY;
use crate::sync::{AtomicU32, AtomicUsize, Ordering};

/// 16 bytes without a gap, so that a handle is moved in whole words.
#[derive(Debug)]
pub(crate) struct Berth {
    /// The parked waker's data; its vtable is a number. Written with the shard locked, as is the next.
    data: AtomicUsize,
    /// Entry (27 bits), phase it parked in (3), number of the vtable (2).
    at: AtomicU32,
    /// Tagged with the hold.
    pub(crate) seat: Seat,
}

const PHASE_SHIFT: u32 = 27;
const VTABLE_SHIFT: u32 = 30;

#[derive(Debug, Clone, Copy)]
struct At(u32);

impl At {
    /// In no phase.
    const NOWHERE: Self = Self(NO_ENTRY | 7 << PHASE_SHIFT);

    const fn new(entry: u32, phase: Phase, vtable: u32) -> Self {
        Self(entry | (phase as u32) << PHASE_SHIFT | vtable << VTABLE_SHIFT)
    }

    const fn entry(self) -> u32 {
        self.0 & NO_ENTRY
    }

    #[inline]
    const fn is_in(self, phase: Phase) -> bool {
        self.0 >> PHASE_SHIFT & 7 == phase as u32
    }

    const fn vtable(self) -> u32 {
        self.0 >> VTABLE_SHIFT
    }
}

impl Berth {
    #[inline]
    pub(crate) fn new(seat: Seat) -> Self {
        Self {
            data: AtomicUsize::new(0),
            at: AtomicU32::new(At::NOWHERE.0),
            seat,
        }
    }

    #[inline]
    fn at(&self) -> At {
        At(self.at.load(Ordering::Relaxed))
    }

    /// Whether there may be an entry to tidy up.
    #[inline]
    pub(crate) fn was_parked(&self) -> bool {
        self.at().0 != At::NOWHERE.0
    }

    /// Whether `waker` is parked, by a connection that the drain has brought to `brought`.
    #[inline]
    pub(crate) fn is_parked(&self, shard: &Shard, brought: Phase, waker: &Waker) -> bool {
        let at = self.at();
        at.is_in(brought)
            && self.data.load(Ordering::Relaxed) == waker.data() as usize
            && shard.is_vtable(at.vtable(), waker)
    }

    fn set(&self, at: At, waker: &Waker) {
        self.data.store(waker.data() as usize, Ordering::Relaxed);
        self.at.store(at.0, Ordering::Relaxed);
    }
}

impl DrainHandle {
    /// Parks `waker` until the connection moves on, unless it has moved on from `after`.
    pub(crate) fn park(&self, waker: &Waker, after: Phase) -> Poll<Phase> {
        let parking = waker.clone();
        let mut parked = self.shard.lock();
        // Whoever moves the connection on says so first and then takes this lock: either it finds the entry, or this
        // look finds what it said.
        let (phase, brought) = self.phase_at(self.shard.word());
        if phase > after {
            drop(parked);
            drop(parking);
            return Poll::Ready(phase);
        }
        let at = self.berth.at();
        let (entry, unused) = if at.is_in(brought) {
            (at.entry(), parked.slab.replace(at.entry(), parking))
        } else {
            match parked.slab.insert(self.berth.seat, brought, parking) {
                Ok(entry) => (entry, None),
                Err(waker) => (NO_ENTRY, Some(waker)),
            }
        };
        let at_new = match entry {
            NO_ENTRY => At::NOWHERE,
            entry => At::new(entry, brought, self.shard.number_vtable(waker)),
        };
        self.berth.set(at_new, waker);
        if entry != at.entry() {
            if let Some(conn) = self.conn.get() {
                conn.moved(at.entry(), entry);
            }
        }
        drop(parked);
        drop(unused);
        if entry == NO_ENTRY {
            // No room in this shard for more than 2^27 waits: look again and again instead.
            waker.wake_by_ref();
        }
        Poll::Pending
    }

    /// Gives back what the handle holds besides its shard.
    pub(crate) fn leave_berth(&mut self) {
        let at = self.berth.at();
        if at.is_in(self.phase_at(self.shard.word()).1) {
            let mut parked = self.shard.lock();
            let brought = self.phase_at(self.shard.word()).1;
            let waker = at.is_in(brought).then(|| parked.slab.remove(at.entry()));
            drop(parked);
            drop(waker);
        }
        let Some(conn) = self.conn.get() else {
            return;
        };
        if at.entry() != NO_ENTRY {
            conn.gone(at.entry());
        }
        if conn.unshare() {
            self.shard.lock().take_back(conn);
        }
    }

    /// What is shared with the other handles of this connection, from now on.
    pub(crate) fn shared_conn(&self) -> &'static Conn {
        if let Some(conn) = self.conn.get() {
            return conn;
        }
        let mut parked = self.shard.lock();
        if let Some(conn) = self.conn.get() {
            return conn;
        }
        let conn = parked.new_conn();
        let at = self.berth.at();
        if at.entry() != NO_ENTRY {
            conn.moved(at.entry(), at.entry());
        }
        // It was empty a moment ago, and is written under this lock only.
        self.conn.set(conn).ok();
        conn
    }
}
