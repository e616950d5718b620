//! Envoy's arithmetic of a drain manager: odds of the question that is asked once per response, in
//! both of Envoy's models, and delays of callbacks. Pure: time and samples come in. Every function
//! takes any value.

use std::time::Duration;

use drain_signal::DrainStrategy;
use drain_signal::schedule::{ceil_seconds, ramp_is_due};

use crate::DrainType;

/// How the polled question rounds elapsed time before it compares it with its sample.
#[expect(
    clippy::exhaustive_enums,
    reason = "to whole seconds down or up, or not at all"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Rounding {
    /// To whole seconds, down: as Envoy's event model.
    #[default]
    Floor,
    /// To whole seconds, up: as Envoy's polled model.
    Ceil,
    /// To milliseconds, down. For drain times of a few seconds, where whole ones are steps a client
    /// can see.
    Millis,
}

/// The polled model, in all Envoy releases up to mid 2026: whether a connection that a drain covers
/// closes with this response. It does if `elapsed` of `drain_time` exceeds `sample` of it.
///
/// `sample` is called only inside the drain time, at most once.
///
/// Source:
/// [`DrainManagerImpl::drainClose`](https://github.com/envoyproxy/envoy/blob/main/source/server/drain_manager_impl.cc),
/// which is [`Rounding::Ceil`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use drain_tree::{DrainStrategy, Rounding, schedule::polled_is_due};
///
/// let after_100_ms = |rounding| {
///     let (drain_time, elapsed) = (Duration::from_secs(10), Duration::from_millis(100));
///     polled_is_due(DrainStrategy::Gradual, drain_time, elapsed, rounding, || 0)
/// };
/// assert!(!after_100_ms(Rounding::Floor) && after_100_ms(Rounding::Ceil) && after_100_ms(Rounding::Millis));
/// ```
#[doc(alias = "drainClose")]
pub fn polled_is_due(
    strategy: DrainStrategy,
    drain_time: Duration,
    elapsed: Duration,
    rounding: Rounding,
    sample: impl FnOnce() -> u64,
) -> bool {
    let Some(remaining) = drain_time
        .checked_sub(elapsed)
        .filter(|left| !left.is_zero())
    else {
        return true;
    };
    let (elapsed, whole) = match rounding {
        // Envoy's own subtraction: of whole seconds.
        Rounding::Ceil => (
            drain_time.as_secs() - remaining.as_secs(),
            drain_time.as_secs(),
        ),
        Rounding::Floor => (elapsed.as_secs(), ceil_seconds(drain_time).as_secs()),
        Rounding::Millis => (millis(elapsed), millis(drain_time)),
    };
    strategy == DrainStrategy::Immediate || whole == 0 || elapsed > sample() % whole
}

/// The event model, in Envoy's newest code: whether a connection of a listener of type `drain_type`
/// closes with this response.
///
/// * `drain`: strategy, drain time and elapsed time of the drain that covers the connection, if
///   there is one. Elapsed time counts in whole seconds, rounded down.
/// * `ramp`: the share of the drain time after which every response closes: 1.0 in general, 0.5 for
///   HTTP. Below 0 it is 0; above 1, and if it is not a number, it is 1. The time is rounded up to
///   whole seconds.
/// * `sample` is called only inside the ramp, at most once.
///
/// Source:
/// [`drain_close_util.h`](https://github.com/envoyproxy/envoy/blob/main/source/common/network/drain_close_util.h).
#[doc(alias = "shouldDrainClose")]
pub fn event_is_due(
    drain_type: DrainType,
    health_failed: bool,
    drain: Option<(DrainStrategy, Duration, Duration)>,
    ramp: f64,
    sample: impl FnOnce() -> u64,
) -> bool {
    if drain_type == DrainType::Default && health_failed {
        return true;
    }
    let Some((strategy, drain_time, elapsed)) = drain else {
        return false;
    };
    if strategy == DrainStrategy::Immediate {
        return true;
    }
    ramp_is_due(share(drain_time, ramp), elapsed, sample)
}

/// After how long stored on-drain callback `index` of `count` is to close: evenly spread over a
/// quarter of what `remaining` there is of the drain time, in whole milliseconds.
///
/// Callback 0 gets 0, and none gets a quarter. Under the immediate strategy nothing remains.
///
/// Source:
/// [`DrainManagerImpl::startDrainSequence`](https://github.com/envoyproxy/envoy/blob/main/source/server/drain_manager_impl.cc).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use drain_tree::schedule::stored_callback_delay;
///
/// let delay = |index| stored_callback_delay(index, 20, Duration::from_secs(4));
/// assert_eq!([0, 1, 19].map(delay), [0, 50, 950].map(Duration::from_millis));
/// ```
pub fn stored_callback_delay(index: usize, count: usize, remaining: Duration) -> Duration {
    let parts = 4 * (count.max(1) as u128);
    let millis = remaining.as_millis().saturating_mul(index as u128) / parts;
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

/// After how long an on-drain callback registered during a drain is to close: a random share of all
/// that `remaining` there is of the drain time, in whole milliseconds. `sample` is called only if
/// that is a millisecond at least, and gradual.
///
/// Source:
/// [`DrainManagerImpl::addOnDrainCloseCb`](https://github.com/envoyproxy/envoy/blob/main/source/server/drain_manager_impl.cc).
pub fn late_callback_delay(
    strategy: DrainStrategy,
    remaining: Duration,
    sample: impl FnOnce() -> u64,
) -> Duration {
    let millis = millis(remaining);
    if strategy == DrainStrategy::Immediate || millis == 0 {
        return Duration::ZERO;
    }
    Duration::from_millis(sample() % millis)
}

/// After how long a connection notified of `event` at `elapsed` drains by itself, in Envoy's event
/// model; `None`: not at all, it is left to its responses.
///
/// The window is [`factor` * drain time, drain time - `grace`] since the start; a connection that
/// came when it had begun is left alone. A `factor` outside 0 to 1 is 0 or 1, and 1 if it is not a
/// number. Envoy answers 0 for "not at all", whole milliseconds otherwise.
///
/// Source:
/// [`drain_close_util.h`](https://github.com/envoyproxy/envoy/blob/main/source/common/network/drain_close_util.h).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use drain_tree::schedule::proactive_delay;
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
    let from = millis(share(drain_time, factor));
    let to = millis(drain_time.saturating_sub(grace));
    let elapsed = millis(elapsed);
    (from < to && elapsed < from)
        .then(|| Duration::from_millis(from + sample() % (to - from) - elapsed))
}

