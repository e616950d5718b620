//! Envoy's polled drain manager: its own test cases (X1-X16), replayed with its numbers.
//!
//! Each comment names the rule and Envoy's test of it in
//! [`drain_manager_impl_test.cc`](https://github.com/envoyproxy/envoy/blob/main/test/server/drain_manager_impl_test.cc); the
//! rules are those of
//! [`drain_manager_impl.cc`](https://github.com/envoyproxy/envoy/blob/main/source/server/drain_manager_impl.cc).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::cell::Cell;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use drain_tree::DrainDirection::{All, InboundOnly};
use drain_tree::{
    ChildOptions, DrainCloseCallback, DrainDirection, DrainEnding, DrainLength, DrainManager, DrainReason,
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
    let ask = |at: &u64| manager.drain_close_at(All, start + seconds(*at), draw);
    (times.iter().map(ask).collect(), draws.get())
}

/// What on-drain callbacks were told, in the order in which they were called.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<(usize, Duration)>>>);

impl Told {
    fn register(
        &self,
        manager: &DrainManager,
        scope: DrainDirection,
        id: usize,
    ) -> Option<DrainCloseCallback> {
        let told = self.clone();
        manager.on_drain_close(scope, move |delay| told.0.lock().unwrap().push((id, delay)))
    }

