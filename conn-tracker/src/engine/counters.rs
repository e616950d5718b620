//! How many connections, by state and protocol, in one shard: of the whole tracker, or of one
//! group.

use crate::{
    labels::{CloseReason, ConnProtocol},
    state::ConnState,
};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Where one connection is counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) state: ConnState,
    pub(crate) protocol: ConnProtocol,
    /// Whether completion waits for it: its label is not excluded.
    pub(crate) is_awaited: bool,
}

/// One shard's part of the counts. By invariant 3 there is one writer at a time, so that an
/// addition is a load and a store.
///
/// Relaxed throughout: readers that have to be exact take the shard's lock, which orders
/// everything; the others accept numbers that are a few connections behind. Without that lock
/// [`Registry::at_most`](super::registry::Registry::at_most) could add up counters of different
/// moments.
#[derive(Debug, Default)]
#[repr(align(128))] // two cache lines: neighbours are written by other threads
pub(crate) struct Counters {
    /// Open connections, by state and protocol.
    open: [[AtomicU32; ConnProtocol::COUNT]; 4],
    entered: [AtomicU64; 4],
    /// Connections that completion waits for: how many were opened, and how many have ended. Two
    /// counters that only grow instead of one that rises and falls: see invariant 6.
    came: AtomicU64,
    went: AtomicU64,
}

#[inline]
fn up(counter: &AtomicU32) {
    counter.store(counter.load(Relaxed).wrapping_add(1), Relaxed);
}

#[inline]
fn down(counter: &AtomicU32) {
    counter.store(counter.load(Relaxed).wrapping_sub(1), Relaxed);
}

#[inline]
fn up_total(counter: &AtomicU64) {
    counter.store(counter.load(Relaxed).wrapping_add(1), Relaxed);
}

impl Counters {
    pub(crate) fn reset(&self) {
        let open = self.open.iter().flatten();
        open.for_each(|counter| counter.store(0, Relaxed));
        let totals = self.entered.iter().chain([&self.came, &self.went]);
        totals.for_each(|counter| counter.store(0, Relaxed));
    }

    #[inline]
    fn open_at(&self, place: Place) -> &AtomicU32 {
        &self.open[place.state as usize][place.protocol as usize]
    }

    #[inline]
    pub(crate) fn joined(&self, place: Place) {
        up(self.open_at(place));
        up_total(&self.entered[place.state as usize]);
        if place.is_awaited {
            up_total(&self.came);
        }
    }

    /// A connection has ended, or belongs to another filter chain now.
    #[inline]
    pub(crate) fn left(&self, place: Place) {
        down(self.open_at(place));
        if place.is_awaited {
            up_total(&self.went);
        }
    }

    #[inline]
    pub(crate) fn ended(&self, place: Place) {
        self.left(place);
        if place.state != ConnState::Closed {
            up_total(&self.entered[ConnState::Closed as usize]);
        }
    }

    pub(crate) fn changed(&self, from: Place, to: Place) {
        down(self.open_at(from));
        up(self.open_at(to));
        if from.state != to.state {
            up_total(&self.entered[to.state as usize]);
        }
        match (from.is_awaited, to.is_awaited) {
            (false, true) => up_total(&self.came),
            (true, false) => up_total(&self.went),
            _ => {}
        }
    }

    pub(crate) fn came(&self) -> u64 {
        self.came.load(Relaxed)
    }

    pub(crate) fn went(&self) -> u64 {
        self.went.load(Relaxed)
    }

    /// How many of the connections counted here completion waits for.
    #[inline]
    pub(crate) fn awaited(&self) -> u64 {
        self.came().wrapping_sub(self.went())
    }

    /// All open connections, excluded ones too.
    pub(crate) fn open(&self) -> u64 {
        let open = self.open.iter().flatten();
        open.map(|counter| u64::from(counter.load(Relaxed))).sum()
    }

    /// Open connections in `state`, by protocol.
    pub(crate) fn open_in(&self, state: ConnState) -> [u64; ConnProtocol::COUNT] {
        self.open[state as usize]
            .each_ref()
            .map(|counter| u64::from(counter.load(Relaxed)))
    }

    /// How many times a connection has entered `state`.
    pub(crate) fn entered(&self, state: ConnState) -> u64 {
        self.entered[state as usize].load(Relaxed)
    }
}

/// How many connections ended for which reason, in one shard. Written under the shard's lock, and
/// Relaxed throughout, as [`Counters`].
#[derive(Debug, Default)]
pub(crate) struct Reasons([AtomicU64; CloseReason::COUNT]);

impl Reasons {
    pub(crate) fn reset(&self) {
        self.0.iter().for_each(|counter| counter.store(0, Relaxed));
    }

    #[inline]
    pub(crate) fn count(&self, reason: CloseReason) {
        up_total(&self.0[reason as usize]);
    }

    pub(crate) fn of(&self, reason: CloseReason) -> u64 {
        self.0[reason as usize].load(Relaxed)
    }
}
