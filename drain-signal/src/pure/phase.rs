//! How far a connection has come in a drain, and the steps that all connections take together.
//! Pure: pace in, phase out.

use std::time::{Duration, Instant};

use crate::schedule::{micros, signal_window};
use crate::{DrainEvent, DrainSchedule};

/// How far a connection has come on the way from serving to gone. It only moves forward.
#[expect(clippy::exhaustive_enums, reason = "a new step, a new contract")]
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

/// No instant, in microseconds since the start.
const NEVER: u64 = u64::MAX;

/// The instants at which all connections of a drain come to [`Phase::Finishing`],
/// [`Phase::Expired`] and [`Phase::Overdue`], in microseconds since the start; three times
/// [`NEVER`]: there is no deadline.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Steps([u64; 3]);

impl Steps {
    pub(crate) fn new(event: &DrainEvent, deadline: Option<u64>) -> Self {
        let Some(deadline) = deadline else {
            return Self([NEVER; 3]);
        };
        let finishing = deadline.saturating_sub(micros(event.finish_before()));
        let overdue = deadline.saturating_add(micros(event.close_steps.drop_after));
        Self([finishing, deadline, overdue])
    }

    /// The step reached at `pace`; [`Phase::Open`]: none yet.
    pub(crate) fn at(self, pace: u64) -> Phase {
        match self.0.map(|at| at <= pace) {
            // At the end of time too.
            _ if self.0 == [NEVER; 3] => Phase::Open,
            [_, _, true] => Phase::Overdue,
            [_, true, _] => Phase::Expired,
            [true, ..] => Phase::Finishing,
            _ => Phase::Open,
        }
    }

    /// The first step after `pace`.
    pub(crate) fn next(self, pace: u64) -> Option<u64> {
        self.0.into_iter().find(|&at| at > pace && at != NEVER)
    }
}

/// How often, in microseconds, the pace must move on so that responses see their slots; `None`: not
/// at all any more. Also while no watch is open: one may open and only ask.
pub(crate) fn tick(event: &DrainEvent, pace: u64) -> Option<u64> {
    let window = micros(signal_window(event));
    (pace < window).then(|| match event.schedule {
        // A 256th of the window is finer than any client can measure, and never busier than a tick
        // a millisecond.
        DrainSchedule::FirstQuarter => (window / 256).max(1_000),
        // Whole seconds, on the second.
        DrainSchedule::Envoy140 => 1_000_000 - pace % 1_000_000,
    })
}
