//! One connection's view of the drain: what its task waits on, what request handlers, services and
//! closers ask.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use drain_sync::MutexGuard;

use crate::engine::{Clock, Connection, FORCED, Published, SIGNALED};
use crate::{DrainDecision, DrainEvent, Goodbye, Phase, PhaseWait, Reached};

/// A connection's view of its drain: whether one has begun, whether the connection's slot has come,
/// and when its deadline is.
///
/// Cheap to clone. It does not keep the drain open; the [`DrainWatch`](crate::DrainWatch) does. A
/// handle outlives the connection harmlessly: it goes on answering. Any number of tasks may wait on
/// one handle. A clone is another handle of the same connection, with the same slot.
#[derive(Clone)]
pub struct DrainHandle {
    pub(crate) connection: Connection,
}

impl DrainHandle {
    /// Whether a drain that concerns this connection has begun: one atomic load. Whether this
    /// connection's slot has come is [`is_due`](DrainDecision::is_due).
    #[inline]
    pub fn is_draining(&self) -> bool {
        self.connection.word().is_some()
    }

    /// The facts of the drain, once one has begun that concerns this connection.
    pub fn event(&self) -> Option<Arc<DrainEvent>> {
        self.published()?.event.clone()
    }

    /// When this connection must be gone. It may come nearer from one call to the next, never move
    /// away.
    pub fn deadline(&self) -> Option<Instant> {
        self.published()?.deadline()
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
    pub const fn signaled(&self) -> Reached<&Self> {
        Reached::new(self, Phase::Open)
    }

    /// Resolves shortly before the deadline (`close_steps.finish_before`).
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again at any time.
    pub const fn finishing(&self) -> Reached<&Self> {
        Reached::new(self, Phase::Signaled)
    }

    /// Resolves at the deadline.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again at any time.
    pub const fn expired(&self) -> Reached<&Self> {
        Reached::new(self, Phase::Finishing)
    }

    /// [`signaled`](Self::signaled) that owns its handle, to be put into a task or a collection.
    pub const fn signaled_owned(self) -> Reached {
        Reached::new(self, Phase::Open)
    }

    /// Runs `future` until it is done or the connection's slot comes, whichever is first; `None`:
    /// the slot, and `future` was dropped. `future` is polled first.
    ///
    /// # Cancel safety
    ///
    /// As `future`'s.
    pub async fn run_until_signaled<F: Future>(&self, future: F) -> Option<F::Output> {
        self.run_until(Phase::Open, future).await
    }

    /// Runs `future` until it is done or the deadline comes, as
    /// [`run_until_signaled`](Self::run_until_signaled).
    ///
    /// # Cancel safety
    ///
    /// As `future`'s.
    pub async fn run_until_expired<F: Future>(&self, future: F) -> Option<F::Output> {
        self.run_until(Phase::Finishing, future).await
    }

    async fn run_until<F: Future>(&self, after: Phase, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut wait = PhaseWait::new(self);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => wait.poll_phase(cx, after).map(|_| None),
        })
        .await
    }

    /// This connection's slot is now, whether a drain is on or not: a failed health check, a
    /// maximum age, an operator. Returns `true` if this call was the first to say so.
    pub fn start_now(&self) -> bool {
        self.connection.raise(SIGNALED)
    }

    /// Whether this connection was notified by itself: by [`start_now`](Self::start_now), by a
    /// `true` of [`leave_if_due`](DrainDecision::leave_if_due), or by [`force`](Self::force).
    #[inline]
    pub fn is_started(&self) -> bool {
        self.connection.own_phase() > Phase::Open
    }

    /// This connection's own deadline is now. Returns `true` if this call was the first to say so.
    ///
    /// The driver ([`drive`](crate::drive)) aborts the connection, polls it a few times more and
    /// drops it, so that what the abort has to write is written if the transport takes it at once.
    pub fn force(&self) -> bool {
        self.connection.raise(FORCED)
    }

    /// Whether [`force`](Self::force) was called.
    pub fn is_forced(&self) -> bool {
        self.connection.own_phase() == Phase::Overdue
    }

    fn published(&self) -> Option<MutexGuard<'_, Published>> {
        let is_draining = self.is_draining();
        is_draining.then(|| self.connection.shard.state.lock())
    }

    /// What a connection learns at its slot. One lock, under a drain: a million may ask at once.
    pub(crate) fn goodbye(&self) -> Goodbye {
        let published = self.published();
        Goodbye {
            event: published.as_ref().and_then(|facts| facts.event.clone()),
            deadline: published.and_then(|facts| facts.deadline()),
        }
    }
}

impl DrainDecision for DrainHandle {
    /// One load while nothing drains.
    #[inline]
    fn is_due(&self) -> bool {
        let Connection { shard, slot, .. } = &self.connection;
        let leaves = |word| slot.response_leaves(word, shard.state.clock());
        self.is_started() || self.connection.word().is_some_and(leaves)
    }

    /// One load while nothing drains. The first `true` signals the connection, so that a drain
    /// learnt of by asking and one pushed at the slot begin the same goodbye, once.
    #[inline]
    fn leave_if_due(&self) -> bool {
        self.is_due() && self.leave_early()
    }

    #[inline]
    fn progress(&self) -> Option<u16> {
        self.connection.word().filter(|word| !word.is_envoy())?;
        let Clock { drain_time, pace } = self.connection.shard.state.clock();
        let share = u128::from(pace) * u128::from(u16::MAX) / u128::from(drain_time.max(1));
        Some(u16::try_from(share).unwrap_or(u16::MAX))
    }

    fn leave_early(&self) -> bool {
        self.start_now();
        true
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
