//! How far a connection has come in a drain, and the steps that all connections take together.
//! Pure: pace in, phase out.

use std::time::{Duration, Instant};

use crate::schedule::micros;
use crate::{DrainEvent, DrainSchedule, DrainStrategy};

/// How far a connection has come on the way from serving to gone. It only moves forward.
#[expect(
    clippy::exhaustive_enums,
    reason = "the close steps; a new step would be a new contract"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Phase {
    /// Nothing asks this connection to leave yet.
    Open,
    /// Its slot has come, or it was notified by itself.
    Signaled,
    /// The deadline is near.
    Finishing,
    /// The deadline has come.
    Expired,
    /// The deadline is over by `close_steps.drop_after`, or the connection is forced to close.
    Overdue,
}

impl Phase {
    pub(crate) const fn from_bits(bits: u32) -> Self {
        match bits {
            0 => Self::Open,
            1 => Self::Signaled,
            2 => Self::Finishing,
            3 => Self::Expired,
            _ => Self::Overdue,
        }
    }
}

/// The instant `micros` after `start`; `None` if the clock does not reach that far.
pub(crate) fn at(start: Instant, micros: u64) -> Option<Instant> {
    start.checked_add(Duration::from_micros(micros))
}

/// No deadline, in microseconds since the start.
pub(crate) const NEVER: u64 = u64::MAX;

/// The instants at which all connections of a drain move on, in microseconds since the start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Steps {
    pub(crate) finishing: u64,
    pub(crate) expired: u64,
    pub(crate) overdue: u64,
}

impl Steps {
    pub(crate) fn new(event: &DrainEvent, deadline: u64) -> Self {
        let finish_before = match deadline {
            NEVER => 0,
            _ => micros(event.finish_before()),
        };
        Self {
            finishing: deadline.saturating_sub(finish_before),
            expired: deadline,
            overdue: deadline.saturating_add(micros(event.close_steps.drop_after)),
        }
    }

    /// The step reached at `pace`; [`Phase::Open`]: none yet.
    pub(crate) const fn at(self, pace: u64) -> Phase {
        match pace {
            // At the end of time too.
            _ if self.expired == NEVER => Phase::Open,
            _ if pace >= self.overdue => Phase::Overdue,
            _ if pace >= self.expired => Phase::Expired,
            _ if pace >= self.finishing => Phase::Finishing,
            _ => Phase::Open,
        }
    }

    /// The first step after `pace`.
    pub(crate) fn next(self, pace: u64) -> Option<u64> {
        [self.finishing, self.expired, self.overdue]
            .into_iter()
            .find(|&at| at > pace && at != NEVER)
    }
}

/// How often, in microseconds, the pace must move on so that responses see their slots; `None`: not
/// at all any more. Also while no watch is open: one may open and only ask.
pub(crate) fn tick(event: &DrainEvent, pace: u64) -> Option<u64> {
    if event.strategy == DrainStrategy::Immediate {
        return None;
    }
    let window = micros(crate::schedule::signal_window(event));
    (pace < window).then(|| match event.schedule {
        // A 256th of the window is finer than any client can measure, and never busier than a tick
        // a millisecond.
        DrainSchedule::FirstQuarter => (window / 256).max(1_000),
        // Whole seconds, on the second.
        DrainSchedule::Envoy140 => 1_000_000 - pace % 1_000_000,
    })
}
