//! Envoy's event model: the cases of its own test (X17-X31), with its numbers, through its two pure
//! functions.
//!
//! Each comment names the rule and the case in
//! [`drain_close_util_test.cc`](https://github.com/envoyproxy/envoy/blob/main/test/common/network/drain_close_util_test.cc);
//! the rules are those of
//! [`drain_close_util.cc`](https://github.com/envoyproxy/envoy/blob/main/source/common/network/drain_close_util.cc).

use std::time::Duration;

use drain_tree::schedule::{event_is_due, proactive_delay};
use drain_tree::{DrainEvent, DrainReason, DrainStrategy, DrainType};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const TYPES: [DrainType; 2] = [DrainType::Default, DrainType::ModifyOnly];

/// A gradual drain of `drain_time` seconds, asked `elapsed` seconds after its start.
fn close(drain_time: u64, elapsed: u64, ramp: f64, sample: u64) -> bool {
    let drain = Some((
        DrainStrategy::Gradual,
        seconds(drain_time),
        seconds(elapsed),
    ));
    event_is_due(DrainType::Default, false, drain, ramp, || sample)
}

/// [`proactive_delay`] in milliseconds, 0 for "do not", as Envoy answers.
fn delay(drain_time: u64, elapsed: u64, grace_ms: u64, factor: f64, sample: u64) -> u128 {
    let grace = Duration::from_millis(grace_ms);
    let delay = proactive_delay(seconds(drain_time), seconds(elapsed), grace, factor, || {
        sample
    });
    delay.unwrap_or_default().as_millis()
}

/// How long before `now` a drain began that started at `start`: what both functions are asked with.
fn elapsed(start: std::time::Instant, now: std::time::Instant) -> Duration {
    now.saturating_duration_since(start)
}

/// X17; E6 (b).
#[test]
fn without_event_and_healthy_no_connection_closes() {
    for drain_type in TYPES {
        assert!(!event_is_due(
            drain_type,
            false,
            None,
            1.0,
            || unreachable!()
        ));
    }
}

/// X18; E6 (a), E7: a connection without a listener counts as `Default`.
#[test]
fn failed_health_closes_default_only_and_reverses() {
    let close = |drain_type, failed| event_is_due(drain_type, failed, None, 1.0, || unreachable!());
    assert!(close(DrainType::Default, true) && !close(DrainType::Default, false));
    assert!(!close(DrainType::ModifyOnly, true));
    assert!(close(DrainType::default(), true));
}

/// X19; E6 (c).
#[test]
fn an_immediate_event_closes_without_a_sample() {
    let drain = Some((DrainStrategy::Immediate, seconds(100), seconds(0)));
    for drain_type in TYPES {
        assert!(event_is_due(
            drain_type,
            false,
            drain,
            1.0,
            || unreachable!()
        ));
    }
}

/// X20; E6 (d).
#[test]
fn at_the_start_of_a_gradual_drain_no_connection_closes() {
    assert!(!close(100, 0, 1.0, 0));
}

/// X21; E6 (d).
#[test]
fn at_the_end_of_the_drain_time_everybody_closes() {
    assert!(close(100, 100, 1.0, u64::MAX));
}

/// X22; E6 (d): the comparison is strict.
#[test]
fn after_30_of_100_s_30_samples_of_100_close() {
    assert_eq!(
        [29, 30, 70].map(|sample| close(100, 30, 1.0, sample)),
        [true, false, false]
    );
    assert_eq!(
        (0..100)
            .filter(|&sample| close(100, 30, 1.0, sample))
            .count(),
        30
    );
}

/// X23; E6 (d).
#[test]
fn without_drain_time_everybody_closes() {
    assert!(close(0, 0, 1.0, 0));
}

/// X24; E6 (d): elapsed time is 0 before the start.
#[test]
fn a_start_in_the_future_closes_no_connection() {
    let now = tokio::time::Instant::now().into_std();
    let drain = Some((
        DrainStrategy::Gradual,
        seconds(100),
        elapsed(now + seconds(50), now),
    ));
    assert!(!event_is_due(DrainType::Default, false, drain, 1.0, || 0));
}

/// X25; E6, E9: HTTP's ramp is half of the drain time. 70 mod 50 is 20.
#[test]
fn half_the_ramp_closes_everybody_at_half_of_the_drain_time() {
    assert_eq!(
        [29, 30, 70].map(|sample| close(100, 30, 0.5, sample)),
        [true, false, true]
    );
    assert!(!close(100, 30, 1.0, 70));
    assert_eq!(
        [0, 49, 50].map(|sample| close(100, 50, 0.5, sample)),
        [true; 3]
    );
}

/// X26; E8.
#[test]
fn a_proactive_drain_lies_between_its_share_and_the_grace() {
    let delays = [0, 39_999, 40_000].map(|sample| delay(100, 0, 10_000, 0.5, sample));
    assert_eq!(delays, [50_000, 89_999, 50_000]);
    assert_eq!(delay(100, 20, 10_000, 0.5, 1000), 31_000);
}

/// X27; E8.
#[test]
fn a_connection_notified_late_is_drained_at_the_same_time() {
    assert_eq!(
        [0, 25_000].map(|sample| delay(100, 49, 10_000, 0.5, sample)),
        [1000, 26_000]
    );
}

/// X28; E8, E10.
#[test]
fn a_connection_that_opens_when_the_window_has_begun_is_not_drained() {
    assert_eq!(
        [50, 90, 150].map(|elapsed| delay(100, elapsed, 10_000, 0.5, 0)),
        [0; 3]
    );
}

/// X29; E8, E10.
#[test]
fn an_empty_window_drains_no_connection_proactively() {
    assert_eq!(
        [5000, 15_000, 2000, 1999].map(|grace| delay(10, 0, grace, 0.8, 0)),
        [0, 0, 0, 8000]
    );
    assert_eq!(delay(0, 0, 0, 0.8, 0), 0);
}

/// X30; E6 (d): the ramp is rounded up to whole seconds.
#[test]
fn half_a_second_of_ramp_is_one_second() {
    assert!(!close(1, 0, 0.5, 0) && close(1, 1, 0.5, 0));
}

/// X31; E8: elapsed time is 0 before the start.
#[test]
fn a_start_in_the_future_does_not_lengthen_the_delay() {
    let now = tokio::time::Instant::now().into_std();
    let elapsed = elapsed(now + seconds(50), now);
    let delay = proactive_delay(seconds(100), elapsed, seconds(10), 0.5, || 0);
    assert_eq!(delay, Some(Duration::from_millis(50_000)));
}

/// E1: what an event says never changes.
#[test]
fn an_event_keeps_what_its_drain_began_with() {
    let start = tokio::time::Instant::now().into_std();
    let event = DrainEvent::new(start, seconds(100), DrainReason::ListenerModify);
    assert_eq!(
        (event.start, event.strategy),
        (start, DrainStrategy::Gradual)
    );
}
