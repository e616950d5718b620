//! When is it whose turn? Pure functions of elapsed time, drain time and a sample; no clock, no randomness.

use std::time::Duration;

use crate::{DrainEvent, DrainSchedule, DrainStrategy};

/// A connection's place in the queue: a fraction of one in 1/65536 steps, fixed when its watcher opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(u16);

impl Place {
    /// The place of whoever is told first.
    pub const FIRST: Self = Self(0);

    /// `numerator` of 65536 parts of the window.
    pub const fn new(numerator: u16) -> Self {
        Self(numerator)
    }

    /// This place's share of `window`.
    pub fn of(self, window: Duration) -> Duration {
        let micros = micros(window);
        // 48 bits of whole part times 16 bits: split, so that no window overflows.
        let share = (micros >> 16) * u64::from(self.0) + (((micros & 0xffff) * u64::from(self.0)) >> 16);
        Duration::from_micros(share)
    }
}

/// Whole microseconds of a duration, saturating (584 000 years).
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The window in which a gradual drain tells its connections: a quarter of the drain time under
/// [`DrainSchedule::FirstQuarter`], half of it (whole seconds, rounded up) under [`DrainSchedule::Envoy140`]; zero if
/// the strategy is immediate.
pub fn telling_window(event: &DrainEvent) -> Duration {
    match (event.strategy, event.schedule) {
        (DrainStrategy::Immediate, _) => Duration::ZERO,
        (DrainStrategy::Gradual, DrainSchedule::FirstQuarter) => event.drain_time / 4,
        (DrainStrategy::Gradual, DrainSchedule::Envoy140) => ceil_seconds(event.drain_time / 2),
    }
}

/// When, since the start of the drain, a connection is woken to leave by itself; `None`: never, it is told with its next
/// response only.
///
/// * `opened`: when the connection was opened, since the start; `None` if before it.
/// * `drain_timeout`: what the connection needs between being told and being gone (Envoy's HCM `drain_timeout`); only
///   [`DrainSchedule::Envoy140`] asks.
///
/// # Examples
///
/// ```
/// # #![allow(clippy::disallowed_methods, reason = "an example needs some instant")]
/// use std::time::{Duration, Instant};
/// use drain_signal::{DrainEvent, DrainReason, schedule::{Place, push_slot}};
///
/// let event = DrainEvent::new(Instant::now(), Duration::from_secs(60), DrainReason::ListenerModify);
/// // Half-way through the queue: half of the first 15 seconds.
/// assert_eq!(push_slot(&event, Place::new(0x8000), None, Duration::ZERO), Some(Duration::from_millis(7500)));
/// ```
pub fn push_slot(
    event: &DrainEvent,
    place: Place,
    opened: Option<Duration>,
    drain_timeout: Duration,
) -> Option<Duration> {
    match event.schedule {
        DrainSchedule::FirstQuarter => first_quarter_slot(event, place, opened),
        DrainSchedule::Envoy140 => envoy_window_slot(event, place, opened, drain_timeout),
    }
}

/// From when on, since the start of the drain, [`DrainSchedule::FirstQuarter`] answers a response "yes, leave".
///
/// The same instant as [`push_slot`], but for connections opened after the window: those are told with their first
/// response.
pub fn response_slot(event: &DrainEvent, place: Place, opened: Option<Duration>) -> Duration {
    first_quarter_slot(event, place, opened)
        .or(opened)
        .unwrap_or_default()
}

fn first_quarter_slot(event: &DrainEvent, place: Place, opened: Option<Duration>) -> Option<Duration> {
    let window = telling_window(event);
    match opened {
        None => Some(place.of(window)),
        Some(opened) if opened < window => Some(opened + place.of(window - opened)),
        Some(_) => None,
    }
}

/// Envoy 1.40 wakes an idle connection in [2T/3, T - drain_timeout], under both strategies, if that window is not empty
/// and the connection is older than it.
fn envoy_window_slot(
    event: &DrainEvent,
    place: Place,
    opened: Option<Duration>,
    drain_timeout: Duration,
) -> Option<Duration> {
    let from = event.drain_time * 2 / 3;
    let to = event.drain_time.saturating_sub(drain_timeout);
    (from < to && opened.is_none_or(|opened| opened < from)).then(|| from + place.of(to - from))
}

