//! How many, by state and protocol: one cell per shard, written only under that shard's lock, summed by readers.

use crate::{
    labels::{CloseReason, ConnProtocol},
    state::ConnState,
};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Where one connection stands in the counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) state: ConnState,
    pub(crate) protocol: ConnProtocol,
    /// Whether it holds up completion: its label is not excluded.
    pub(crate) held: bool,
}

/// One shard's share of the counts. The shard's lock makes its holder the only writer, so adding is a load and a
/// store; readers sum the cells without a lock and may be a few connections behind.
#[derive(Debug, Default)]
#[repr(align(128))] // two cache lines: neighbours are written by other threads
pub(crate) struct Cell {
    /// Who is here, by state and protocol.
    here: [[AtomicU32; ConnProtocol::COUNT]; 4],
    entered: [AtomicU64; 4],
    /// Connections that hold up completion, as they came and went. Two counts that only grow instead of one that moves: see
    /// [`Registry::at_most`](crate::registry::Registry::at_most).
    came: AtomicU64,
    went: AtomicU64,
}

#[inline]
fn up(count: &AtomicU32) {
    count.store(count.load(Relaxed).wrapping_add(1), Relaxed);
}

#[inline]
fn down(count: &AtomicU32) {
    count.store(count.load(Relaxed).wrapping_sub(1), Relaxed);
}

#[inline]
fn up_total(count: &AtomicU64) {
    count.store(count.load(Relaxed).wrapping_add(1), Relaxed);
}

impl Cell {
    pub(crate) fn reset(&self) {
        let here = self.here.iter().flatten();
        here.for_each(|count| count.store(0, Relaxed));
        let totals = self.entered.iter().chain([&self.came, &self.went]);
        totals.for_each(|count| count.store(0, Relaxed));
    }

    #[inline]
    fn here(&self, place: Place) -> &AtomicU32 {
        &self.here[place.state as usize][place.protocol as usize]
    }

    #[inline]
    pub(crate) fn joined(&self, place: Place) {
        up(self.here(place));
        up_total(&self.entered[place.state as usize]);
        if place.held {
            up_total(&self.came);
        }
    }

    /// It is not here any more: it has ended, or belongs to another filter chain now.
    #[inline]
    pub(crate) fn left(&self, place: Place) {
        down(self.here(place));
        if place.held {
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

    pub(crate) fn moved(&self, from: Place, to: Place) {
        down(self.here(from));
        up(self.here(to));
        if from.state != to.state {
            up_total(&self.entered[to.state as usize]);
        }
        match (from.held, to.held) {
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

    /// How many of this shard's connections here hold up completion.
    #[inline]
    pub(crate) fn held(&self) -> u64 {
        self.came().wrapping_sub(self.went())
    }

    /// All connections here, excluded ones too.
    pub(crate) fn open(&self) -> u32 {
        let here = self.here.iter().flatten();
        here.map(|count| count.load(Relaxed)).sum()
    }
}

/// How many connections ended for which reason, one shard's share.
#[derive(Debug, Default)]
pub(crate) struct Reasons([AtomicU64; CloseReason::COUNT]);

impl Reasons {
    pub(crate) fn reset(&self) {
        self.0.iter().for_each(|count| count.store(0, Relaxed));
    }

    #[inline]
    pub(crate) fn count(&self, reason: CloseReason) {
        up_total(&self.0[reason as usize]);
    }

    pub(crate) fn of(&self, reason: CloseReason) -> u64 {
        self.0[reason as usize].load(Relaxed)
    }
}

/// How many connections there are in one listener version, one filter chain or the whole tracker, read at one
/// time without stopping anyone.
///
/// Reading costs two cache lines per shard, however many connections there are. While connections come and go the
/// numbers may differ from each other by those in motion.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnCounts {
    /// All open connections, excluded ones too.
    pub total: u64,
    /// Those that hold up completion: all but the excluded.
    pub held: u64,
    states: [u64; 4],
    protocols: [u64; ConnProtocol::COUNT],
    entered: [u64; 4],
}

impl ConnCounts {
    pub(crate) fn sum<'a>(cells: impl Iterator<Item = &'a Cell>) -> Self {
        let mut counts = Self::default();
        let (mut came, mut went) = (0, 0);
        for cell in cells {
            for (state, by_protocol) in counts.states.iter_mut().zip(&cell.here) {
                for (protocol, here) in counts.protocols.iter_mut().zip(by_protocol) {
                    let here = u64::from(here.load(Relaxed));
                    *state += here;
                    *protocol += here;
                }
            }
            for (sum, part) in counts.entered.iter_mut().zip(&cell.entered) {
                *sum = sum.wrapping_add(part.load(Relaxed));
            }
            // In this order: a connection that ends meanwhile still counts, and nothing falls below zero.
            went += cell.went();
            came += cell.came();
        }
        counts.total = counts.states.iter().sum();
        counts.held = came.saturating_sub(went);
        counts
    }

    /// How many are in `state` now.
    #[must_use]
    pub const fn state(&self, state: ConnState) -> u64 {
        self.states[state as usize]
    }

    /// How many speak `protocol` now.
    #[must_use]
    pub const fn protocol(&self, protocol: ConnProtocol) -> u64 {
        self.protocols[protocol as usize]
    }

    /// How many times a connection has entered `state`, ever: opened for [`ConnState::Active`], ended for
    /// [`ConnState::Closed`]. Only grows; feeds `orion_connection_state_transitions_total`.
    ///
    /// In the counts of a filter chain a connection enters the state that it has when it is attached.
    #[must_use]
    pub const fn transitions(&self, to: ConnState) -> u64 {
        self.entered[to as usize]
    }
}
