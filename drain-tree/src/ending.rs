//! When a run is over, and the walk over all its members that ends it.
//!
//! The last step of a drain concerns every node, with connections or without: a completed node refuses new ones. A big
//! tree has many, so the walk is in batches; a watcher opened meanwhile at a node not yet completed calls it off.

use std::time::{Duration, Instant};

use drain_signal::{DrainEnd, Draining};

use crate::run::{Run, State, Turn, later, wake};
use crate::sync::Ordering;
use crate::{DrainEnding, DrainLength, DrainOutcome};

/// The walk that ends a run.
#[derive(Debug, Default)]
pub(crate) struct Finish {
    last: Option<(Last, usize)>,
    /// Tells a batch whether the walk it belongs to is still the one under way.
    walk: u64,
    /// Somebody wants to begin it, but not all members have been put back.
    is_waiting: bool,
}

impl Finish {
    /// Whether somebody waited for the last member to be put back.
    pub(crate) const fn put_back(&mut self, in_hand: usize) -> bool {
        let may_begin = self.is_waiting && in_hand == 0;
        if may_begin {
            self.is_waiting = false;
        }
        may_begin
    }
}

/// How long to wait at most for somebody who is looking at members: whoever it is wakes this run when it is done.
const A_WHILE: Duration = Duration::from_secs(1);

/// What is said to every member at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    /// Be completed, unless somebody has just come in.
    CompleteIfEmpty,
    /// Be completed, whoever is left: every driver has been told to drop its connection, and whoever is not driven is
    /// not waited for.
    Complete,
    /// The drain time is over and nothing else.
    TimeOver,
}

impl Last {
    /// Whether the walk may go on.
    fn say(self, draining: &Draining, now: Instant) -> bool {
        match self {
            Self::CompleteIfEmpty => return draining.complete_if_empty(),
            Self::Complete => draining.complete(),
            Self::TimeOver => {
                draining.advance(now);
            }
        }
        true
    }
}

impl Run {
    /// Ends the run if it is time; otherwise when to look again. At most one chunk of members a call.
    pub(crate) fn end(&self, now: Instant) -> Turn {
        if self.cascade.is_under_way() {
            return Turn::Again;
        }
        let (last, batch, from, walk) = {
            let mut state = self.lock();
            if let Some(outcome) = state.outcome {
                return Turn::Over(outcome);
            }
            if !state.calls.is_empty() || state.is_round_due() {
                return Turn::Again;
            }
            let last = match self.due(&mut state, now) {
                Ok(last) => last,
                Err(at) => {
                    state.finish.last = None;
                    return Self::sleep(&state, at);
                }
            };
            let from = match state.finish.last {
                Some((under_way, from)) if under_way == last => from,
                _ => {
                    state.finish.walk += 1;
                    0
                }
            };
            state.finish.last = Some((last, from));
            let members = state.members.chunk(from).iter();
            let batch: Vec<_> = members.map(|member| member.draining.clone()).collect();
            (last, batch, from, state.finish.walk)
        };
        let refused = batch.iter().position(|draining| !last.say(draining, now));
        let mut state = self.lock();
        if let Some(outcome) = state.outcome {
            return Turn::Over(outcome);
        }
        if let Some(position) = refused {
            state.finish.last = None;
            state.attend(from + position);
            return Turn::Again;
        }
        if state.finish.walk != walk || state.finish.last.is_none() {
            return Turn::Again;
        }
        let to = from + batch.len();
        if to < state.members.len() {
            state.finish.last = Some((last, to));
            return Turn::Again;
        }
        let outcome = self.outcome(&state, last, now);
        state.outcome = Some(outcome);
        self.over.store(true, Ordering::Release);
        wake(state);
        Turn::Over(outcome)
    }

    /// Whether the run may end early, empty, at `now`.
    pub(crate) fn may_end(&self, now: Instant) -> bool {
        let early = self.event.end == DrainEnd::Close && self.length == DrainLength::UntilEmpty;
        early && now >= later(self.event.start, self.minimum)
    }

    /// What is to be said to all members now; otherwise when to look again.
    fn due(&self, state: &mut State, now: Instant) -> Result<Last, Instant> {
        let end = state.deadline;
        if now >= end && state.left_at_deadline.is_none() {
            state.left_at_deadline = Some(state.open_watches());
        }
        let (earliest, last) = match self.event.end {
            DrainEnd::Leave if now >= end => return Ok(Last::TimeOver),
            DrainEnd::Leave => (end, end),
            DrainEnd::Close => {
                let earliest = match self.length {
                    DrainLength::UntilEmpty => later(self.event.start, self.minimum).min(end),
                    DrainLength::Full => end,
                };
                (earliest, later(end, self.event.ladder.drop_after))
            }
        };
        if now >= last && state.in_hand > 0 {
            // They may have been looked at as of long ago, if the thread that does it lost its processor meanwhile.
            state.finish.is_waiting = true;
            return Err(later(now, A_WHILE));
        }
        if now >= last {
            return Ok(if state.attended == 0 {
                Last::CompleteIfEmpty
            } else {
                Last::Complete
            });
        }
        if now >= earliest && state.attended == 0 {
            return Ok(Last::CompleteIfEmpty);
        }
        Err([earliest, end, last]
            .into_iter()
            .find(|&at| at > now)
            .unwrap_or(last))
    }

    fn outcome(&self, state: &State, last: Last, now: Instant) -> DrainOutcome {
        let left = state.left_at_deadline.unwrap_or_else(|| state.open_watches());
        let ending = match last {
            Last::TimeOver => DrainEnding::TimeOver,
            Last::CompleteIfEmpty if left == 0 => DrainEnding::Empty,
            Last::CompleteIfEmpty | Last::Complete => DrainEnding::Deadline,
        };
        DrainOutcome {
            reason: self.event.reason,
            direction: self.event.direction,
            ending,
            took: now.saturating_duration_since(self.event.start),
            left,
        }
    }

    /// A node that joins a run that is over ends as the others did.
    pub(crate) fn end_late(&self, draining: &Draining) {
        match self.event.end {
            DrainEnd::Close => draining.complete(),
            DrainEnd::Leave => {
                draining.advance(self.now());
            }
        }
    }
}