/// After how long stored on-drain callback `index` of `count` is to close: evenly spread over a quarter of what `remaining`
/// there is of the drain time, in whole milliseconds.
///
/// Callback 0 gets 0, and none gets a quarter. Under the immediate strategy nothing remains.
///
/// Source: [`DrainManagerImpl::startDrainSequence`](https://github.com/envoyproxy/envoy/blob/main/source/server/drain_manager_impl.cc).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use drain_signal::schedule::stored_callback_delay;
///
/// let delay = |index| stored_callback_delay(index, 20, Duration::from_secs(4));
/// assert_eq!([0, 1, 19].map(delay), [0, 50, 950].map(Duration::from_millis));
/// ```
pub fn stored_callback_delay(index: usize, count: usize, remaining: Duration) -> Duration {
    let parts = 4 * (count.max(1) as u128);
    let millis = remaining.as_millis().saturating_mul(index as u128) / parts;
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

/// After how long an on-drain callback registered during a drain is to close: a random share of all that `remaining` there
/// is of the drain time, in whole milliseconds. `sample` is called only if that is a millisecond at least, and gradual.
///
/// Source: [`DrainManagerImpl::addOnDrainCloseCb`](https://github.com/envoyproxy/envoy/blob/main/source/server/drain_manager_impl.cc).
pub fn late_callback_delay(
    strategy: DrainStrategy,
    remaining: Duration,
    sample: impl FnOnce() -> u64,
) -> Duration {
    let millis = u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX);
    if strategy == DrainStrategy::Immediate || millis == 0 {
        return Duration::ZERO;
    }
    Duration::from_millis(sample() % millis)
}

/// After how long a connection told of `event` at `elapsed` drains by itself, in Envoy's event model; `None`: not at all, it
/// is left to its responses.
///
/// The window is [`factor` * drain time, drain time - `grace`] since the start; a connection that came when it had begun is
/// left alone. Envoy answers 0 for "not at all", whole milliseconds otherwise.
///
/// Source: [`drain_close_util.h`](https://github.com/envoyproxy/envoy/blob/main/source/common/network/drain_close_util.h).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use drain_signal::schedule::proactive_delay;
///
/// let (drain_time, grace) = (Duration::from_secs(100), Duration::from_secs(10));
/// let delay = |elapsed, sample| proactive_delay(drain_time, Duration::from_secs(elapsed), grace, 0.5, || sample);
/// assert_eq!(delay(0, 39_999), Some(Duration::from_millis(89_999)));
/// assert_eq!(delay(20, 1000), Some(Duration::from_secs(31)));
/// assert_eq!(delay(50, 0), None);
/// ```
pub fn proactive_delay(
    drain_time: Duration,
    elapsed: Duration,
    grace: Duration,
    factor: f64,
    sample: impl FnOnce() -> u64,
) -> Option<Duration> {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let from = millis(drain_time.mul_f64(factor.clamp(0.0, 1.0)));
    let to = millis(drain_time.saturating_sub(grace));
    let elapsed = millis(elapsed);
    (from < to && elapsed < from).then(|| Duration::from_millis(from + sample() % (to - from) - elapsed))
}

pub(crate) fn ceil_seconds(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs() + u64::from(duration.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::DrainReason;

    const SECOND: Duration = Duration::from_secs(1);

    #[expect(clippy::disallowed_methods, reason = "any instant will do as a start")]
    fn event(drain_time: Duration) -> DrainEvent {
        DrainEvent::new(std::time::Instant::now(), drain_time, DrainReason::ListenerModify)
    }

    #[test]
    fn immediate_tells_everyone_at_the_start() {
        let event = event(60 * SECOND).with_strategy(DrainStrategy::Immediate);
        assert_eq!(
            push_slot(&event, Place::new(u16::MAX), None, SECOND),
            Some(Duration::ZERO)
        );
    }

    #[test]
    fn a_connection_opened_after_the_first_quarter_is_told_with_its_first_response_only() {
        let event = event(60 * SECOND);
        assert_eq!(push_slot(&event, Place::FIRST, Some(20 * SECOND), SECOND), None);
        assert_eq!(
            response_slot(&event, Place::FIRST, Some(20 * SECOND)),
            20 * SECOND
        );
    }

    #[test]
    fn envoys_window_is_empty_when_the_drain_timeout_takes_a_third() {
        let event = event(12 * SECOND).with_schedule(DrainSchedule::Envoy140);
        assert_eq!(push_slot(&event, Place::FIRST, None, 4 * SECOND), None);
        assert_eq!(
            push_slot(&event, Place::FIRST, None, 2 * SECOND),
            Some(8 * SECOND)
        );
        assert_eq!(
            push_slot(&event, Place::FIRST, Some(9 * SECOND), 2 * SECOND),
            None
        );
    }

    proptest! {
        #[test]
        fn every_slot_lies_in_the_first_quarter_and_not_before_the_connection(
            drain_ms in 0_u64..1_000_000_000, place: u16, opened in proptest::option::of(0_u64..1_000_000_000)
        ) {
            let event = event(Duration::from_millis(drain_ms));
            let opened = opened.map(Duration::from_millis);
            if let Some(slot) = push_slot(&event, Place::new(place), opened, SECOND) {
                prop_assert!(slot <= event.drain_time / 4);
                prop_assert!(slot >= opened.unwrap_or_default());
            }
        }

        #[test]
        fn an_earlier_place_is_never_told_later(drain_ms in 0_u64..1_000_000_000, a: u16, b: u16) {
            let window = Duration::from_millis(drain_ms);
            prop_assert!(Place::new(a.min(b)).of(window) <= Place::new(a.max(b)).of(window));
        }
    }
}
