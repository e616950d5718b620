//! When is a connection's slot? Pure functions of elapsed time, drain time and a sample; no clock, no
//! randomness. [`push_slot`] is the answer for a connection that waits, [`signal_window`] the time in
//! which all slots lie.

use std::time::Duration;

use crate::engine::ALL_PLACES;
use crate::{DrainEvent, DrainSchedule, DrainStrategy};

/// A connection's place in the queue: a fraction of one in 1/65536 steps, fixed when its watcher
/// opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub(crate) u16);

impl Place {
    /// `numerator` of 65536 parts of the window.
    pub const fn new(numerator: u16) -> Self {
        Self(numerator)
    }

    /// This place's share of `window`.
    pub fn of(self, window: Duration) -> Duration {
        let share = (u128::from(micros(window)) * u128::from(self.0)) >> 16;
        Duration::from_micros(share as u64)
    }

    /// The place that has its slot at `slot` in a window of `window`, both in microseconds.
    pub(crate) fn at(slot: u64, window: u64) -> Self {
        let place = (u128::from(slot) << 16).div_ceil(u128::from(window.max(1)));
        Self(u16::try_from(place).unwrap_or(u16::MAX))
    }
}

/// Whole microseconds of a duration, saturating (584 000 years).
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The window in which a gradual drain signals its connections: a quarter of the drain time under
/// [`DrainSchedule::FirstQuarter`], half of it (whole seconds, rounded up) under
/// [`DrainSchedule::Envoy140`]; zero if the strategy is immediate.
pub fn signal_window(event: &DrainEvent) -> Duration {
    match (event.strategy, event.schedule) {
        (DrainStrategy::Immediate, _) => Duration::ZERO,
        (DrainStrategy::Gradual, DrainSchedule::FirstQuarter) => event.drain_time / 4,
        (DrainStrategy::Gradual, DrainSchedule::Envoy140) => ceil_seconds(event.drain_time / 2),
    }
}

/// When, since the start of the drain, a connection is woken to leave by itself; `None`: never, it
/// is signaled with its next response only.
///
/// * `opened`: when the connection was opened, since the start; `None` if before it.
/// * `drain_timeout`: what the connection needs between being signaled and being gone (Envoy's HCM
///   `drain_timeout`); only [`DrainSchedule::Envoy140`] asks.
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
    let window = signal_window(event);
    match event.schedule {
        DrainSchedule::FirstQuarter => match opened {
            None => Some(place.of(window)),
            Some(opened) => (opened < window).then(|| opened + place.of(window - opened)),
        },
        DrainSchedule::Envoy140 => {
            let is_late = opened.is_some_and(|opened| opened >= envoy_window(event.drain_time));
            envoy_slot(event.drain_time, place, is_late, drain_timeout)
        }
    }
}

/// How long after `elapsed` the time matters next, whether a connection is open or not: one may open
/// and be given a slot in what is left, and one that only asks sees its slot. `None`: not at all any
/// more.
///
/// A 256th of the window is finer than a client can measure, and a millisecond often enough. Whole
/// seconds under [`DrainSchedule::Envoy140`]. Counted from the start, so that drains which began
/// together come at the same instants.
pub fn tick(event: &DrainEvent, elapsed: Duration) -> Option<Duration> {
    let window = match event.schedule {
        DrainSchedule::FirstQuarter => signal_window(event),
        DrainSchedule::Envoy140 => envoy_window(event.drain_time),
    };
    (elapsed < window).then(|| match event.schedule {
        DrainSchedule::FirstQuarter => {
            let every = micros(window / 256).max(1000);
            Duration::from_micros(every - micros(elapsed) % every)
        }
        DrainSchedule::Envoy140 => Duration::new(1, 0) - Duration::new(0, elapsed.subsec_nanos()),
    })
}

/// When Envoy 1.40's window opens in which idle connections are woken.
pub(crate) fn envoy_window(drain_time: Duration) -> Duration {
    // Twice the drain time would overflow at the end of the type.
    drain_time - drain_time / 3
}

/// Envoy 1.40 wakes an idle connection in [2T/3, T - drain_timeout], under both strategies, if that
/// window is not empty and the connection is older than it.
pub(crate) fn envoy_slot(
    drain_time: Duration,
    place: Place,
    opened_in_window: bool,
    drain_timeout: Duration,
) -> Option<Duration> {
    let from = envoy_window(drain_time);
    let to = drain_time.saturating_sub(drain_timeout);
    (from < to && !opened_in_window).then(|| from.saturating_add(place.of(to - from)))
}

/// How many of 65536 places have had their slot at `pace` in a window of `window`, both in
/// microseconds: the inverse of [`Place::of`].
pub(crate) fn places_signaled(pace: u64, window: u64) -> u32 {
    if window == 0 || pace >= window {
        return ALL_PLACES;
    }
    // One more than the largest place p with floor(window * p / 65536) <= pace.
    let come = ((u128::from(pace) + 1) << 16).div_ceil(u128::from(window));
    come.min(ALL_PLACES.into()) as u32
}

/// What Envoy answers a response when `elapsed` of a drain have passed: the odds of a yes rise to
/// one at the end of `ramp`, in whole seconds. `sample` is called only before that, at most once.
///
/// Source:
/// [`drain_close_util.h`](https://github.com/envoyproxy/envoy/blob/main/source/common/network/drain_close_util.h).
pub fn ramp_is_due(ramp: Duration, elapsed: Duration, sample: impl FnOnce() -> u64) -> bool {
    let (ramp, elapsed) = (ceil_seconds(ramp).as_secs(), elapsed.as_secs());
    elapsed >= ramp || elapsed > sample() % ramp
}

/// A duration in whole seconds, rounded up.
pub fn ceil_seconds(duration: Duration) -> Duration {
    let begun = u64::from(duration.subsec_nanos() > 0);
    Duration::from_secs(duration.as_secs().saturating_add(begun))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ramp_matches_envoys_numbers() {
        let leaves = |drain_time, elapsed, sample| {
            let [drain_time, elapsed] = [drain_time, elapsed].map(Duration::from_secs);
            ramp_is_due(drain_time / 2, elapsed, || sample)
        };
        assert!(leaves(100, 30, 29) && !leaves(100, 30, 30) && leaves(100, 30, 70));
        assert!(leaves(100, 50, 49) && !leaves(1, 0, 0) && leaves(0, 0, 0));
        assert!(!leaves(u64::MAX, u64::MAX / 4, u64::MAX / 4));
    }

    proptest! {
        #[test]
        fn the_places_signaled_are_those_whose_slot_has_come(window in 0_u64..1 << 50, pace in 0_u64..1 << 50, place: u16) {
            let slot = micros(Place::new(place).of(Duration::from_micros(window)));
            prop_assert_eq!(slot <= pace, u32::from(place) < places_signaled(pace, window));
            let near = slot.saturating_add(pace % 3).saturating_sub(1);
            prop_assert_eq!(slot <= near, u32::from(place) < places_signaled(near, window));
        }

        #[test]
        fn a_place_found_for_a_slot_is_not_signaled_before_it(window in 1_u64..1 << 50, slot in 0_u64..1 << 50) {
            let slot = slot % window;
            let place = Place::at(slot, window);
            prop_assert!(place == Place::new(u16::MAX) || micros(place.of(Duration::from_micros(window))) >= slot);
        }
    }
}
