//! One start of a drain, shared by all [`DrainSequence`](crate::DrainSequence)s that joined it:
//! which nodes take part, which are looked at when, and how it ends. Time comes in; no runtime is
//! known here.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use drain_signal::schedule::tick;
use drain_signal::{DrainDirection, DrainEnd, DrainEvent, DrainStrategy, Draining};
use drain_sync::{AtomicBool, Mutex, Ordering, WaitList, lock};
use slab::Slab;

use super::completing::{Completing, Progress};
use super::ending::{A_WHILE, Facts, last, outcome};
use super::later;
use super::pace::List;
use super::part::{Part, Place, Unlisted};
use crate::{DrainLength, DrainOutcome};

pub(crate) struct Sequence {
    pub(crate) event: DrainEvent,
    minimum: Duration,
    length: DrainLength,
    this: Weak<Self>,
    /// A walk from the node that it was started at is finished.
    is_marked: AtomicBool,
    /// Set under the lock, with the outcome; a hint elsewhere.
    is_over: AtomicBool,
    state: Mutex<State>,
    pub(crate) waiters: WaitList,
}

struct State {
    /// The parts of all living nodes that are covered: completed at the end.
    members: Slab<Arc<Part>>,
    list: List,
    /// When the drain time is over, or the deadline brought nearer.
    deadline: Instant,
    /// How far the drain has come.
    now: Instant,
    left_at_deadline: Option<usize>,
    progress: Progress,
}

/// What a turn leaves to do.
#[derive(Debug)]
pub(crate) enum Turn {
    /// More: let others run, then come back.
    Again,
    /// Nothing before this instant, unless the sequence is woken.
    Sleep(Instant),
    Over(DrainOutcome),
}

/// The sequence is over and closes connections: it takes no more.
#[derive(Debug)]
pub(crate) struct IsOver;

/// With nothing locked, and without what takes part.
impl fmt::Debug for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sequence")
            .field("event", &self.event)
            .field("is_over", &self.is_over())
            .finish_non_exhaustive()
    }
}

impl Sequence {
    pub(crate) fn new(event: DrainEvent, minimum: Duration, length: DrainLength) -> Arc<Self> {
        let state = State {
            members: Slab::new(),
            list: List::default(),
            deadline: later(event.start, event.drain_time),
            now: event.start,
            left_at_deadline: None,
            progress: Progress::Running,
        };
        Arc::new_cyclic(|this| Self {
            event,
            minimum,
            length,
            this: Weak::clone(this),
            is_marked: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            state: Mutex::new(state),
            waiters: WaitList::default(),
        })
    }

    /// Whether a start in `direction` that ends as `end` has nothing to add to this one.
    pub(crate) fn covers(&self, direction: DrainDirection, end: DrainEnd) -> bool {
        direction <= self.event.direction
            && (self.event.end == DrainEnd::Close || end == DrainEnd::Leave)
    }

    /// Acquire pairs with the Release in [`set_marked`](Self::set_marked): what the walk has marked
    /// is seen. Without it a second start could return, by invariant 4, before a node below is seen
    /// to drain.
    pub(crate) fn is_marked(&self) -> bool {
        self.is_marked.load(Ordering::Acquire)
    }

    /// Release pairs with the Acquire in [`is_marked`](Self::is_marked).
    pub(crate) fn set_marked(&self) {
        self.is_marked.store(true, Ordering::Release);
    }

    /// Acquire pairs with the Release in [`end`](Self::end): the outcome and the last instant are
    /// seen. A node that reads `false` although the sequence is over meets the lock afterwards
    /// (invariant 7).
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    pub(crate) fn now(&self) -> Instant {
        lock(&self.state).now
    }

    pub(crate) fn deadline(&self) -> Instant {
        lock(&self.state).deadline
    }

    /// What is left of the drain time at `now`; nothing under the immediate strategy.
    pub(crate) fn remaining(&self, now: Instant) -> Duration {
        match self.event.strategy {
            DrainStrategy::Immediate => Duration::ZERO,
            DrainStrategy::Gradual => self.deadline().saturating_duration_since(now),
        }
    }

