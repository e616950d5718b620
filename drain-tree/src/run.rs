//! One start of a drain, shared by all sequences that joined it: who takes part, who is looked at when, when it is over.
//!
//! Time comes in; no runtime is known here. No other lock of the tree is taken, no waker and no user code is called with a
//! run's lock held.

use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use drain_signal::{DrainDirection, DrainEnd, DrainEvent, DrainStrategy, Draining};

use crate::cascade::Cascade;
use crate::ending::Finish;
use crate::member::{Member, Members, Unattended};
use crate::pace::Look;
use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering, lock};
use crate::{DrainLength, DrainOutcome};

#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) event: DrainEvent,
    pub(crate) minimum: Duration,
    pub(crate) length: DrainLength,
    this: Weak<Self>,
    /// Set under the lock, with the outcome; a hint elsewhere.
    pub(crate) over: AtomicBool,
    pub(crate) cascade: Cascade,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) members: Members,
    /// Indices of the members to look at, and of those that were left alone since the last round.
    pub(crate) active: Vec<usize>,
    pub(crate) attended: usize,
    /// Members to look at now, out of turn.
    pub(crate) calls: Vec<usize>,
    /// How many members are being looked at right now, by anybody.
    pub(crate) in_hand: usize,
    /// How far the round that is under way has come in `active`.
    pub(crate) round: Option<usize>,
    /// When the next round is due.
    pub(crate) next: Option<Instant>,
    pub(crate) deadline: Instant,
    /// How far the run has come.
    pub(crate) now: Instant,
    pub(crate) finish: Finish,
    pub(crate) left_at_deadline: Option<usize>,
    pub(crate) outcome: Option<DrainOutcome>,
    waiting: Vec<Waker>,
    /// How often a member was looked at.
    #[cfg(test)]
    pub(crate) looks: usize,
}

/// What a turn leaves to do.
#[derive(Debug)]
pub(crate) enum Turn {
    /// More: let others run, then come back.
    Again,
    /// Nothing before this instant, unless somebody wakes the run.
    Sleep(Instant),
    Over(DrainOutcome),
}

impl Run {
    pub(crate) fn new(event: DrainEvent, minimum: Duration, length: DrainLength) -> Arc<Self> {
        let end = later(event.start, event.drain_time);
        let state = State {
            members: Members::default(),
            active: vec![],
            attended: 0,
            calls: vec![],
            in_hand: 0,
            round: None,
            next: None,
            deadline: end,
            now: event.start,
            finish: Finish::default(),
            left_at_deadline: None,
            outcome: None,
            waiting: vec![],
            #[cfg(test)]
            looks: 0,
        };
        Arc::new_cyclic(|this| Self {
            event,
            minimum,
            length,
            this: Weak::clone(this),
            over: AtomicBool::new(false),
            cascade: Cascade::default(),
            state: Mutex::new(state),
        })
    }

    /// Whether a start in `direction` that ends as `end` has nothing to add to this run.
    pub(crate) fn covers(&self, direction: DrainDirection, end: DrainEnd) -> bool {
        direction <= self.event.direction && (self.event.end == DrainEnd::Close || end == DrainEnd::Leave)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// How far the run has come.
    pub(crate) fn now(&self) -> Instant {
        self.lock().now
    }

    /// When the drain time is over, or the deadline brought nearer.
    pub(crate) fn deadline(&self) -> Instant {
        self.lock().deadline
    }

    /// What is left of the drain time at `now`; nothing under the immediate strategy.
    pub(crate) fn remaining(&self, now: Instant) -> Duration {
        match self.event.strategy {
            DrainStrategy::Immediate => Duration::ZERO,
            DrainStrategy::Gradual => self.deadline().saturating_duration_since(now),
        }
    }

    /// Lowers the run's deadline and wakes whoever paces it.
    pub(crate) fn bring_forward(&self, deadline: Instant) {
        let mut state = self.lock();
        if deadline < state.deadline {
            state.deadline = deadline;
            wake(state);
        }
    }

    /// Takes a node in; its place among the members. `unattended` counts it already.
    pub(crate) fn admit(&self, draining: Draining, unattended: Arc<Unattended>) -> usize {
        self.lock().members.push(Member::new(draining, unattended))
    }

    /// Begins to look at member `index`: a watcher may be open there.
    pub(crate) fn attend(&self, index: usize) {
        let mut state = self.lock();
        state.attend(index);
        wake(state);
    }

    /// Whoever paces this run looks at member `index`.
    pub(crate) fn call(&self, index: usize) {
        let mut state = self.lock();
        state.call(index);
        wake(state);
    }

    /// Whoever polls this run looks again.
    pub(crate) fn wake(&self) {
        wake(self.lock());
    }

    /// Registers who is woken when there is something to look at. Register first, look afterwards.
    pub(crate) fn register(&self, waker: &Waker) {
        let mut state = self.lock();
        if !state.waiting.iter().any(|known| known.will_wake(waker)) {
            state.waiting.push(waker.clone());
        }
    }

    pub(crate) fn open_watches(&self) -> usize {
        self.lock().open_watches()
    }

    /// Moves the run on to `now`, by one batch.
    pub(crate) fn turn(&self, now: Instant) -> Turn {
        let (batch, now) = {
            let mut state = self.lock();
            if let Some(outcome) = state.outcome {
                return Turn::Over(outcome);
            }
            state.now = state.now.max(now);
            (state.take_batch(&self.this), state.now)
        };
        if !batch.is_empty() {
            let mut hand = Hand { run: self, batch };
            // Connections are woken here: not under the lock, which they may meet.
            let may_complete = self.event.direction == DrainDirection::InboundOnly && self.may_end(now);
            let look = |look: &Look| (look.advance(now), may_complete && look.complete_if_unconcerned());
            let looked: Vec<_> = hand.batch.iter().map(look).collect();
            let mut state = self.lock();
            state.in_hand -= looked.len();
            for (look, (advance, completed)) in hand.batch.drain(..).zip(looked) {
                state.put_back(look.index, advance, completed);
            }
            let in_hand = state.in_hand;
            if state.finish.put_back(in_hand) {
                wake(state);
            }
        }
        self.end(now)
    }

    /// When to look at the whole again: a round is due, or `at`.
    pub(crate) fn sleep(state: &State, at: Instant) -> Turn {
        Turn::Sleep(state.next.map_or(at, |next| next.min(at)))
    }
}

/// Members that are being looked at. If a waker panics, they are looked at again, by whoever polls the run then.
struct Hand<'a> {
    run: &'a Run,
    batch: Vec<Look>,
}

impl Drop for Hand<'_> {
    fn drop(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let mut state = self.run.lock();
        state.in_hand -= self.batch.len();
        for look in &self.batch {
            state.call(look.index);
        }
        wake(state);
    }
}

/// Wakes whoever polls the run, with its lock released.
pub(crate) fn wake(mut state: MutexGuard<'_, State>) {
    let waiting = std::mem::take(&mut state.waiting);
    drop(state);
    waiting.into_iter().for_each(Waker::wake);
}

/// `duration` after `instant`; a time that cannot be expressed is in 30 years.
pub(crate) fn later(instant: Instant, duration: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    instant
        .checked_add(duration)
        .unwrap_or_else(|| instant + duration.min(FAR))
}
