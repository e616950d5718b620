//! The drain sequence: paces the slots of everything that drains together, and completes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use drain_signal::{DrainDirection, DrainEvent, DrainReason};
use drain_sync::Waiter;

use crate::engine::sequence::{Sequence, Turn};
use crate::timer::Timer;

/// How a drain came to its end.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DrainEnding {
    /// The last connection is gone.
    Empty,
    /// The deadline: what was left was closed.
    Deadline,
    /// The drain time is over. The connections that are left stay open.
    TimeOver,
}

/// What became of a drain.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainOutcome {
    /// Why it was begun.
    pub reason: DrainReason,
    /// Which listeners it covered.
    pub direction: DrainDirection,
    /// How it came to its end.
    pub ending: DrainEnding,
    /// From start to end.
    pub took: Duration,
    /// How many watches ([`DrainWatch`](drain_signal::DrainWatch)) that the drain concerns were
    /// open at the end of the drain time: connections, if each has one.
    pub left: usize,
}

/// Paces a drain and resolves when it is over.
///
/// Slots come only while a sequence of the drain is polled; spawn it, or poll it in any task.
/// Sequences that joined the same drain all see its outcome, share its work, and any one of them
/// keeps it going. A poll looks at no more than 64 nodes and wakes some 32 connections, so that no
/// other task of its runtime waits; nodes without connections are not looked at.
///
/// It ends with the last connection (after the minimum time, if the cause has one), or at the
/// deadline; a drain without deadline ends when its drain time is over.
///
/// # Cancel safety
///
/// Dropping it leaves the drain begun, without further slots or deadline, until
/// [`start_drain_sequence`](crate::DrainManager::start_drain_sequence) is called again, on the same
/// runtime or another: that joins.
///
/// # Panics
///
/// When polled outside a tokio runtime with time enabled. [`poll_at`](Self::poll_at) needs none.
#[must_use = "slots come only while the sequence is polled"]
#[derive(Debug)]
pub struct DrainSequence {
    sequence: Arc<Sequence>,
    waiter: Waiter,
    timer: Timer,
}

impl DrainSequence {
    pub(crate) fn new(sequence: Arc<Sequence>) -> Self {
        Self {
            sequence,
            waiter: Waiter::default(),
            timer: Timer::new(),
        }
    }

    #[cfg(test)]
    pub(crate) fn looks(&self) -> usize {
        self.sequence.looks()
    }

    /// The facts of the drain.
    pub fn event(&self) -> &DrainEvent {
        &self.sequence.event
    }

    /// How many connections are still open in it: asks every node with connections.
    pub fn open_watches(&self) -> usize {
        self.sequence.open_watches()
    }

    /// Whether no connection is open in it, which takes no longer in a big tree.
    pub fn is_empty(&self) -> bool {
        self.sequence.has_no_watches()
    }

    /// Advances the drain to `now`, for callers that keep time themselves: the outcome, once it is
    /// over.
    ///
    /// Otherwise call again at the instant it leaves in `next` at the latest, or when the waker of
    /// `cx` is woken.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::task::{Context, Poll, Waker};
    /// use std::time::Duration;
    /// use drain_tree::{DrainManager, DrainReason, DrainSettings, DrainStart};
    ///
    /// let listener = DrainManager::root(DrainSettings::default());
    /// let connection = listener.watch()?;
    /// let mut sequence = listener.start_drain_sequence(DrainStart::new(DrainReason::ListenerModify));
    /// let (start, mut next) = (sequence.event().start, None);
    /// let mut cx = Context::from_waker(Waker::noop());
    /// while sequence.poll_at(start + Duration::from_secs(150), &mut cx, &mut next).is_pending() && next.is_none() {}
    /// assert!(connection.leave_if_due());
    /// # use drain_tree::DrainDecision;
    /// # Ok::<(), drain_tree::DrainCompleted>(())
    /// ```
    pub fn poll_at(
        &mut self,
        now: Instant,
        cx: &mut Context<'_>,
        next: &mut Option<Instant>,
    ) -> Poll<DrainOutcome> {
        // Register first, look afterwards.
        self.sequence.waiters.register(&mut self.waiter, cx.waker());
        *next = None;
        match self.sequence.turn(now) {
            Turn::Over(outcome) => return Poll::Ready(outcome),
            Turn::Sleep(at) => *next = Some(at),
            Turn::Again => cx.waker().wake_by_ref(),
        }
        Poll::Pending
    }
}

impl Future for DrainSequence {
    type Output = DrainOutcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<DrainOutcome> {
        loop {
            let now = tokio::time::Instant::now().into_std();
            let mut next = None;
            if let Poll::Ready(outcome) = self.poll_at(now, cx, &mut next) {
                return Poll::Ready(outcome);
            }
            let Some(next) = next else {
                return Poll::Pending;
            };
            if self.timer.poll_until(next, cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl Drop for DrainSequence {
    fn drop(&mut self) {
        self.sequence.waiters.remove(&mut self.waiter);
        // What this one was about to do, another that joined has to do.
        self.sequence.waiters.wake_all();
    }
}