    fn delays(&self) -> Vec<Duration> {
        self.0.lock().unwrap().iter().map(|(_, delay)| *delay).collect()
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// Delay i of `count` stored callbacks is i * (drain time / 4) / count, to a millisecond.
fn assert_spread(count: usize, drain_time: Duration) {
    let (manager, told) = (manager(drain_time), Told::default());
    let _kept: Vec<_> = (0..count).map(|id| told.register(&manager, All, id)).collect();
    let _sequence = manager.start_drain_sequence(START);
    let delays = told.delays();
    assert_eq!(delays.len(), count);
    for (nth, delay) in delays.iter().enumerate() {
        let exact = drain_time.as_secs_f64() / 4.0 * nth as f64 / count as f64;
        let off = (delay.as_secs_f64() - exact).abs();
        assert!(
            off <= 0.001 && *delay < drain_time / 4,
            "callback {nth}: {delay:?}"
        );
    }
    assert!(
        told.0.lock().unwrap().iter().map(|(id, _)| *id).eq(0..count),
        "in order of registration"
    );
}

/// X1, `DrainManagerImplTest.Default`; D1, D6, D27, D36.
#[tokio::test(start_paused = true)]
async fn a_drain_lasts_600_s_and_a_replaced_process_900_s_and_failed_health_drains_without_a_drain() {
    let start = tokio::time::Instant::now();
    let manager = DrainManager::root(DrainSettings::default().with_length(DrainLength::Full));
    manager.start_parent_shutdown_sequence().await;
    assert_eq!(start.elapsed(), Duration::from_millis(900_000));
    let now = start.into_std();
    assert!(!manager.drain_close_at(All, now, || unreachable!()));
    manager.fail_health();
    assert!(manager.drain_close_at(All, now, || unreachable!()));
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
    assert!(!egress.drain_close_at(All, now, || unreachable!()));
    assert!(
        !child(&egress).drain_close_at(All, now, || unreachable!()),
        "the type is inherited"
    );
}

/// X3, `DrainManagerImplTest.DrainDeadline`; D10, D11, D13, D14, D15. 1199 mod 600 is 599.
#[test]
fn the_ramp_ends_at_the_deadline_and_draws_inside_it_only() {
    let gradual = manager(seconds(600));
    let sequence = gradual.start_drain_sequence(START);
    let answers = ask(&gradual, sequence.event().start, &[0, 599, 600, 601, 1101], 1199);
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
    assert!(gradual.drain_close_at(All, now, || unreachable!()));
    gradual.restore_health();
    assert!(!gradual.drain_close_at(All, now, || unreachable!()));
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

/// X5, `DrainManagerImplTest.OnDrainCallbacks`; D16, D19.
#[test]
fn twenty_callbacks_of_4_s_are_50_ms_apart_and_immediate_ones_are_not_delayed() {
    assert_spread(20, seconds(4));
    let (manager, told) = (manager(seconds(4)), Told::default());
    let _kept: Vec<_> = (0..20).map(|id| told.register(&manager, All, id)).collect();
    let _sequence = manager.start_drain_sequence(IMMEDIATE);
    assert_eq!(told.delays(), [Duration::ZERO; 20]);
}

/// X6, `DrainManagerImplTest.OnDrainCallbacksManyGradualSteps`; D20.
#[test]
fn more_callbacks_than_milliseconds_share_delays() {
    assert_spread(3000, seconds(4));
}

/// X7, `DrainManagerImplTest.OnDrainCallbacksNonEvenlyDividedSteps`; D19.
#[test]
fn steps_need_not_divide_evenly() {
    assert_spread(30, seconds(1));
}

/// X8, `RegisterCallbackAfterDrainBeginGradualStrategy`; D17, D18.
#[test]
fn a_callback_registered_during_a_drain_is_told_at_once_within_all_that_is_left() {
    let (manager, told) = (manager(seconds(1)), Told::default());
    let _before = told.register(&manager, All, 0);
    let start = manager.start_drain_sequence(START).event().start;
    assert_eq!(told.delays(), [Duration::ZERO]);
    let late = |after: u64, sample: u64| {
        let told = Told::default();
        let record = told.clone();
        let now = start + Duration::from_millis(after);
        let tell = move |delay| record.0.lock().unwrap().push((0, delay));
        assert!(manager.on_drain_close_at(All, now, || sample, tell).is_none());
        told.delays()
    };
    assert_eq!(late(10, 989), [Duration::from_millis(989)]);
    assert_eq!(late(10, 990), [Duration::ZERO], "990 mod 990");
    assert_eq!(late(1010, 989), [Duration::ZERO]);
    assert_eq!(told.count(), 1, "the one registered before runs once");
}

/// X9, `RegisterCallbackAfterDrainBeginGradualStrategyMicroDelay`; D18.
#[test]
fn a_remainder_below_a_millisecond_is_no_delay() {
    let (manager, told) = (manager(seconds(1)), Told::default());
    let now = manager.start_drain_sequence(START).event().start + seconds(1) - Duration::from_micros(1);
    let record = told.clone();
    let tell = move |delay| record.0.lock().unwrap().push((0, delay));
    assert!(
        manager
            .on_drain_close_at(All, now, || unreachable!(), tell)
            .is_none()
    );
    assert_eq!(told.delays(), [Duration::ZERO]);
}

/// X10, `RegisterCallbackAfterDrainBeginImmediateStrategy`; D18.
#[test]
fn a_callback_registered_during_an_immediate_drain_is_not_delayed() {
    let (manager, told) = (manager(seconds(1)), Told::default());
    let _sequence = manager.start_drain_sequence(IMMEDIATE);
    assert!(told.register(&manager, All, 0).is_none());
    assert_eq!(told.delays(), [Duration::ZERO]);
}

/// X11, `DrainManagerImplTest.ParentDestructedBeforeChildren`; D34.
#[test]
fn orphans_do_not_drain_and_their_drains_cascade() {
    let (parent, told) = (manager(seconds(1)), Told::default());
    let orphans = [child(&parent), child(&parent)];
    drop(parent);
    let grandchildren = orphans.each_ref().map(child);
    let _kept: Vec<_> = grandchildren
        .iter()
        .map(|node| told.register(node, All, 0))
        .collect();
    assert!(
        orphans
            .iter()
            .chain(&grandchildren)
            .all(|node| !node.is_draining())
    );
    let _sequence = orphans[0].start_drain_sequence(START);
    assert_eq!(told.count(), 1);
    assert_eq!(
        grandchildren.each_ref().map(DrainManager::is_draining),
        [true, false]
    );
    let _sequence = orphans[1].start_drain_sequence(START);
    assert_eq!(told.count(), 2);
}

/// Root, b and c below it, d, e below b, f, g below c.
fn seven(told: &Told) -> ([DrainManager; 7], Vec<Option<DrainCloseCallback>>) {
    let root = manager(seconds(1));
    let (b, c) = (child(&root), child(&root));
    let nodes = [child(&b), child(&b), child(&c), child(&c)];
    let [d, e, f, g] = nodes;
    let nodes = [root, b, c, d, e, f, g];
    let kept = nodes
        .iter()
        .enumerate()
        .map(|(id, node)| told.register(node, All, id))
        .collect();
    (nodes, kept)
}

fn called(told: &Told) -> Vec<usize> {
    let mut called: Vec<_> = told.0.lock().unwrap().iter().map(|(id, _)| *id).collect();
    called.sort_unstable();
    called
}

/// X12, `DrainManagerImplTest.DrainingCascadesThroughAllNodesInTree`; D29, D30.
#[test]
fn a_drain_at_the_root_reaches_all_nodes() {
    let told = Told::default();
    let (nodes, _kept) = seven(&told);
    let _sequence = nodes[0].start_drain_sequence(START);
    assert_eq!(called(&told), [0, 1, 2, 3, 4, 5, 6]);
    assert!(
        told.delays().iter().all(Duration::is_zero),
        "each is the only one of its node"
    );
}

/// X13, `DrainManagerImplTest.DrainingIsIndependentToNeighbors`; D31.
#[test]
fn a_drain_does_not_reach_neighbours() {
    let told = Told::default();
    let (nodes, _kept) = seven(&told);
    let _sequence = nodes[1].start_drain_sequence(START);
    assert_eq!(called(&told), [1, 3, 4]);
}

/// X14, `DrainManagerImplTest.DrainOnlyCascadesDownwards`; D31.
#[test]
fn a_drain_does_not_reach_parents() {
    let told = Told::default();
    let (nodes, _kept) = seven(&told);
    let _sequence = nodes[6].start_drain_sequence(START);
    assert_eq!(called(&told), [6]);
    assert!(!nodes[2].is_draining() && !nodes[0].is_draining());
}

/// X15, `DrainManagerImplTest.DrainChildExplicitlyAfterParent`; D23, D32.
#[test]
fn a_child_started_after_its_parent_is_not_told_again() {
    let told = Told::default();
    let (nodes, _kept) = seven(&told);
    let _parent = nodes[2].start_drain_sequence(START);
    let _child = nodes[5].start_drain_sequence(START);
    assert_eq!(called(&told), [2, 5, 6]);
}

/// X16, `DrainManagerImplTest.DrainParentAfterChild`; D32.
#[test]
fn a_parent_started_after_its_child_tells_the_others_only() {
    let told = Told::default();
    let (nodes, _kept) = seven(&told);
    let _child = nodes[5].start_drain_sequence(START);
    let _parent = nodes[2].start_drain_sequence(START);
    assert_eq!(called(&told), [2, 5, 6]);
}

/// D16: dropping the handle unregisters.
#[test]
fn a_dropped_registration_is_not_called() {
    let (manager, told) = (manager(seconds(1)), Told::default());
    let kept = told.register(&manager, All, 0);
    drop(told.register(&manager, All, 1));
    let _sequence = manager.start_drain_sequence(START);
    assert_eq!(called(&told), [0]);
    drop(kept);
}

/// D21, Q5: in Envoy stored callbacks have no scope, so an inbound drain calls all of them, and a wider one again. Here a
/// callback is called by the first drain that covers it, and by no other.
#[test]
fn callbacks_are_called_by_the_first_drain_that_covers_their_scope() {
    let (manager, told) = (manager(seconds(1)), Told::default());
    let _inbound = told.register(&manager, InboundOnly, 0);
    let _all = told.register(&manager, All, 1);
    let _first = manager.start_drain_sequence(START.with_direction(InboundOnly));
    assert_eq!(called(&told), [0]);
    let _second = manager.start_drain_sequence(START);
    assert_eq!(called(&told), [0, 1]);
}

/// D16-D19 with a callback that panics: whoever comes after it is told as if it had not.
#[test]
fn a_panicking_callback_changes_nothing_for_others() {
    let (root, told) = (manager(seconds(4)), Told::default());
    let below = child(&root);
    let _first = told.register(&root, All, 0);
    let _panicking = root.on_drain_close(All, |_| panic!("a callback that panics"));
    let _last = told.register(&root, All, 2);
    let _below = told.register(&below, All, 3);
    let _sequence = root.start_drain_sequence(START);
    assert_eq!(called(&told), [0, 2, 3]);
    assert!(
        told.delays().contains(&Duration::from_millis(666)),
        "the third of three: {:?}",
        told.delays()
    );
    assert!(below.is_draining());
}

/// D16: a callback may do to the tree what anybody may.
#[test]
fn a_callback_may_use_the_tree() {
    let root = manager(seconds(4));
    let (node, told) = (root.clone(), Told::default());
    let record = told.clone();
    let _registered = root.on_drain_close(All, move |_| {
        let late = child(&node);
        drop(late.start_drain_sequence(START));
        assert!(record.register(&late, All, 0).is_none());
    });
    let _sequence = root.start_drain_sequence(START);
    assert_eq!(told.count(), 1);
}

/// D2, D5, D9: a question for more than the drain covers is answered no.
#[test]
fn an_inbound_drain_does_not_answer_for_all() {
    let manager = manager(seconds(10));
    let sequence = manager.start_drain_sequence(IMMEDIATE.with_direction(InboundOnly));
    let now = sequence.event().start;
    assert!(manager.drain_close_at(InboundOnly, now, || unreachable!()));
    assert!(!manager.drain_close_at(All, now, || unreachable!()));
}

/// Q2: Envoy reads the unset deadline of the inbound drain and answers yes at once.
#[test]
fn a_question_for_inbound_has_the_ramp_of_the_drain_of_all() {
    let manager = manager(seconds(10));
    let start = manager.start_drain_sequence(START).event().start;
    assert!(!manager.drain_close_at(InboundOnly, start, || 0));
    assert!(!manager.drain_close_at(InboundOnly, start + seconds(5), || 5));
    assert!(manager.drain_close_at(InboundOnly, start + seconds(5), || 4));
}

/// D12: without drain time there is no ramp.
#[test]
fn a_drain_time_of_zero_closes_at_once() {
    let manager = manager(Duration::ZERO);
    let start = manager.start_drain_sequence(START).event().start;
    assert!(manager.drain_close_at(All, start, || unreachable!()));
}

/// D13, Q1: Envoy's polled model rounds elapsed time up, its event model down; the latter is the default here.
#[test]
fn elapsed_time_is_rounded_as_the_settings_say() {
    let after_100_ms = |rounding| {
        let settings = DrainSettings::default().with_drain_time(seconds(10));
        let manager = DrainManager::root(settings.with_rounding(rounding));
        let start = manager.start_drain_sequence(START).event().start;
        manager.drain_close_at(All, start + Duration::from_millis(100), || 0)
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
    assert!(!manager.drain_close_at(All, start + seconds(9), || 599));
    assert!(manager.drain_close_at(All, start + seconds(10), || unreachable!()));
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
