//! Envoy's polled drain manager: its own test cases X1-X4, with its numbers; X5-X16 are in
//! `callbacks.rs`.
//!
//! Each comment names the rule and Envoy's test of it in
//! [`drain_manager_impl_test.cc`](https://github.com/envoyproxy/envoy/blob/main/test/server/drain_manager_impl_test.cc);
//! the rules are those of
//! [`drain_manager_impl.cc`](https://github.com/envoyproxy/envoy/blob/main/source/server/drain_manager_impl.cc).

use std::cell::Cell;
use std::time::{Duration, Instant};

use drain_tree::DrainDirection::{All, InboundOnly};
use drain_tree::{
    ChildOptions, DrainDecision, DrainEnding, DrainLength, DrainManager, DrainReason,
    DrainSettings, DrainStart, DrainStrategy, DrainType, Rounding,
};

const START: DrainStart = DrainStart::new(DrainReason::HotRestart);
const IMMEDIATE: DrainStart = START.with_strategy(DrainStrategy::Immediate);

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn manager(drain_time: Duration) -> DrainManager {
    // Rounding up is the polled model's own; the answers below are the same rounded down.
    let settings = DrainSettings::default().with_drain_time(drain_time);
    DrainManager::root(settings.with_rounding(Rounding::Ceil))
}

fn child(parent: &DrainManager) -> DrainManager {
    parent.child(ChildOptions::default())
}

/// Asks at each of `times` after `start`; the answers, and how often a sample was drawn.
fn ask(manager: &DrainManager, start: Instant, times: &[u64], sample: u64) -> (Vec<bool>, u32) {
    let draws = Cell::new(0);
    let draw = || {
        draws.set(draws.get() + 1);
        sample
    };
    let ask = |at: &u64| manager.is_due_at(All, start + seconds(*at), draw);
    (times.iter().map(ask).collect(), draws.get())
}

/// X1, `DrainManagerImplTest.Default`; D1, D6, D27, D36.
#[tokio::test(start_paused = true)]
async fn a_drain_lasts_600_s_and_a_replaced_process_900_s_and_failed_health_drains_without_a_drain()
{
    let start = tokio::time::Instant::now();
    let manager = DrainManager::root(DrainSettings::default().with_length(DrainLength::Full));
    manager.start_parent_shutdown_sequence().await;
    assert_eq!(start.elapsed(), Duration::from_millis(900_000));
    let now = start.into_std();
    assert!(!manager.is_due_at(All, now, || unreachable!()));
    manager.fail_health();
    assert!(manager.is_due_at(All, now, || unreachable!()));
    assert_eq!(
        manager.start_drain_sequence(START).await.took,
        Duration::from_millis(600_000)
    );
}

/// X2, `DrainManagerImplTest.ModifyOnly`; D7, D39.
#[test]
fn modify_only_does_not_read_health() {
    let root = manager(seconds(600));
    let egress = root.child(ChildOptions::default().with_drain_type(DrainType::ModifyOnly));
    root.fail_health();
    let now = tokio::time::Instant::now().into_std();
    assert!(!egress.is_due_at(All, now, || unreachable!()));
    assert!(
        !child(&egress).is_due_at(All, now, || unreachable!()),
        "the type is inherited"
    );
}

/// X3, `DrainManagerImplTest.DrainDeadline`; D10, D11, D13, D14, D15. 1199 mod 600 is 599.
#[test]
fn the_ramp_ends_at_the_deadline_and_draws_inside_it_only() {
    let gradual = manager(seconds(600));
    let sequence = gradual.start_drain_sequence(START);
    let answers = ask(
        &gradual,
        sequence.event().start,
        &[0, 599, 600, 601, 1101],
        1199,
    );
    assert_eq!(answers, (vec![false, false, true, true, true], 2));
    let immediate = manager(seconds(600));
    let sequence = immediate.start_drain_sequence(IMMEDIATE);
    let answers = ask(
        &immediate,
        sequence.event().start,
        &[0, 599, 600, 601, 1101],
        1199,
    );
    assert_eq!(answers, (vec![true; 5], 0));
}

