//! One connection's view of the drain: what its task waits on, what request handlers, services and closers ask.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::Connection;
use crate::phase::at;
use crate::{DrainDecision, DrainEvent, Goodbye, Phase, Reached, Signaled, decision};

/// A connection's view of its drain: may I go on, is it my turn, how long have I got?
///
/// Cheap to clone. It does not keep the drain open; the [`DrainWatch`](crate::DrainWatch) does. A handle outlives the
/// connection harmlessly: it goes on answering. Any number of tasks may wait on one handle.
pub struct DrainHandle {
    connection: Connection,
}

impl DrainHandle {
    #[inline]
    pub(crate) const fn new(connection: Connection) -> Self {
        Self { connection }
    }

    #[inline]
    pub(crate) const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Whether a drain that concerns this connection has begun: one atomic load. It says nothing about this connection's
    /// turn; see [`drain_close`](DrainDecision::drain_close).
    #[inline]
    pub fn is_draining(&self) -> bool {
        let word = self.connection.shard.state.word();
        !word.is_idle() && self.connection.is_concerned(word)
    }

    /// The facts of the drain, once one has begun that concerns this connection.
    pub fn event(&self) -> Option<Arc<DrainEvent>> {
        if !self.is_draining() {
            return None;
        }
        self.connection.shard.state.lock().event.clone()
    }

    /// When this connection must be gone. It may come nearer from one call to the next, never move away.
    pub fn deadline(&self) -> Option<Instant> {
        if !self.is_draining() {
            return None;
        }
        self.connection.shard.state.lock().deadline()
    }

    /// How far the connection has come.
    pub fn phase(&self) -> Phase {
        self.connection.phase()
    }

    /// Resolves at this connection's slot, or when it is notified by itself.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again at any time; once the slot has come it resolves at once.
    pub const fn signaled(&self) -> Signaled<&Self> {
        Signaled::new(self)
    }

    /// Resolves shortly before the deadline (`ladder.finish_before`).
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again at any time.
    pub const fn finishing(&self) -> Reached<&Self> {
        Reached::new(self, Phase::Finishing)
    }

    /// Resolves at the deadline.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again at any time.
    pub const fn expired(&self) -> Reached<&Self> {
        Reached::new(self, Phase::Expired)
    }

    /// This connection's slot is now, whether a drain is on or not: a failed health check, a maximum age, an operator.
    /// Returns `true` if this call was the first to say so.
    pub fn start_now(&self) -> bool {
        self.connection.signal()
    }

    /// This connection's own deadline is now. Returns `true` if this call was the first to say so.
    ///
    /// The driver ([`drive`](crate::drive)) aborts the connection, polls it a few times more and drops it: it waits for
    /// nobody, but what the abort has to say gets its chance.
    pub fn force(&self) -> bool {
        self.connection.force()
    }

    /// Whether [`force`](Self::force) was called.
    pub fn is_forced(&self) -> bool {
        self.connection.own_phase() == Phase::Overdue
    }

    /// What a connection learns at its slot. One lock: a million may ask at once.
    pub(crate) fn goodbye(&self) -> Goodbye {
        let published = self.connection.shard.state.lock();
        let event = published.event.clone().filter(|_| self.is_draining());
        let (pace, deadline) = (published.pace, published.deadline());
        drop(published);
        Goodbye {
            told_at: event.as_ref().and_then(|event| at(event.start, pace)),
            deadline: deadline.filter(|_| event.is_some()),
            event,
        }
    }
}

impl DrainDecision for DrainHandle {
    /// Whether this connection's turn has come: one load while nothing drains. The first `true` also tells the
    /// connection's driver, so that a drain learnt of by asking and one pushed at the slot start the same goodbye once.
    #[inline]
    fn drain_close(&self) -> bool {
        let Connection { shard, slot, .. } = &self.connection;
        let word = shard.state.word();
        let told = self.connection.own_phase() > Phase::Open;
        if told || !word.concerns(slot.drained_by()) {
            return told;
        }
        let leaves = if word.is_envoy() {
            let clock = shard.state.clock();
            let drain_time = Duration::from_micros(clock.drain_time);
            let drain = Some((word.strategy(), drain_time, Duration::from_micros(clock.pace)));
            let sample = || fastrand::u64(..);
            decision::should_drain_close(crate::DrainType::ModifyOnly, false, drain, ENVOY_RAMP, sample)
        } else {
            slot.response_leaves(word)
        };
        if leaves {
            self.start_now();
        }
        leaves
    }

    fn progress(&self) -> Option<u16> {
        let state = &self.connection.shard.state;
        let word = state.word();
        if word.is_envoy() || !self.connection.is_concerned(word) {
            return None;
        }
        let clock = state.clock();
        let share = u128::from(clock.pace) * u128::from(u16::MAX) / u128::from(clock.drain_time.max(1));
        Some(u16::try_from(share).unwrap_or(u16::MAX))
    }

    fn leave_early(&self) -> bool {
        self.start_now();
        true
    }
}

/// The share of the drain time after which every response of [`Envoy140`](crate::DrainSchedule::Envoy140) says goodbye.
const ENVOY_RAMP: f64 = 0.5;

impl Clone for DrainHandle {
    /// Another handle of the same connection, with the same slot.
    fn clone(&self) -> Self {
        Self::new(self.connection.share())
    }
}

impl AsRef<Self> for DrainHandle {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl fmt::Debug for DrainHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainHandle")
            .field("phase", &self.phase())
            .field("place", &self.connection.slot.place())
            .field("event", &self.event())
            .finish_non_exhaustive()
    }
}
