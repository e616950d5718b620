//! On-drain callbacks: what Envoy's own test cases (X5-X16) say about them and the cascade, with
//! its numbers.
//!
//! Each comment names the rule and Envoy's test of it in
//! [`drain_manager_impl_test.cc`](https://github.com/envoyproxy/envoy/blob/main/test/server/drain_manager_impl_test.cc);
//! the rules are those of
//! [`drain_manager_impl.cc`](https://github.com/envoyproxy/envoy/blob/main/source/server/drain_manager_impl.cc).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use drain_tree::DrainDirection::{All, InboundOnly};
use drain_tree::{
    ChildOptions, DrainCallback, DrainDirection, DrainManager, DrainReason, DrainSettings,
    DrainStart, DrainStrategy,
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

/// What on-drain callbacks were calls, in the order in which they were called.
#[derive(Clone, Default)]
struct Calls(Arc<Mutex<Vec<(usize, Duration)>>>);

impl Calls {
    fn register(
        &self,
        manager: &DrainManager,
        scope: DrainDirection,
        id: usize,
    ) -> Option<DrainCallback> {
        let calls = self.clone();
        manager.on_drain(scope, move |delay| {
            calls.0.lock().unwrap().push((id, delay))
        })
    }

    fn delays(&self) -> Vec<Duration> {
        self.0
            .lock()
            .unwrap()
            .iter()
            .map(|(_, delay)| *delay)
            .collect()
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// Delay i of `count` stored callbacks is i * (drain time / 4) / count, to a millisecond.
fn assert_spread(count: usize, drain_time: Duration) {
    let (manager, calls) = (manager(drain_time), Calls::default());
    let _kept: Vec<_> = (0..count)
        .map(|id| calls.register(&manager, All, id))
        .collect();
    let _sequence = manager.start_drain_sequence(START);
    let delays = calls.delays();
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
        calls
            .0
            .lock()
            .unwrap()
            .iter()
            .map(|(id, _)| *id)
            .eq(0..count),
        "in order of registration"
    );
}

/// X5, `DrainManagerImplTest.OnDrainCallbacks`; D16, D19.
#[test]
fn twenty_callbacks_of_4_s_are_50_ms_apart_and_immediate_ones_are_not_delayed() {
    assert_spread(20, seconds(4));
    let (manager, calls) = (manager(seconds(4)), Calls::default());
    let _kept: Vec<_> = (0..20)
        .map(|id| calls.register(&manager, All, id))
        .collect();
    let _sequence = manager.start_drain_sequence(IMMEDIATE);
    assert_eq!(calls.delays(), [Duration::ZERO; 20]);
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
fn a_callback_registered_during_a_drain_is_called_at_once_within_all_that_is_left() {
    let (manager, calls) = (manager(seconds(1)), Calls::default());
    let _before = calls.register(&manager, All, 0);
    let start = manager.start_drain_sequence(START).event().start;
    assert_eq!(calls.delays(), [Duration::ZERO]);
    let late = |after: u64, sample: u64| {
        let calls = Calls::default();
        let record = calls.clone();
        let now = start + Duration::from_millis(after);
        let record_call = move |delay| record.0.lock().unwrap().push((0, delay));
        assert!(
            manager
                .on_drain_at(All, now, || sample, record_call)
                .is_none()
        );
        calls.delays()
    };
    assert_eq!(late(10, 989), [Duration::from_millis(989)]);
    assert_eq!(late(10, 990), [Duration::ZERO], "990 mod 990");
    assert_eq!(late(1010, 989), [Duration::ZERO]);
    assert_eq!(calls.count(), 1, "the one registered before runs once");
}

/// X9, `RegisterCallbackAfterDrainBeginGradualStrategyMicroDelay`; D18.
#[test]
fn a_remainder_below_a_millisecond_is_no_delay() {
    let (manager, calls) = (manager(seconds(1)), Calls::default());
    let now =
        manager.start_drain_sequence(START).event().start + seconds(1) - Duration::from_micros(1);
    let record = calls.clone();
    let record_call = move |delay| record.0.lock().unwrap().push((0, delay));
    assert!(
        manager
            .on_drain_at(All, now, || unreachable!(), record_call)
            .is_none()
    );
    assert_eq!(calls.delays(), [Duration::ZERO]);
}

/// X10, `RegisterCallbackAfterDrainBeginImmediateStrategy`; D18.
#[test]
fn a_callback_registered_during_an_immediate_drain_is_not_delayed() {
    let (manager, calls) = (manager(seconds(1)), Calls::default());
    let _sequence = manager.start_drain_sequence(IMMEDIATE);
    assert!(calls.register(&manager, All, 0).is_none());
    assert_eq!(calls.delays(), [Duration::ZERO]);
}

/// X11, `DrainManagerImplTest.ParentDestructedBeforeChildren`; D34.
#[test]
fn orphans_do_not_drain_and_their_drains_cascade() {
    let (parent, calls) = (manager(seconds(1)), Calls::default());
    let orphans = [child(&parent), child(&parent)];
    drop(parent);
    let grandchildren = orphans.each_ref().map(child);
    let _kept: Vec<_> = grandchildren
        .iter()
        .map(|node| calls.register(node, All, 0))
        .collect();
    assert!(
        orphans
            .iter()
            .chain(&grandchildren)
            .all(|node| !node.is_draining())
    );
    let _sequence = orphans[0].start_drain_sequence(START);
    assert_eq!(calls.count(), 1);
    assert_eq!(
        grandchildren.each_ref().map(DrainManager::is_draining),
        [true, false]
    );
    let _sequence = orphans[1].start_drain_sequence(START);
    assert_eq!(calls.count(), 2);
}

/// Root, b and c below it, d, e below b, f, g below c.
fn seven(calls: &Calls) -> ([DrainManager; 7], Vec<Option<DrainCallback>>) {
    let root = manager(seconds(1));
    let (b, c) = (child(&root), child(&root));
    let nodes = [child(&b), child(&b), child(&c), child(&c)];
    let [d, e, f, g] = nodes;
    let nodes = [root, b, c, d, e, f, g];
    let kept = nodes
        .iter()
        .enumerate()
        .map(|(id, node)| calls.register(node, All, id))
        .collect();
    (nodes, kept)
}

fn called(calls: &Calls) -> Vec<usize> {
    let mut called: Vec<_> = calls.0.lock().unwrap().iter().map(|(id, _)| *id).collect();
    called.sort_unstable();
    called
}

/// X12, `DrainManagerImplTest.DrainingCascadesThroughAllNodesInTree`; D29, D30.
#[test]
fn a_drain_at_the_root_reaches_all_nodes() {
    let calls = Calls::default();
    let (nodes, _kept) = seven(&calls);
    let _sequence = nodes[0].start_drain_sequence(START);
    assert_eq!(called(&calls), [0, 1, 2, 3, 4, 5, 6]);
    assert!(
        calls.delays().iter().all(Duration::is_zero),
        "each is the only one of its node"
    );
}

/// X13, `DrainManagerImplTest.DrainingIsIndependentToNeighbors`; D31.
#[test]
fn a_drain_does_not_reach_neighbours() {
    let calls = Calls::default();
    let (nodes, _kept) = seven(&calls);
    let _sequence = nodes[1].start_drain_sequence(START);
    assert_eq!(called(&calls), [1, 3, 4]);
}

/// X14, `DrainManagerImplTest.DrainOnlyCascadesDownwards`; D31.
#[test]
fn a_drain_does_not_reach_parents() {
    let calls = Calls::default();
    let (nodes, _kept) = seven(&calls);
    let _sequence = nodes[6].start_drain_sequence(START);
    assert_eq!(called(&calls), [6]);
    assert!(!nodes[2].is_draining() && !nodes[0].is_draining());
}

/// X15, `DrainManagerImplTest.DrainChildExplicitlyAfterParent`; D23, D32.
#[test]
fn a_child_started_after_its_parent_is_not_called_again() {
    let calls = Calls::default();
    let (nodes, _kept) = seven(&calls);
    let _parent = nodes[2].start_drain_sequence(START);
    let _child = nodes[5].start_drain_sequence(START);
    assert_eq!(called(&calls), [2, 5, 6]);
}

/// X16, `DrainManagerImplTest.DrainParentAfterChild`; D32.
#[test]
fn a_parent_started_after_its_child_calls_the_others_only() {
    let calls = Calls::default();
    let (nodes, _kept) = seven(&calls);
    let _child = nodes[5].start_drain_sequence(START);
    let _parent = nodes[2].start_drain_sequence(START);
    assert_eq!(called(&calls), [2, 5, 6]);
}

/// D16: dropping the handle unregisters.
#[test]
fn a_dropped_registration_is_not_called() {
    let (manager, calls) = (manager(seconds(1)), Calls::default());
    let kept = calls.register(&manager, All, 0);
    drop(calls.register(&manager, All, 1));
    let _sequence = manager.start_drain_sequence(START);
    assert_eq!(called(&calls), [0]);
    drop(kept);
}

/// D21, Q5: in Envoy stored callbacks have no scope, so an inbound drain calls all of them, and a
/// wider one again. Here a callback is called by the first drain that covers it, and by no other.
#[test]
fn callbacks_are_called_by_the_first_drain_that_covers_their_scope() {
    let (manager, calls) = (manager(seconds(1)), Calls::default());
    let _inbound = calls.register(&manager, InboundOnly, 0);
    let _all = calls.register(&manager, All, 1);
    let _first = manager.start_drain_sequence(START.with_direction(InboundOnly));
    assert_eq!(called(&calls), [0]);
    let _second = manager.start_drain_sequence(START);
    assert_eq!(called(&calls), [0, 1]);
}

/// D16-D19 with a callback that panics: the callbacks after it are called as if it had not.
#[test]
fn a_panicking_callback_changes_nothing_for_others() {
    let (root, calls) = (manager(seconds(4)), Calls::default());
    let below = child(&root);
    let _first = calls.register(&root, All, 0);
    let _panicking = root.on_drain(All, |_| panic!("a callback that panics"));
    let _last = calls.register(&root, All, 2);
    let _below = calls.register(&below, All, 3);
    let _sequence = root.start_drain_sequence(START);
    assert_eq!(called(&calls), [0, 2, 3]);
    assert!(
        calls.delays().contains(&Duration::from_millis(666)),
        "the third of three: {:?}",
        calls.delays()
    );
    assert!(below.is_draining());
}

/// D16, and at the odd moment: what the drain waits for goes while it begins.
#[test]
fn the_last_connection_and_the_node_may_go_in_a_callback() {
    let (root, calls) = (manager(seconds(4)), Calls::default());
    let below = child(&root);
    let kept = Mutex::new(Some((below.watch().unwrap(), below.clone())));
    let _registered = root.on_drain(All, move |_| drop(kept.lock().unwrap().take()));
    let _below = calls.register(&below, All, 1);
    drop(below);
    let mut sequence = root.start_drain_sequence(START);
    let (now, mut next) = (sequence.event().start, None);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let is_over = (0..10).any(|_| sequence.poll_at(now, &mut cx, &mut next).is_ready());
    assert!(is_over && root.open_watches() == 0);
    assert_eq!(called(&calls), [1]);
}

/// D16: a callback may do to the tree what anybody may.
#[test]
fn a_callback_may_use_the_tree() {
    let root = manager(seconds(4));
    let (node, calls) = (root.clone(), Calls::default());
    let record = calls.clone();
    let _registered = root.on_drain(All, move |_| {
        let late = child(&node);
        drop(late.start_drain_sequence(START));
        assert!(record.register(&late, All, 0).is_none());
    });
    let _sequence = root.start_drain_sequence(START);
    assert_eq!(calls.count(), 1);
}