/// X4, `DrainManagerImplTest.DrainDeadlineProbability`; D6, D8, D13. 4 mod 3 is 1.
#[test]
fn the_odds_of_the_ramp_are_the_time_that_has_passed() {
    let gradual = manager(seconds(3));
    let now = tokio::time::Instant::now().into_std();
    gradual.fail_health();
    assert!(gradual.is_due_at(All, now, || unreachable!()));
    gradual.restore_health();
    assert!(!gradual.is_due_at(All, now, || unreachable!()));
    assert!(!gradual.is_draining());
    let sequence = gradual.start_drain_sequence(START);
    let answers = ask(&gradual, sequence.event().start, &[0, 2, 3], 4);
    assert_eq!(answers, (vec![false, true, true], 2));
    let immediate = manager(seconds(3));
    let sequence = immediate.start_drain_sequence(IMMEDIATE);
    assert_eq!(
        ask(&immediate, sequence.event().start, &[0, 2, 3], 4),
        (vec![true; 3], 0)
    );
}

/// D2, D5, D9: a question for more than the drain covers is answered no.
#[test]
fn an_inbound_drain_does_not_answer_for_all() {
    let manager = manager(seconds(10));
    let sequence = manager.start_drain_sequence(IMMEDIATE.with_direction(InboundOnly));
    let now = sequence.event().start;
    assert!(manager.is_due_at(InboundOnly, now, || unreachable!()));
    assert!(!manager.is_due_at(All, now, || unreachable!()));
}

/// Q2: Envoy reads the unset deadline of the inbound drain and answers yes at once.
#[test]
fn a_question_for_inbound_has_the_ramp_of_the_drain_of_all() {
    let manager = manager(seconds(10));
    let start = manager.start_drain_sequence(START).event().start;
    assert!(!manager.is_due_at(InboundOnly, start, || 0));
    assert!(!manager.is_due_at(InboundOnly, start + seconds(5), || 5));
    assert!(manager.is_due_at(InboundOnly, start + seconds(5), || 4));
}

/// D12: without drain time there is no ramp.
#[test]
fn a_drain_time_of_zero_closes_at_once() {
    let manager = manager(Duration::ZERO);
    let start = manager.start_drain_sequence(START).event().start;
    assert!(manager.is_due_at(All, start, || unreachable!()));
}

/// D13, Q1: Envoy's polled model rounds elapsed time up, its event model down; the latter is the
/// default here.
#[test]
fn elapsed_time_is_rounded_as_the_settings_say() {
    let after_100_ms = |rounding| {
        let settings = DrainSettings::default().with_drain_time(seconds(10));
        let manager = DrainManager::root(settings.with_rounding(rounding));
        let start = manager.start_drain_sequence(START).event().start;
        manager.is_due_at(All, start + Duration::from_millis(100), || 0)
    };
    assert_eq!(
        [Rounding::default(), Rounding::Ceil, Rounding::Millis].map(after_100_ms),
        [false, true, true]
    );
    assert_eq!(Rounding::default(), Rounding::Floor);
}

/// D11 after a deadline brought nearer: the ramp ends there.
#[test]
fn a_deadline_brought_nearer_ends_the_ramp() {
    let manager = manager(seconds(600));
    let start = manager.start_drain_sequence(START).event().start;
    manager.bring_forward(start + seconds(10));
    assert!(!manager.is_due_at(All, start + seconds(9), || 599));
    assert!(manager.is_due_at(All, start + seconds(10), || unreachable!()));
}

/// D23, D28: completions of starts that a running drain covers come with it; after it, at once.
#[tokio::test(start_paused = true)]
async fn a_start_after_the_end_gets_the_outcome_at_once() {
    let manager = manager(seconds(4));
    let outcome = manager.start_drain_sequence(START).await;
    tokio::time::advance(seconds(100)).await;
    let before = tokio::time::Instant::now();
    assert_eq!(manager.start_drain_sequence(START).await, outcome);
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(outcome.ending, DrainEnding::Empty);
}

/// D6, Q9: in Envoy failed health has no ramp; here it has none unless asked for, and starts anew
/// with each failure.
#[tokio::test(start_paused = true)]
async fn failed_health_may_have_a_ramp() {
    let manager = DrainManager::root(DrainSettings::default().with_health_ramp(seconds(10)));
    let start = tokio::time::Instant::now().into_std();
    let asked = |after: u64| manager.is_due_at(All, start + seconds(after), || 4999);
    manager.fail_health();
    assert_eq!([0, 4, 5, 10].map(asked), [false, false, true, true]);
    tokio::time::advance(seconds(5)).await;
    manager.fail_health();
    assert!(asked(5), "failed already");
    manager.restore_health();
    assert!(!asked(100));
    manager.fail_health();
    assert_eq!([5, 9, 10].map(asked), [false, false, true]);
    let watch = manager.watch().unwrap();
    let decision = manager.decision(&watch);
    tokio::time::advance(seconds(10)).await;
    assert!(decision.leave_if_due());
}
