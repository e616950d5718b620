//! One connection's view of the drain: what its task waits on, what request handlers, services and closers ask.

use std::fmt;
use std::sync::Arc as StdArc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::berth::Berth;
use crate::conn::Conn;
use crate::phase::{NEVER, Phase};
use crate::seat::Seat;
use crate::shard::Shard;
use crate::sync::{OnceRef, lock};
use crate::wait::{Reached, Signaled};
use crate::word::Word;
use crate::{DrainDecision, DrainEvent, Goodbye, decision};

/// A connection's view of its drain: may I go on, is it my turn, how long have I got?
///
/// Cheap to clone. It does not hold the drain open; the [`DrainWatch`](crate::DrainWatch) does. A handle outlives the
/// connection harmlessly: it goes on answering.
///
/// One task at a time waits on a handle; for another task, clone it.
pub struct DrainHandle {
    pub(crate) shard: &'static Shard,
    /// Its place in the queue, and where and for whom it is parked.
    pub(crate) berth: Berth,
    /// What was said to this connection alone; `None` as long as there is but one handle and nothing was said.
    pub(crate) conn: OnceRef<'static, Conn>,
}

/// How a handle keeps its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Hold {
    /// It is a watcher's, and counted.
    Watcher,
    /// It is a watcher's that a drain of inbound listeners leaves alone, counted apart.
    Outside,
    /// It is a mere handle.
    Handle,
}

impl DrainHandle {
    #[inline]
    pub(crate) fn new(shard: &'static Shard, seat: Seat, hold: Hold) -> Self {
        Self {
            shard,
            berth: Berth::new(seat.tagged(hold as u32)),
            conn: OnceRef::new(),
        }
    }

    #[inline]
    pub(crate) const fn hold(&self) -> Hold {
        match self.berth.seat.tag() {
            0 => Hold::Watcher,
            1 => Hold::Outside,
            _ => Hold::Handle,
        }
    }

    /// Whether a drain that concerns this connection has begun: one atomic load. It says nothing about this connection's
    /// turn; see [`drain_close`](DrainDecision::drain_close).
    #[inline]
    pub fn is_draining(&self) -> bool {
        let word = self.shard.word();
        !word.is_idle() && self.berth.seat.is_concerned(word)
    }

    /// The facts of the drain, once one has begun that concerns this connection.
    pub fn event(&self) -> Option<StdArc<DrainEvent>> {
        if !self.is_draining() {
            return None;
        }
        lock(&self.shard.home.published).event.clone()
    }

    /// When this connection must be gone. It may come nearer from one call to the next, never move away.
    pub fn deadline(&self) -> Option<Instant> {
        if !self.is_draining() {
            return None;
        }
        self.shard.home.deadline()
    }

    /// How far the connection has come.
    pub fn phase(&self) -> Phase {
        self.phase_at(self.shard.word()).0
    }

    /// How far the connection has come, and how far of that the drain has brought it.
    #[inline]
    pub(crate) fn phase_at(&self, word: Word) -> (Phase, Phase) {
        let brought = self.shard.phase(word, self.berth.seat);
        let phase = match self.conn.get() {
            None => brought,
            Some(conn) if conn.forced() => Phase::Overdue,
            Some(conn) if conn.told() => brought.max(Phase::Signaled),
            Some(_) => brought,
        };
        (phase, brought)
    }

    /// Resolves when the connection has moved on from `after`.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost by polling once and never again; the waker is dropped with the handle or replaced by the next
    /// poll.
    #[inline]
    pub fn poll_phase(&self, cx: &mut Context<'_>, after: Phase) -> Poll<Phase> {
        // What every wake-up for another reason finds: nothing has begun, nothing was said, and this task is parked.
        if self.shard.word().is_idle()
            && self.conn.get().is_none_or(|conn| !conn.told())
            && self.berth.is_parked(self.shard, Phase::Open, cx.waker())
        {
            return Poll::Pending;
        }
        self.look_and_park(cx, after)
    }

    fn look_and_park(&self, cx: &Context<'_>, after: Phase) -> Poll<Phase> {
        let (phase, brought) = self.phase_at(self.shard.word());
        if phase > after {
            Poll::Ready(phase)
        } else if self.berth.is_parked(self.shard, brought, cx.waker()) {
            Poll::Pending
        } else {
            self.park(cx.waker(), after)
        }
    }