    pub(crate) fn open_watches(&self) -> usize {
        lock(&self.state).list.open_watches()
    }

    pub(crate) fn has_no_watches(&self) -> bool {
        lock(&self.state).list.has_no_watches()
    }

    #[cfg(test)]
    pub(crate) fn looks(&self) -> usize {
        lock(&self.state).list.looks
    }

    /// Lowers the deadline and wakes the tasks that pace the sequence.
    pub(crate) fn bring_forward(&self, deadline: Instant) {
        let mut state = lock(&self.state);
        let is_nearer = deadline < state.deadline;
        state.deadline = state.deadline.min(deadline);
        drop(state);
        if is_nearer {
            self.waiters.wake_all();
        }
    }

    // === members and their watches ===

    /// Takes a node in, whose drain has begun; `unlisted` counts its part already.
    pub(crate) fn admit(&self, draining: Draining, unlisted: Arc<Unlisted>) -> Arc<Part> {
        let part = Arc::new(Part::new(draining, unlisted, Weak::clone(&self.this)));
        let mut state = lock(&self.state);
        if matches!(state.progress, Progress::Running) {
            let member = state.members.insert(Arc::clone(&part));
            part.member.get_or_init(|| member);
        }
        part
    }

    /// The node of `part` is gone. What is open there is paced on.
    pub(crate) fn dismiss(&self, part: &Part) {
        let mut state = lock(&self.state);
        let member = part
            .member
            .get()
            .filter(|_| matches!(state.progress, Progress::Running));
        let dismissed = member.and_then(|&member| state.members.try_remove(member));
        if state.members.is_empty() {
            state.members = Slab::new();
        }
        drop(state);
        drop(dismissed);
    }

    /// Looks at `part` from now on: a watch may be open there.
    ///
    /// # Errors
    ///
    /// [`IsOver`] if the sequence is over and closes connections.
    pub(crate) fn list(&self, part: &Arc<Part>) -> Result<(), IsOver> {
        let mut state = lock(&self.state);
        if !matches!(state.progress, Progress::Running) {
            return match self.event.end {
                DrainEnd::Close => Err(IsOver),
                DrainEnd::Leave => {
                    part.set_place(Place::Released);
                    Ok(())
                }
            };
        }
        let now = state.now;
        let is_new = state.list.add(part, now);
        drop(state);
        if is_new {
            self.changed(part);
        } else {
            self.waiters.wake_all();
        }
        Ok(())
    }

    /// Something has changed at `part`: it is looked at, or taken out of the list if its last watch
    /// is gone.
    pub(crate) fn changed(&self, part: &Arc<Part>) {
        if !self.lists(part) {
            return;
        }
        part.register();
        let is_empty = part.is_empty();
        let mut state = lock(&self.state);
        let is_removed = is_empty && state.list.remove_if_empty(part);
        if !is_removed {
            let now = state.now;
            state.list.call(part, now);
        }
        let is_news = !is_removed || state.list.is_empty();
        drop(state);
        if is_news {
            self.waiters.wake_all();
        }
    }

    fn lists(&self, part: &Part) -> bool {
        let _state = lock(&self.state);
        matches!(part.place(), Place::Listed(_))
    }

    // === paced by the tasks that poll ===

    /// Advances the drain to `now`, by one batch.
    pub(crate) fn turn(&self, now: Instant) -> Turn {
        let (batch, now) = {
            let mut state = lock(&self.state);
            match state.progress {
                Progress::Running => {}
                Progress::Completing(_) => {
                    drop(state);
                    return self.complete(now);
                }
                Progress::Over(outcome) => return Turn::Over(outcome),
            }
            state.now = state.now.max(now);
            let now = state.now;
            (state.list.take_batch(now), now)
        };
        if !batch.is_empty() {
            // Connections are woken here, with nothing locked.
            let looks = batch.iter();
            let advances: Vec<_> = looks.map(|(_, part)| part.draining.advance(now)).collect();
            let mut state = lock(&self.state);
            for (look, advance) in batch.iter().zip(advances) {
                state.list.put_back(look, advance, now);
            }
            // Another task may wait for the end of this look: see `ending`.
            let is_last = now >= last(&self.event, state.deadline);
            let may_be_awaited = state.list.looking == 0 && is_last;
            drop(state);
            drop(batch);
            if may_be_awaited {
                self.waiters.wake_all();
            }
        }
        self.end(now)
    }

