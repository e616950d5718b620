//! Should this connection leave now? The question, and Envoy's two answers to it as pure functions.

use std::time::Duration;

use crate::{DrainStrategy, DrainType};

/// Whether the connection that asks should leave now; asked once per response, before its head is written.
///
/// Implemented by [`DrainHandle`](crate::DrainHandle) and [`DrainWatch`](crate::DrainWatch); open for others, who
/// combine it with what else they know (a failed health check, an age).
pub trait DrainDecision {
    /// `true`: say goodbye with this response.
    #[doc(alias = "drainClose")]
    fn drain_close(&self) -> bool;

    /// How far the drain has come: 65 535ths of its drain time, rounded down, as coarse as its pace. `None`: no drain concerns
    /// the connection, or one with Envoy's own schedule, in which no connection leaves before its turn. Default: `None`.
    fn progress(&self) -> Option<u16> {
        None
    }

    /// The connection leaves now, although its slot has not come. `true`: say goodbye with this response. Default: it stays.
    fn leave_early(&self) -> bool {
        false
    }
}

impl<D: DrainDecision + ?Sized> DrainDecision for &D {
    fn drain_close(&self) -> bool {
        (**self).drain_close()
    }

    fn progress(&self) -> Option<u16> {
        (**self).progress()
    }

    fn leave_early(&self) -> bool {
        (**self).leave_early()
    }
}

impl<D: DrainDecision + ?Sized> DrainDecision for std::sync::Arc<D> {
    fn drain_close(&self) -> bool {
        (**self).drain_close()
    }

    fn progress(&self) -> Option<u16> {
        (**self).progress()
    }

    fn leave_early(&self) -> bool {
        (**self).leave_early()
    }
}

/// The polled decision of all Envoy releases up to mid 2026, for a drain that covers the asker.
///
/// `elapsed` of `drain_time` have passed (both rounded as Envoy does: elapsed whole seconds, rounded up). `sample` is
/// called only inside the window, at most once.
///
/// Source: [`DrainManagerImpl::drainClose`](https://github.com/envoyproxy/envoy/blob/main/source/server/drain_manager_impl.cc).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use drain_signal::{DrainStrategy, decision::drain_close};
///
/// let (drain_time, strategy) = (Duration::from_secs(600), DrainStrategy::Gradual);
/// assert!(!drain_close(strategy, drain_time, Duration::ZERO, || 1199));
/// assert!(!drain_close(strategy, drain_time, Duration::from_secs(599), || 1199)); // 599 > 1199 mod 600 is false
/// assert!(drain_close(strategy, drain_time, drain_time, || unreachable!()));
/// ```
pub fn drain_close(
    strategy: DrainStrategy,
    drain_time: Duration,
    elapsed: Duration,
    sample: impl FnOnce() -> u64,
) -> bool {
    if strategy == DrainStrategy::Immediate || elapsed >= drain_time || drain_time.as_secs() == 0 {
        return true;
    }
    let seconds = drain_time.as_secs();
    let remaining = (drain_time - elapsed).as_secs();
    seconds - remaining > sample() % seconds
}

/// The decision of the event model (Envoy's newest code) for a connection of a listener of type `drain_type`.
///
/// * `elapsed`: since the start of the drain, rounded down to whole seconds; `None`: no drain covers the connection.
/// * `ramp`: the share of the drain time after which every response says yes; 1.0 in general, 0.5 for HTTP. Rounded up
///   to whole seconds.
/// * `sample` is called only inside the ramp, at most once.
///
/// Source: [`drain_close_util.h`](https://github.com/envoyproxy/envoy/blob/main/source/common/network/drain_close_util.h).
pub fn should_drain_close(
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
    // A cast saturates, so no drain time is too long. A ramp that is no number is the whole drain time.
    let ramp = if ramp.is_nan() { 1.0 } else { ramp.clamp(0.0, 1.0) };
    let window = (drain_time.as_secs_f64() * ramp).ceil() as u64;
    let elapsed = elapsed.as_secs();
    elapsed >= window || elapsed > sample() % window
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn event_model(drain_time: u64, elapsed: u64, ramp: f64, sample: u64) -> bool {
        let drain = Some((DrainStrategy::Gradual, s(drain_time), s(elapsed)));
        should_drain_close(DrainType::Default, false, drain, ramp, || sample)
    }

    #[test]
    fn the_polled_ramp_is_strict_and_ends_at_the_drain_time() {
        let at = |elapsed, sample| drain_close(DrainStrategy::Gradual, s(3), s(elapsed), || sample);
        assert!(!at(0, 0) && at(2, 4) && at(3, 2) && at(4, 2));
    }

    #[test]
    fn the_polled_model_rounds_elapsed_time_up() {
        assert!(drain_close(
            DrainStrategy::Gradual,
            s(10),
            Duration::from_millis(100),
            || 0
        ));
    }

    #[test]
    fn immediate_and_a_zero_drain_time_draw_no_sample() {
        assert!(drain_close(
            DrainStrategy::Immediate,
            s(600),
            s(0),
            || unreachable!()
        ));
        assert!(drain_close(DrainStrategy::Gradual, s(0), s(0), || unreachable!()));
    }

    #[test]
    fn the_event_ramp_matches_envoys_numbers() {
        assert!(
            event_model(100, 30, 1.0, 29) && !event_model(100, 30, 1.0, 30) && !event_model(100, 30, 1.0, 70)
        );
        assert!(
            event_model(100, 30, 0.5, 29) && !event_model(100, 30, 0.5, 30) && event_model(100, 30, 0.5, 70)
        );
        assert!(event_model(100, 50, 0.5, 49) && !event_model(1, 0, 0.5, 0) && event_model(0, 0, 1.0, 0));
    }

    #[test]
    fn failed_health_drains_default_listeners_only() {
        assert!(should_drain_close(
            DrainType::Default,
            true,
            None,
            1.0,
            || unreachable!()
        ));
        assert!(!should_drain_close(
            DrainType::ModifyOnly,
            true,
            None,
            1.0,
            || unreachable!()
        ));
    }
}
