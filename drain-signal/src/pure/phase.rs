//! How far a connection has come in a drain, and the steps that all connections take together.
//! Pure: pace in, phase out.

use std::time::{Duration, Instant};

use crate::DrainEvent;
use crate::schedule::micros;

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

/// The instants at which all connections of a drain come to [`Phase::Finishing`],
/// [`Phase::Expired`] and [`Phase::Overdue`], in microseconds since the start; `None`: there is no
/// deadline.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Steps(Option<[u64; 3]>);

impl Steps {
    pub(crate) fn new(event: &DrainEvent, deadline: Option<u64>) -> Self {
        Self(deadline.map(|deadline| {
            let finishing = deadline.saturating_sub(micros(event.finish_before()));
            let overdue = deadline.saturating_add(micros(event.close_steps.drop_after));
            [finishing, deadline, overdue]
        }))
    }

    /// The step reached at `pace`; [`Phase::Open`]: none yet.
    pub(crate) fn at(self, pace: u64) -> Phase {
        match self.0.map(|steps| steps.map(|at| at <= pace)) {
            Some([_, _, true]) => Phase::Overdue,
            Some([_, true, _]) => Phase::Expired,
            Some([true, ..]) => Phase::Finishing,
            _ => Phase::Open,
        }
    }

    /// The first step after `pace`.
    pub(crate) fn next(self, pace: u64) -> Option<u64> {
        self.0?.into_iter().find(|&at| at > pace)
    }
}
