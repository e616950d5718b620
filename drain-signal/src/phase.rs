//! Where a connection stands in a drain, and when it moves on. Pure: pace in, phase out.

use std::time::Duration;

use crate::schedule::{Place, micros, push_slot, response_slot};
use crate::{DrainDecision, DrainEvent, DrainSchedule, DrainStrategy, decision};

/// How far a connection has come on the way from serving to gone. It only moves forward.
#[expect(
    clippy::exhaustive_enums,
    reason = "the steps of the ladder; a new step would be a new contract"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Phase {
    /// Nothing asks this connection to leave yet.
    Open,
    /// Its slot has come, or it was told to start now.
    Signaled,
    /// The deadline is near.
    Finishing,
    /// The deadline has come.
    Expired,
    /// The deadline is over by `ladder.drop_after`, or the connection is forced to close.
    Overdue,
}

/// No deadline, in microseconds since the start.
pub(crate) const NEVER: u64 = u64::MAX;

/// What is fixed about a connection when its watcher opens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seat {
    pub(crate) place: Place,
    /// Milliseconds since the start of the drain, plus one; 0: opened before it.
    opened_ms: u32,
    drain_timeout_ms: u32,
}

impl Seat {
    pub(crate) fn new(place: Place, opened: Option<Duration>, drain_timeout: Duration) -> Self {
        let ms = |d: Duration| u32::try_from(d.as_millis()).unwrap_or(u32::MAX - 1);
        Self {
            place,
            opened_ms: opened.map_or(0, |opened| ms(opened).saturating_add(1)),
            drain_timeout_ms: ms(drain_timeout),
        }
    }

    fn opened(self) -> Option<Duration> {
        self.opened_ms
            .checked_sub(1)
            .map(|ms| Duration::from_millis(ms.into()))
    }

    /// When this connection is woken to leave, in microseconds since the start.
    fn slot(self, event: &DrainEvent) -> u64 {
        let drain_timeout = Duration::from_millis(self.drain_timeout_ms.into());
        push_slot(event, self.place, self.opened(), drain_timeout).map_or(NEVER, micros)
    }

    /// The phase at `pace` microseconds after the start, with the deadline at `deadline`.
    pub(crate) fn phase(self, event: &DrainEvent, deadline: u64, pace: u64) -> Phase {
        let at = Steps::new(event, deadline);
        match pace {
            _ if pace >= at.overdue => Phase::Overdue,
            _ if pace >= at.expired => Phase::Expired,
            _ if pace >= at.finishing => Phase::Finishing,
            _ if pace >= self.slot(event) => Phase::Signaled,
            _ => Phase::Open,
        }
    }

    /// When the phase after `phase` begins, in microseconds since the start; [`NEVER`] if it does not.
    pub(crate) fn next_after(self, phase: Phase, event: &DrainEvent, deadline: u64) -> u64 {
        let at = Steps::new(event, deadline);
        match phase {
            Phase::Open => self.slot(event).min(at.finishing),
            Phase::Signaled => at.finishing,
            Phase::Finishing => at.expired,
            Phase::Expired => at.overdue,
            Phase::Overdue => NEVER,
        }
    }

    /// Whether a response written at `pace` should say goodbye.
    pub(crate) fn response_leaves(self, event: &DrainEvent, pace: u64, sample: impl FnOnce() -> u64) -> bool {
        match event.schedule {
            DrainSchedule::FirstQuarter => pace >= micros(response_slot(event, self.place, self.opened())),
            DrainSchedule::Envoy140 => {
                let drain = Some((event.strategy, event.drain_time, Duration::from_micros(pace)));
                decision::should_drain_close(crate::DrainType::ModifyOnly, false, drain, 0.5, sample)
            }
        }
    }
}

/// The instants at which all connections of a drain move on, in microseconds since the start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Steps {
    pub(crate) finishing: u64,
    pub(crate) expired: u64,
    pub(crate) overdue: u64,
}

impl Steps {
    pub(crate) fn new(event: &DrainEvent, deadline: u64) -> Self {
        if deadline == NEVER {
            return Self {
                finishing: NEVER,
                expired: NEVER,
                overdue: NEVER,
            };
        }
        Self {
            finishing: deadline.saturating_sub(micros(event.finish_before())),
            expired: deadline,
            overdue: deadline.saturating_add(micros(event.ladder.drop_after)),
        }
    }

    /// The first step after `pace`.
    pub(crate) fn next(self, pace: u64) -> Option<u64> {
        [self.finishing, self.expired, self.overdue]
            .into_iter()
            .find(|&at| at > pace && at != NEVER)
    }
}

/// How often, in microseconds, the pace must move on so that responses see their slots; `None`: not at all any more.
pub(crate) fn tick(event: &DrainEvent, pace: u64) -> Option<u64> {
    if event.strategy == DrainStrategy::Immediate {
        return None;
    }
    let window = micros(crate::schedule::telling_window(event));
    (pace < window).then(|| match event.schedule {
        // A 256th of the window is finer than any client can tell, and never busier than a tick a millisecond.
        DrainSchedule::FirstQuarter => (window / 256).max(1_000),
        // Whole seconds, on the second.
        DrainSchedule::Envoy140 => 1_000_000 - pace % 1_000_000,
    })
}

/// A decision that is always the same; for connections that are told by other means, and for tests.
#[expect(clippy::exhaustive_enums, reason = "yes or no")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fixed {
    /// Always leave.
    Leave,
    /// Never leave.
    Stay,
}

impl DrainDecision for Fixed {
    fn drain_close(&self) -> bool {
        *self == Self::Leave
    }
}
