//! One connection's view of the drain, without being counted: what request handlers, services and closers hold.

use std::fmt;
use std::sync::Arc as StdArc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::flags::Flags;
use crate::phase::{NEVER, Phase, Seat};
use crate::shard::{NO_ENTRY, Shard, State};
use crate::sync::{Arc, AtomicU32, OnceLock, Ordering, fence};
use crate::wait::{Reached, Signaled};
use crate::{DrainDecision, DrainEvent, Goodbye};

/// A connection's view of its drain: may I go on, is it my turn, how long have I got?
///
/// Cheap to clone. It does not hold the drain open; the [`DrainWatch`](crate::DrainWatch) does. A handle outlives the
/// connection harmlessly: it goes on answering.
///
/// One task at a time waits on a handle; for another task, clone it.
pub struct DrainHandle {
    pub(crate) shard: Arc<Shard>,
    seat: Seat,
    entry: AtomicU32,
    flags: OnceLock<Arc<Flags>>,
}

impl DrainHandle {
    pub(crate) fn new(shard: Arc<Shard>, seat: Seat) -> Self {
        Self {
            shard,
            seat,
            entry: AtomicU32::new(NO_ENTRY),
            flags: OnceLock::new(),
        }
    }

    /// Whether the drain has begun: one atomic load. It says nothing about this connection's turn; see
    /// [`drain_close`](DrainDecision::drain_close).
    pub fn is_draining(&self) -> bool {
        self.shard.word().is_draining()
    }

    /// The facts of the drain, once it has begun.
    pub fn event(&self) -> Option<StdArc<DrainEvent>> {
        if !self.is_draining() {
            return None;
        }
        self.shard.event().cloned()
    }

    /// When this connection must be gone. It may come nearer from one call to the next, never move away.
    pub fn deadline(&self) -> Option<Instant> {
        let event = self.event()?;
        let deadline = self.shard.deadline();
        (deadline != NEVER).then(|| event.start + Duration::from_micros(deadline))
    }

    /// How far the connection has come.
    pub fn phase(&self) -> Phase {
        let word = self.shard.word();
        let drain = match self.shard.event() {
            Some(event) if word.state() != State::NotDraining => {
                self.seat.phase(event, self.shard.deadline(), word.pace())
            }
            _ => Phase::Open,
        };
        match self.flags.get() {
            Some(flags) if flags.forced() => Phase::Overdue,
            Some(flags) if flags.told() => drain.max(Phase::Signaled),
            _ => drain,
        }
    }

    /// Resolves when the connection has moved on from `after`.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost by polling once and never again; the waker is dropped with the handle or replaced by the next
    /// poll.
    pub fn poll_phase(&self, cx: &mut Context<'_>, after: Phase) -> Poll<Phase> {
        let phase = self.phase();
        if phase > after {
            return Poll::Ready(phase);
        }
        let flags = self.flags.get();
        if let Some(flags) = flags {
            flags.register(cx.waker());
        }
        let entry = self.entry.load(Ordering::Relaxed);
        let (parked, changed) = self
            .shard
            .park(entry, self.seat, phase, cx.waker(), || self.phase() != phase);
        if parked != entry {
            self.entry.store(parked, Ordering::Relaxed);
        }
        if flags.is_none() {
            // Pairs with the fence in `flags`: either this look finds the flags, or their maker finds this entry.
            fence(Ordering::SeqCst);
        }
        let phase = self.phase();
        if phase > after {
            return Poll::Ready(phase);
        }
        if changed || (flags.is_none() && self.flags.get().is_some()) {
            // It moved on while it parked, though not as far as asked for; or it must register with the new flags.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Resolves at this connection's slot, or when it is told to start now.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again at any time; once the slot has come it resolves at once.
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
        self.flags().tell()
    }

    /// This connection's own deadline is now. Returns `true` if this call was the first to say so.
    ///
    /// The driver ([`drive`](crate::drive)) aborts the connection and drops it.
    pub fn force(&self) -> bool {
        self.flags().force()
    }

    /// Whether [`force`](Self::force) was called.
    pub fn is_forced(&self) -> bool {
        self.flags.get().is_some_and(|flags| flags.forced())
    }

    /// What a connection is told at its slot.
    pub(crate) fn goodbye(&self) -> Goodbye {
        let event = self.event();
        let told_at = event
            .as_ref()
            .map(|event| event.start + Duration::from_micros(self.shard.word().pace()));
        Goodbye {
            event,
            told_at,
            deadline: self.deadline(),
        }
    }

    fn flags(&self) -> &Arc<Flags> {
        if let Some(flags) = self.flags.get() {
            return flags;
        }
        let flags = self.flags.get_or_init(|| Arc::new(Flags::default()));
        // Pairs with the fence in `poll_phase`. A wait that parked before the flags existed must look again.
        fence(Ordering::SeqCst);
        let entry = self.entry.load(Ordering::Relaxed);
        if entry != NO_ENTRY {
            self.shard.wake_entry(entry);
        }
        flags
    }
}

impl DrainDecision for DrainHandle {
    /// Whether this connection's turn has come: one load while nothing drains. The first `true` also tells the
    /// connection's driver, so that a drain learnt of by asking and one pushed at the slot start the same goodbye once.
    fn drain_close(&self) -> bool {
        let word = self.shard.word();
        let told = self
            .flags
            .get()
            .is_some_and(|flags| flags.told() || flags.forced());
        if told || !word.is_draining() {
            return told;
        }
        let Some(event) = self.shard.event() else {
            return false;
        };
        let leaves = self
            .seat
            .response_leaves(event, word.pace(), || fastrand::u64(..));
        if leaves {
            self.start_now();
        }
        leaves
    }
}

impl Clone for DrainHandle {
    /// Another handle of the same connection, with the same slot.
    fn clone(&self) -> Self {
        let flags = OnceLock::new();
        flags.get_or_init(|| Arc::clone(self.flags()));
        Self {
            shard: Arc::clone(&self.shard),
            seat: self.seat,
            entry: AtomicU32::new(NO_ENTRY),
            flags,
        }
    }
}

impl Drop for DrainHandle {
    fn drop(&mut self) {
        let entry = self.entry.load(Ordering::Relaxed);
        if entry != NO_ENTRY {
            self.shard.release(entry);
        }
    }
}

impl fmt::Debug for DrainHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainHandle")
            .field("phase", &self.phase())
            .field("place", &self.seat.place)
            .field("event", &self.event())
            .finish_non_exhaustive()
    }
}
