//! The begun drain: the owner of time drives it.

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use drain_sync::{Mutex, Waiter, get_mut, lock};

use crate::DrainSignal;
use crate::engine;

/// What to do after [`Draining::advance`].
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Advance {
    /// When to call again at the latest; `None`: nothing is left to come.
    pub next: Option<Instant>,
    /// More waits are due now: let other tasks run, then call again.
    pub more: bool,
}

/// A begun drain. It does nothing by itself: [`advance`](Self::advance) it at the times it asks
/// for, await `pace` (feature `tokio`), or let drain-tree's `DrainSequence` do so.
///
/// It derefs to its [`DrainSignal`], which opens watches and answers questions.
///
/// Clones drive the same drain; everything they do is idempotent. Dropping all of them leaves the
/// drain begun: no more slots come, nothing is closed, [`DrainDecision`](crate::DrainDecision) goes
/// on answering with what had come by then.
pub struct Draining {
    signal: DrainSignal,
    /// Of [`wake_on_change`](Self::wake_on_change).
    waiter: Mutex<Waiter>,
}

impl Draining {
    pub(crate) fn new(signal: DrainSignal) -> Self {
        Self {
            signal,
            waiter: Mutex::new(Waiter::default()),
        }
    }

    /// Moves the drain on to `now` and wakes at most 32 of the waits that are due: those whose
    /// slot, `finish_before` or deadline has come.
    ///
    /// Several tasks may do so at once, each with a clone: a thread begins with the waits of its
    /// own shard, so that two threads wake almost twice as many in the same time.
    ///
    /// `now` may repeat or go back; the drain does not.
    pub fn advance(&self, now: Instant) -> Advance {
        engine::advance(&self.drain, now)
    }

    /// A drain in direction [`InboundOnly`](crate::DrainDirection::InboundOnly) becomes one in
    /// direction [`All`](crate::DrainDirection::All). Returns `true` if it was narrower before; a
    /// drain never narrows.
    ///
    /// A second event is published in one store, with the start, the deadline and everything else
    /// of the first: a connection already signaled keeps its slot, and the newly concerned ones
    /// whose slot has passed are signaled by the next [`advance`](Self::advance), the others at
    /// their slot. A drain that was completed in its narrower direction goes on if a connection is
    /// left in the wider one.
    pub fn widen(&self) -> bool {
        self.drain.widen()
    }

    /// The deadline comes nearer; a later one than the present changes nothing. A drain that had
    /// none gets one.
    pub fn bring_forward(&self, deadline: Instant) {
        self.drain.bring_forward(deadline);
    }

    /// How many watches are open that this drain concerns.
    pub fn concerned_watches(&self) -> usize {
        self.drain.concerned_watches()
    }

    /// Refuses new watches from now on, also if some are open.
    pub fn complete(&self) {
        self.drain.complete(true);
    }

    /// Completes the drain if no watch is left. Whether it is completed.
    pub fn complete_if_empty(&self) -> bool {
        self.drain.complete(false)
    }

    /// Registers `waker` for the moment when the drain may have become empty, its deadline has
    /// moved, a slot has come nearer, or it is completed. Register first, look afterwards.
    ///
    /// Each clone has one registration, which goes with it: the last waker that was registered,
    /// until it has been woken.
    pub fn wake_on_change(&self, waker: &Waker) {
        let (waiters, waker) = (&self.drain.state.waiters, waker.clone());
        let replaced = waiters.put(&mut lock(&self.waiter), waker);
        drop(replaced);
    }
}

impl Deref for Draining {
    type Target = DrainSignal;

    fn deref(&self) -> &DrainSignal {
        &self.signal
    }
}

impl Clone for Draining {
    fn clone(&self) -> Self {
        Self::new(self.signal.clone())
    }
}

impl Drop for Draining {
    fn drop(&mut self) {
        let Self { signal, waiter } = self;
        signal.drain.state.waiters.remove(get_mut(waiter));
    }
}

impl fmt::Debug for Draining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Draining").field(&self.signal).finish()
    }
}

/// Resolves when a drain has begun and its last watch is dropped.
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Drained(pub(crate) Draining);

impl Future for Drained {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self(Draining { signal, waiter }) = self.get_mut();
        let drain = &signal.drain;
        drain.state.waiters.register(get_mut(waiter), cx.waker());
        if drain.is_drained() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}