    /// Ends the sequence if it is time; otherwise when to look again.
    fn end(&self, now: Instant) -> Turn {
        let mut state = lock(&self.state);
        if !matches!(state.progress, Progress::Running) {
            drop(state);
            return self.turn(now);
        }
        if !self.is_marked() || state.list.is_due(state.now) {
            return Turn::Again;
        }
        if now >= state.deadline && state.left_at_deadline.is_none() {
            state.left_at_deadline = Some(state.list.open_watches());
        }
        let facts = Facts {
            event: &self.event,
            minimum: self.minimum,
            length: self.length,
            deadline: state.deadline,
            is_empty: state.list.is_empty(),
            is_looking: state.list.looking > 0,
        };
        let last = match facts.at(now) {
            Ok(last) => last,
            Err(at) => {
                let nexts = [state.list.next(), self.tick(now)];
                return Turn::Sleep(nexts.into_iter().flatten().fold(at, Instant::min));
            }
        };
        let left = state
            .left_at_deadline
            .unwrap_or_else(|| state.list.open_watches());
        let outcome = outcome(&self.event, last, left, now);
        state.progress = Progress::Completing(Completing::new(outcome, last));
        // Release pairs with the Acquire in `is_over`: the outcome is written before.
        self.is_over.store(true, Ordering::Release);
        let listed = state.list.clear(match self.event.end {
            DrainEnd::Close => Place::Unlisted,
            DrainEnd::Leave => Place::Released,
        });
        drop(state);
        drop(listed);
        self.complete(now)
    }

    /// When to come again although no connection is there: one that opens at an empty node gets its
    /// slot as of `State::now`.
    fn tick(&self, now: Instant) -> Option<Instant> {
        let elapsed = now.saturating_duration_since(self.event.start);
        tick(&self.event, elapsed).map(|tick| later(now, tick))
    }

    /// Completes the next portion of the members.
    fn complete(&self, now: Instant) -> Turn {
        let mut state = lock(&self.state);
        let State {
            members, progress, ..
        } = &mut *state;
        let (last, taken) = match progress {
            Progress::Completing(completing) => (completing.last, completing.take(members)),
            Progress::Over(outcome) => return Turn::Over(*outcome),
            Progress::Running => return Turn::Again,
        };
        drop(state);
        let Some((from, parts)) = taken else {
            // Another task has it, and wakes this one.
            return Turn::Sleep(later(now, A_WHILE));
        };
        for part in &parts {
            part.complete(&self.event, last, now);
        }
        self.completed(from)
    }

    fn completed(&self, from: usize) -> Turn {
        let mut state = lock(&self.state);
        let State {
            members, progress, ..
        } = &mut *state;
        let Progress::Completing(completing) = progress else {
            return Turn::Again;
        };
        let Some(outcome) = completing.done(from, members) else {
            return Turn::Again;
        };
        let members = std::mem::take(members);
        state.progress = Progress::Over(outcome);
        drop(state);
        drop(members);
        self.waiters.wake_all();
        Turn::Over(outcome)
    }

    /// A node that joins a sequence which is over ends as the others did.
    pub(crate) fn end_late(&self, part: &Part) {
        match self.event.end {
            DrainEnd::Close => part.draining.complete(),
            DrainEnd::Leave => {
                part.draining.advance(self.now());
            }
        }
        let _state = lock(&self.state);
        part.set_place(Place::Released);
    }
}
