//! Envoy's arithmetic of a drain manager: odds of the polled question, delays of callbacks. Pure: time and samples come in.

use std::time::Duration;

use drain_signal::{DrainStrategy, decision};

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
    /// To milliseconds, down. For drain times of a few seconds, where whole ones are steps a client can see.
    Millis,
}

/// The polled decision for a drain that covers the asker: whether `elapsed` of `drain_time` exceeds `sample` of it.
///
/// `sample` is called only inside the window, at most once.
///
/// Source: [`DrainManagerImpl::drainClose`](https://github.com/envoyproxy/envoy/blob/main/source/server/drain_manager_impl.cc),
/// which is [`Rounding::Ceil`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use drain_tree::{DrainStrategy, Rounding, schedule::drain_close};
///
/// let after_100_ms = |rounding| {
///     let (drain_time, elapsed) = (Duration::from_secs(10), Duration::from_millis(100));
///     drain_close(DrainStrategy::Gradual, drain_time, elapsed, rounding, || 0)
/// };
/// assert!(!after_100_ms(Rounding::Floor) && after_100_ms(Rounding::Ceil) && after_100_ms(Rounding::Millis));
/// ```
pub fn drain_close(
    strategy: DrainStrategy,
    drain_time: Duration,
    elapsed: Duration,
    rounding: Rounding,
    sample: impl FnOnce() -> u64,
) -> bool {
    let (elapsed_units, units) = match rounding {
        Rounding::Ceil => return decision::drain_close(strategy, drain_time, elapsed, sample),
        Rounding::Floor => (elapsed.as_secs(), ceil_seconds(drain_time)),
        Rounding::Millis => (millis(elapsed), millis(drain_time)),
    };
    if strategy == DrainStrategy::Immediate || elapsed >= drain_time || units == 0 {
        return true;
    }
    elapsed_units > sample() % units
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

/// After how long an on-drain callback registered during a drain is to close: a random share of all that `remaining` there
/// is of the drain time, in whole milliseconds. `sample` is called only if that is a millisecond at least, and gradual.
///
/// Source: [`DrainManagerImpl::addOnDrainCloseCb`](https://github.com/envoyproxy/envoy/blob/main/source/server/drain_manager_impl.cc).
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
    let from = millis(drain_time.mul_f64(factor.clamp(0.0, 1.0)));
    let to = millis(drain_time.saturating_sub(grace));
    let elapsed = millis(elapsed);
    (from < to && elapsed < from).then(|| Duration::from_millis(from + sample() % (to - from) - elapsed))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn ceil_seconds(duration: Duration) -> u64 {
    duration
        .as_secs()
        .saturating_add(u64::from(duration.subsec_nanos() > 0))
}
