//! On-drain callbacks: what Envoy's own test cases (X5-X16) say about them and the cascade, with its numbers.
//!
//! Each comment names the rule and Envoy's test of it in
//! [`drain_manager_impl_test.cc`](https://github.com/envoyproxy/envoy/blob/main/test/server/drain_manager_impl_test.cc); the
//! rules are those of
//! [`drain_manager_impl.cc`](https://github.com/envoyproxy/envoy/blob/main/source/server/drain_manager_impl.cc).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use drain_tree::DrainDirection::{All, InboundOnly};
use drain_tree::{
    ChildOptions, DrainCloseCallback, DrainDirection, DrainManager, DrainReason, DrainSettings, DrainStart,
    DrainStrategy,
};

const START: DrainStart = DrainStart::new(DrainReason::HotRestart);
const IMMEDIATE: DrainStart = START.with_strategy(DrainStrategy::Immediate);

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn manager(drain_time: Duration) -> DrainManager {
    DrainManager::root(DrainSettings::default().with_drain_time(drain_time))
}

fn child(parent: &DrainManager) -> DrainManager {
    parent.child(ChildOptions::default())
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