/// `factor` of `duration`.
fn share(duration: Duration, factor: f64) -> Duration {
    // The largest duration times 1.0 would be rounded up beyond it.
    if factor.is_nan() || factor >= 1.0 {
        return duration;
    }
    duration.mul_f64(factor.max(0.0))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn event_model(drain_time: u64, elapsed: u64, ramp: f64, sample: u64) -> bool {
        let drain = Some((DrainStrategy::Gradual, s(drain_time), s(elapsed)));
        event_is_due(DrainType::Default, false, drain, ramp, || sample)
    }

    #[test]
    fn the_polled_ramp_is_strict_and_ends_at_the_drain_time() {
        let at = |elapsed, sample| {
            let (time, elapsed) = (s(3), s(elapsed));
            polled_is_due(
                DrainStrategy::Gradual,
                time,
                elapsed,
                Rounding::Ceil,
                || sample,
            )
        };
        assert!(!at(0, 0) && at(2, 4) && at(3, 2) && at(4, 2));
    }

    #[test]
    fn immediate_and_a_zero_drain_time_draw_no_sample() {
        let close =
            |strategy, time| polled_is_due(strategy, time, s(0), Rounding::Ceil, || unreachable!());
        assert!(close(DrainStrategy::Immediate, s(600)));
        assert!(close(DrainStrategy::Gradual, s(0)));
        // Envoy's whole seconds: less than one is none.
        assert!(close(DrainStrategy::Gradual, Duration::from_millis(999)));
    }

    #[test]
    fn the_event_ramp_matches_envoys_numbers() {
        assert!(
            event_model(100, 30, 1.0, 29)
                && !event_model(100, 30, 1.0, 30)
                && !event_model(100, 30, 1.0, 70)
        );
        assert!(
            event_model(100, 30, 0.5, 29)
                && !event_model(100, 30, 0.5, 30)
                && event_model(100, 30, 0.5, 70)
        );
        assert!(
            event_model(100, 50, 0.5, 49)
                && !event_model(1, 0, 0.5, 0)
                && event_model(0, 0, 1.0, 0)
        );
    }

    #[test]
    fn failed_health_drains_default_listeners_only() {
        let close = |drain_type| event_is_due(drain_type, true, None, 1.0, || unreachable!());
        assert!(close(DrainType::Default) && !close(DrainType::ModifyOnly));
    }

    fn any_duration() -> impl Strategy<Value = Duration> {
        let odd = [
            Duration::ZERO,
            Duration::from_nanos(1),
            Duration::from_nanos(999_999_999),
            s(u64::MAX),
            Duration::MAX,
            Duration::MAX - Duration::from_nanos(1),
        ];
        prop_oneof![
            prop::sample::select(odd.to_vec()),
            (any::<u64>(), 0..1_000_000_000_u32)
                .prop_map(|(secs, nanos)| Duration::new(secs, nanos)),
            (0..10_000_u64).prop_map(Duration::from_millis),
        ]
    }

    fn any_factor() -> impl Strategy<Value = f64> {
        let odd = [
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            -0.0,
            0.0,
            1.0,
            -1.0,
            f64::MIN_POSITIVE,
            1.0 - f64::EPSILON,
        ];
        prop_oneof![prop::sample::select(odd.to_vec()), any::<f64>(), 0.0..1.0]
    }

    proptest! {
        #[test]
        fn no_value_is_too_much(
            time in any_duration(), elapsed in any_duration(), grace in any_duration(), factor in any_factor(),
            sample: u64, index: usize, count: usize, immediate: bool
        ) {
            let strategy = if immediate { DrainStrategy::Immediate } else { DrainStrategy::Gradual };
            let drain = Some((strategy, time, elapsed));
            let is_over = elapsed >= time;
            prop_assert!(event_is_due(DrainType::Default, false, drain, factor, || sample)
                || !is_over || elapsed.as_secs() < ceil_seconds(time).as_secs());
            for rounding in [Rounding::Floor, Rounding::Ceil, Rounding::Millis] {
                prop_assert!(polled_is_due(strategy, time, elapsed, rounding, || sample) || !is_over);
            }
            prop_assert!(stored_callback_delay(index, count, time) <= time || index >= count);
            prop_assert!(late_callback_delay(strategy, time, || sample) <= time);
            if let Some(delay) = proactive_delay(time, elapsed, grace, factor, || sample) {
                prop_assert!(delay <= time);
            }
        }
    }
}
