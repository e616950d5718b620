//! When a sequence is over, and what is left then. Pure: facts and time come in.
//!
//! | the drain | is over | left |
//! | --- | --- | --- |
//! | closes what is left, `UntilEmpty` | with its last connection, after its minimum | none |
//! | closes what is left, `Full` | with its last connection, at its deadline | none |
//! | either, with connections that do not end | `drop_after` behind the deadline | those that no driver dropped |
//! | leaves what is left (an operator's) | when its drain time is over | all that are open; they go on |

use std::time::{Duration, Instant};

use drain_signal::{DrainEnd, DrainEvent};

use super::later;
use crate::{DrainEnding, DrainLength, DrainOutcome};

/// What a sequence knows when it asks whether it is over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) event: &'a DrainEvent,
    pub(crate) minimum: Duration,
    pub(crate) length: DrainLength,
    /// When the drain time is over, or the deadline brought nearer.
    pub(crate) deadline: Instant,
    /// Whether no part is listed.
    pub(crate) is_empty: bool,
    /// Whether some task looks at parts right now.
    pub(crate) is_looking: bool,
}

/// How a sequence ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Last {
    /// No connection is left.
    Empty,
    /// Connections are left: every driver has been asked to drop its connection, and what is not
    /// driven is not waited for.
    Overdue,
    /// The drain time is over and nothing else.
    TimeOver,
}

/// How long to wait at most for a task that looks at parts: it wakes the sequence when it is done.
pub(crate) const A_WHILE: Duration = Duration::from_secs(1);

/// From when on a sequence that ends at `deadline` is over, whatever is open.
pub(crate) fn last(event: &DrainEvent, deadline: Instant) -> Instant {
    match event.end {
        DrainEnd::Leave => deadline,
        DrainEnd::Close => later(deadline, event.close_steps.drop_after),
    }
}

impl Facts<'_> {
    /// How the sequence ends at `now`; otherwise when to ask again.
    pub(crate) fn at(self, now: Instant) -> Result<Last, Instant> {
        let (end, last) = (self.deadline, last(self.event, self.deadline));
        let closes = self.event.end == DrainEnd::Close;
        let earliest = match self.length {
            DrainLength::UntilEmpty if closes => later(self.event.start, self.minimum).min(end),
            DrainLength::UntilEmpty | DrainLength::Full => end,
        };
        if closes && self.is_empty && now >= earliest {
            return Ok(Last::Empty);
        }
        if now < last {
            let steps = [earliest, end, last];
            return Err(steps.into_iter().find(|&at| at > now).unwrap_or(last));
        }
        if self.is_looking {
            // The parts may have been looked at as of long ago, if the thread that does it lost its
            // processor meanwhile; and there may be more to wake than it wakes at a time.
            return Err(later(now, A_WHILE));
        }
        Ok(if closes {
            Last::Overdue
        } else {
            Last::TimeOver
        })
    }
}

/// The outcome of a sequence that ends with `left` connections.
pub(crate) fn outcome(event: &DrainEvent, last: Last, left: usize, now: Instant) -> DrainOutcome {
    let ending = match last {
        Last::TimeOver => DrainEnding::TimeOver,
        Last::Empty if left == 0 => DrainEnding::Empty,
        Last::Empty | Last::Overdue => DrainEnding::Deadline,
    };
    DrainOutcome {
        reason: event.reason,
        direction: event.direction,
        ending,
        took: now.saturating_duration_since(event.start),
        left,
    }
}