    /// Resolves at this connection's slot, or when it is told to start now.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again at any time; once the slot has come it resolves at once.
    #[inline]
    pub const fn signaled(&self) -> Signaled<'_> {
        Signaled::new(self)
    }

    /// Resolves shortly before the deadline (`ladder.finish_before`).
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again at any time.
    pub const fn finishing(&self) -> Reached<'_> {
        Reached::new(self, Phase::Finishing)
    }

    /// Resolves at the deadline.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again at any time.
    pub const fn expired(&self) -> Reached<'_> {
        Reached::new(self, Phase::Expired)
    }

    /// This connection's slot is now, whether a drain is on or not: a failed health check, a maximum age, an operator.
    /// Returns `true` if this call was the first to say so.
    pub fn start_now(&self) -> bool {
        self.say(Conn::tell)
    }

    /// This connection's own deadline is now. Returns `true` if this call was the first to say so.
    ///
    /// The driver ([`drive`](crate::drive)) aborts the connection, polls it a few times more and drops it: it waits for
    /// nobody, but what the abort has to say gets its chance.
    pub fn force(&self) -> bool {
        self.say(Conn::force)
    }

    /// Whether [`force`](Self::force) was called.
    pub fn is_forced(&self) -> bool {
        self.conn.get().is_some_and(Conn::forced)
    }

    fn say(&self, raise: impl FnOnce(&Conn) -> bool) -> bool {
        let conn = self.shared_conn();
        let first = raise(conn);
        if first {
            self.shard.wake_conn(conn);
        }
        first
    }

    /// What a connection is told at its slot. One lock: a million may ask at once.
    pub(crate) fn goodbye(&self) -> Goodbye {
        let published = lock(&self.shard.home.published);
        let event = published.event.clone().filter(|_| self.is_draining());
        let (pace, deadline) = (published.pace, published.deadline);
        drop(published);
        let at = |start: Instant, micros| start + Duration::from_micros(micros);
        Goodbye {
            told_at: event.as_ref().map(|event| at(event.start, pace)),
            deadline: event
                .as_ref()
                .filter(|_| deadline != NEVER)
                .map(|event| at(event.start, deadline)),
            event,
        }
    }

    /// Gives up what is not counted as a watcher.
    #[inline(never)]
    fn let_go(&self) {
        match self.hold() {
            Hold::Outside => self.shard.leave_outside(),
            _ => _ = self.shard.release(),
        }
    }

    /// Another handle of the same connection, with the same slot.
    pub(crate) fn share(&self, hold: Hold) -> Self {
        let conn = self.shared_conn();
        conn.share();
        // What this handle holds cannot go away meanwhile, so neither is asked whether it still may.
        match hold {
            Hold::Watcher => _ = self.shard.count().enter(),
            Hold::Outside => _ = self.shard.enter_outside(),
            Hold::Handle => self.shard.count().hold(),
        }
        let handle = Self::new(self.shard, self.berth.seat, hold);
        // It was empty a line above.
        handle.conn.set(conn).ok();
        handle
    }
}

impl DrainDecision for DrainHandle {
    /// Whether this connection's turn has come: one load while nothing drains. The first `true` also tells the
    /// connection's driver, so that a drain learnt of by asking and one pushed at the slot start the same goodbye once.
    #[inline]
    fn drain_close(&self) -> bool {
        let word = self.shard.word();
        let told = self.conn.get().is_some_and(Conn::told);
        if told || !self.berth.seat.is_concerned(word) {
            return told;
        }
        let leaves = if word.is_envoy() {
            let clock = self.shard.clock();
            let drain_time = Duration::from_micros(clock.drain_time);
            let drain = Some((word.strategy(), drain_time, Duration::from_micros(clock.pace)));
            let sample = || fastrand::u64(..);
            decision::should_drain_close(crate::DrainType::ModifyOnly, false, drain, ENVOY_RAMP, sample)
        } else {
            self.berth.seat.response_leaves(word)
        };
        if leaves {
            self.start_now();
        }
        leaves
    }

    fn progress(&self) -> Option<u16> {
        let word = self.shard.word();
        if word.is_envoy() || !self.is_draining() {
            return None;
        }
        let clock = self.shard.clock();
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
        self.share(Hold::Handle)
    }
}

impl Drop for DrainHandle {
    #[inline]
    fn drop(&mut self) {
        if self.berth.was_parked() || self.conn.get().is_some() {
            self.leave_berth();
        }
        if matches!(self.hold(), Hold::Watcher) {
            self.shard.leave();
        } else {
            self.let_go();
        }
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
            .field("place", &self.berth.seat.place())
            .field("event", &self.event())
            .finish_non_exhaustive()
    }
}
