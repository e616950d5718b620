//! The facts of a begun drain: captured once, shared by every connection, never changed.

use std::time::{Duration, Instant};

use crate::{DrainDirection, DrainEnd, DrainReason, DrainSchedule, DrainStrategy};

/// The steps at the end of a drain that closes what is left.
///
/// ```text
///      slot            deadline - finish_before          deadline        deadline + drop_after
/// ─────┼────────────────────────┼───────────────────────────┼──────────────────────┼──────►
///    start()                 finish()                     abort()         dropped by the driver
/// ```
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseSteps {
    /// How long before the deadline [`finish`](crate::GracefulClose::finish) is called. Default 1
    /// s, Envoy's `delayed_close_timeout`; never more than a quarter of the drain time.
    pub finish_before: Duration,
    /// How long after the deadline a connection that still lives is dropped. Default 250 ms.
    pub drop_after: Duration,
}

impl Default for CloseSteps {
    fn default() -> Self {
        Self {
            finish_before: Duration::from_secs(1),
            drop_after: Duration::from_millis(250),
        }
    }
}

impl CloseSteps {
    /// The same steps with another first one.
    pub const fn with_finish_before(mut self, finish_before: Duration) -> Self {
        self.finish_before = finish_before;
        self
    }

    /// The same steps with another last one.
    pub const fn with_drop_after(mut self, drop_after: Duration) -> Self {
        self.drop_after = drop_after;
        self
    }
}

/// The immutable facts of a begun drain.
///
/// It is published in one store, so half of it can never be seen (the defect of
/// [envoy#31457](https://github.com/envoyproxy/envoy/issues/31457)). What may still change, the
/// deadline coming nearer, is read from [`DrainHandle::deadline`](crate::DrainHandle::deadline).
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainEvent {
    /// When the drain began, on the clock of its owner.
    pub start: Instant,
    /// How long it lasts: Envoy's `--drain-time-s`, 600 s by default there.
    pub drain_time: Duration,
    /// One after the other, or all at once.
    pub strategy: DrainStrategy,
    /// When connections are signaled, if gradual.
    pub schedule: DrainSchedule,
    /// Which listeners it covers.
    pub direction: DrainDirection,
    /// Why it was begun.
    pub reason: DrainReason,
    /// What happens at the end of the drain time.
    pub end: DrainEnd,
    /// The steps at the end.
    pub close_steps: CloseSteps,
}

impl DrainEvent {
    /// A gradual drain in direction [`DrainDirection::All`] that closes what is left after
    /// `drain_time`. One without a deadline says so:
    /// [`with_end`](Self::with_end)`(`[`DrainEnd::Leave`]`)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use drain_signal::{DrainEvent, DrainReason, DrainStrategy};
    ///
    /// # #[allow(clippy::disallowed_methods, reason = "an example needs some instant")]
    /// let now = Instant::now();
    /// let event = DrainEvent::new(now, Duration::from_secs(60), DrainReason::ListenerModify)
    ///     .with_strategy(DrainStrategy::Immediate);
    /// assert_eq!(event.deadline(), Some(now + Duration::from_secs(60)));
    /// ```
    pub fn new(start: Instant, drain_time: Duration, reason: DrainReason) -> Self {
        Self {
            start,
            drain_time,
            strategy: DrainStrategy::default(),
            schedule: DrainSchedule::default(),
            direction: DrainDirection::All,
            reason,
            end: DrainEnd::Close,
            close_steps: CloseSteps::default(),
        }
    }

    /// The same event with another strategy.
    pub const fn with_strategy(mut self, strategy: DrainStrategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// The same event with another schedule.
    pub const fn with_schedule(mut self, schedule: DrainSchedule) -> Self {
        self.schedule = schedule;
        self
    }

    /// The same event with another direction.
    pub const fn with_direction(mut self, direction: DrainDirection) -> Self {
        self.direction = direction;
        self
    }

    /// The same event with another end.
    pub const fn with_end(mut self, end: DrainEnd) -> Self {
        self.end = end;
        self
    }

    /// The same event with other close steps.
    pub const fn with_close_steps(mut self, close_steps: CloseSteps) -> Self {
        self.close_steps = close_steps;
        self
    }

    /// The deadline as it was when the drain began; `None` if what is left is left alone.
    pub fn deadline(&self) -> Option<Instant> {
        let deadline = self.start.checked_add(self.drain_time);
        deadline.filter(|_| self.end == DrainEnd::Close)
    }

    /// `close_steps.finish_before`, cut to a quarter of the drain time so that a short drain keeps
    /// room for its slots.
    pub fn finish_before(&self) -> Duration {
        self.close_steps.finish_before.min(self.drain_time / 4)
    }
}
