//! The drain sequence: paces the slots of everything that drains together, and completes.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use drain_signal::{DrainDirection, DrainEnd, DrainEvent, DrainReason, Draining};
use pin_project::pin_project;
use tokio::time::Sleep;

use crate::DrainLength;

/// How a drain came to its end.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DrainEnding {
    /// The last connection is gone.
    Empty,
    /// The deadline: what was left was closed.
    Deadline,
    /// The drain time is over and what is left is left alone.
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
    /// How many connections were open at the end of the drain time.
    pub left: usize,
}

/// One start of a drain, shared by all sequences that joined it.
#[derive(Debug)]
pub(crate) struct Run {
    event: DrainEvent,
    minimum: Duration,
    length: DrainLength,
    over: AtomicBool,
    members: Mutex<Members>,
}

#[derive(Debug, Default)]
struct Members {
    draining: Vec<Draining>,
    waiting: Vec<Waker>,
    outcome: Option<DrainOutcome>,
    left_at_deadline: Option<usize>,
}

impl Run {
    pub(crate) fn new(event: DrainEvent, minimum: Duration, length: DrainLength) -> Self {
        Self {
            event,
            minimum,
            length,
            over: AtomicBool::new(false),
            members: Mutex::default(),
        }
    }

    pub(crate) const fn event(&self) -> &DrainEvent {
        &self.event
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    pub(crate) fn add(&self, draining: Draining) {
        self.lock().draining.push(draining);
    }

    /// Whoever paces this run looks again: it has new members.
    pub(crate) fn wake(&self) {
        let waiting = std::mem::take(&mut self.lock().waiting);
        waiting.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the drain ends at the latest, if every node keeps the deadline it has now.
    fn end(&self, members: &Members) -> Instant {
        let latest = members.draining.iter().filter_map(Draining::deadline).max();
        match self.event.end {
            DrainEnd::Close => latest.unwrap_or(self.event.start + self.event.drain_time),
            DrainEnd::Leave => self.event.start + self.event.drain_time,
        }
    }

    /// The outcome, if the drain is over at `now`; otherwise when to look again.
    fn look(&self, members: &mut Members, now: Instant) -> Result<DrainOutcome, Instant> {
        if let Some(outcome) = members.outcome {
            return Ok(outcome);
        }
        let end = self.end(members);
        let open: usize = members.draining.iter().map(Draining::open_watches).sum();
        if now >= end && members.left_at_deadline.is_none() {
            members.left_at_deadline = Some(open);
        }
        let may_end_early = self.event.end == DrainEnd::Close && self.length == DrainLength::UntilEmpty;
        let earliest = if may_end_early {
            (self.event.start + self.minimum).min(end)
        } else {
            end
        };
        let last = match self.event.end {
            DrainEnd::Close => end + self.event.ladder.drop_after,
            DrainEnd::Leave => end,
        };
        let ending = if now >= last && self.event.end == DrainEnd::Leave {
            DrainEnding::TimeOver
        } else if now >= earliest && open == 0 && members.draining.iter().all(Draining::complete_if_empty) {
            if members.left_at_deadline.unwrap_or(0) == 0 {
                DrainEnding::Empty
            } else {
                DrainEnding::Deadline
            }
        } else if now >= last {
            // Every driver has been told to drop its connection; whoever is not driven is not waited for.
            members.draining.iter().for_each(Draining::complete);
            DrainEnding::Deadline
        } else {
            return Err([earliest, end, last]
                .into_iter()
                .find(|&at| at > now)
                .unwrap_or(last));
        };
        let outcome = DrainOutcome {
            reason: self.event.reason,
            direction: self.event.direction,
            ending,
            took: now.saturating_duration_since(self.event.start),
            left: members.left_at_deadline.unwrap_or(open),
        };
        members.outcome = Some(outcome);
        self.over.store(true, Ordering::Release);
        Ok(outcome)
    }
}

/// Paces a drain and resolves when it is over.
///
/// Slots come only while somebody polls a sequence of the drain; spawn it, or poll it wherever you are. Sequences that
/// joined the same drain all see its outcome, and any one of them keeps it going. It wakes at most 32 connections a
/// poll, so that nobody else on its runtime waits.
///
/// It ends with the last connection (after the minimum time, if the cause has one), or at the deadline; a drain without
/// deadline ends when its drain time is over.
///
/// # Cancel safety
///
/// Dropping it leaves the drain begun, without further slots or deadline, until
/// [`start_drain_sequence`](crate::DrainManager::start_drain_sequence) is called again: that joins.
///
/// # Panics
///
/// When polled outside a tokio runtime with time enabled.
#[must_use = "slots come only while the sequence is polled"]
#[pin_project]
#[derive(Debug)]
pub struct DrainSequence {
    run: Arc<Run>,
    #[pin]
    sleep: Option<Sleep>,
    /// The member to go on with, after a full batch.
    cursor: usize,
}

impl DrainSequence {
    pub(crate) const fn new(run: Arc<Run>) -> Self {
        Self {
            run,
            sleep: None,
            cursor: 0,
        }
    }

    /// The facts of the drain.
    pub fn event(&self) -> &DrainEvent {
        &self.run.event
    }

    /// How many connections are still open in it.
    pub fn open_watches(&self) -> usize {
        self.run.lock().draining.iter().map(Draining::open_watches).sum()
    }
}

impl Future for DrainSequence {
    type Output = DrainOutcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<DrainOutcome> {
        let mut this = self.project();
        loop {
            let now = tokio::time::Instant::now().into_std();
            let Some(next) = pace(this.run, this.cursor, now, cx) else {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            };
            let look_again = {
                let mut members = this.run.lock();
                match this.run.look(&mut members, now) {
                    Ok(outcome) => {
                        drop(members);
                        this.run.wake();
                        return Poll::Ready(outcome);
                    }
                    Err(look_again) => look_again,
                }
            };
            let at = next.map_or(look_again, |next| next.min(look_again));
            this.sleep.set(Some(tokio::time::sleep_until(at.into())));
            match this.sleep.as_mut().as_pin_mut().map(|sleep| sleep.poll(cx)) {
                Some(Poll::Ready(())) => {}
                _ => return Poll::Pending,
            }
        }
    }
}

/// Moves every member on to `now`. When the next one has something to do; the outer `None`: a batch is full, let others
/// run and come back.
fn pace(run: &Run, cursor: &mut usize, now: Instant, cx: &Context<'_>) -> Option<Option<Instant>> {
    // Waking connections under the lock would let them meet it; a clone of a handle is one count.
    let members = {
        let mut members = run.lock();
        if !members.waiting.iter().any(|known| known.will_wake(cx.waker())) {
            members.waiting.push(cx.waker().clone());
        }
        members.draining.clone()
    };
    let mut next: Option<Instant> = None;
    for (index, member) in members.iter().enumerate() {
        // Registered before it is looked at, so that a last guard dropped in between is seen.
        member.wake_on_change(cx.waker());
        if index < *cursor {
            continue;
        }
        let step = member.advance(now);
        if step.more {
            *cursor = index;
            return None;
        }
        next = match (next, step.next) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
    if *cursor > 0 {
        // The members before the cursor have not said when they want to be called again.
        *cursor = 0;
        return None;
    }
    Some(next)
}
