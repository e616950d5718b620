//! What connections see of the drains of their nodes, whenever they come: E2-E5 and E12.

use std::task::{Context, Waker};
use std::time::Duration;

use drain_tree::DrainDirection::InboundOnly;
use drain_tree::drain_signal::DrainedBy;
use drain_tree::drain_signal::schedule::{Place, push_slot};
use drain_tree::{
    ChildOptions, DrainEnding, DrainLength, DrainManager, DrainReason, DrainSchedule,
    DrainSettings, DrainStart, DrainStrategy, TrafficDirection, WatchOptions,
};
use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, task};

const T: Duration = Duration::from_secs(60);
/// How late a slot may be noticed: a 256th of the window.
const A_TICK: Duration = Duration::from_millis(59);
const MODIFY: DrainStart = DrainStart::new(DrainReason::ListenerModify);

fn root() -> DrainManager {
    DrainManager::root(DrainSettings::default().with_drain_time(T))
}

fn child(parent: &DrainManager) -> DrainManager {
    parent.child(ChildOptions::default())
}

fn inbound(parent: &DrainManager) -> DrainManager {
    parent.child(ChildOptions::default().with_traffic_direction(TrafficDirection::Inbound))
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// E12: an inbound drain neither signals nor waits for connections outside of it.
#[tokio::test(start_paused = true)]
async fn an_inbound_drain_does_not_wait_for_connections_that_it_does_not_concern() {
    let listener = inbound(&root());
    let outside = listener
        .watch_with(WatchOptions::default().with_drained_by(DrainedBy::Full))
        .unwrap();
    let inside = listener.watch().unwrap();
    let sequence = listener.start_drain_sequence(MODIFY.with_direction(InboundOnly));
    assert!(!sequence.is_empty());
    let empty = listener.start_drain_sequence(MODIFY.with_direction(InboundOnly));
    let sequence = tokio::spawn(sequence);
    inside.signaled().await;
    drop(inside);
    assert!(empty.is_empty());
    assert_eq!(sequence.await.unwrap().ending, DrainEnding::Empty);
    assert!(!outside.is_draining());
}

/// E2, E3, E5
/// ([`active_stream_listener_base.cc`](https://github.com/envoyproxy/envoy/blob/main/source/common/listener_manager/active_stream_listener_base.cc)):
/// connections accepted before and during a drain get the event, and the first one stays.
#[tokio::test(start_paused = true)]
async fn connections_get_the_first_event_whenever_they_come() {
    let listener = child(&root());
    let before = listener.watch().unwrap();
    let sequence = listener.start_drain_sequence(MODIFY);
    let during = listener.watch().unwrap();
    advance(seconds(1)).await;
    let _again = listener.start_drain_sequence(DrainStart::new(DrainReason::ProcessShutdown));
    for watch in [before, during] {
        assert_eq!(*watch.event().unwrap(), *sequence.event());
    }
}

/// E4: a connection that is signaled may open and close others meanwhile.
#[tokio::test(start_paused = true)]
async fn connections_may_come_and_go_while_others_are_signaled() {
    let listener = child(&root());
    for _ in 0..50 {
        let (watch, node) = (listener.watch().unwrap(), listener.clone());
        tokio::spawn(async move {
            watch.signaled().await;
            let other = node.watch();
            drop(watch);
            if let Ok(other) = other {
                other.signaled().await;
            }
        });
    }
    tokio::task::yield_now().await;
    let outcome = listener.start_drain_sequence(MODIFY).await;
    assert_eq!((outcome.ending, outcome.left), (DrainEnding::Empty, 0));
    assert!(outcome.took <= T / 4 + A_TICK, "{:?}", outcome.took);
}

/// E3: a node that was empty when its drain began signals a later connection in what is left of the
/// first quarter.
#[tokio::test(start_paused = true)]
async fn the_first_connection_of_an_empty_node_gets_a_slot_in_what_is_left() {
    let root = root();
    let _keeps_it_going = root.watch().unwrap();
    let listener = child(&root);
    tokio::spawn(root.start_drain_sequence(MODIFY));
    let start = Instant::now();
    tokio::time::sleep_until(start + T / 8).await;
    let slots: Vec<_> = (0..20).map(|_| listener.watch().unwrap()).collect();
    for watch in slots {
        assert!(!watch.is_forced());
        watch.signaled().await;
        assert!(
            start.elapsed() >= T / 8 && start.elapsed() <= T / 4 + A_TICK,
            "{:?}",
            start.elapsed()
        );
    }
    // And again, after it was left alone.
    tokio::time::sleep_until(start + T / 5).await;
    let watch = listener.watch().unwrap();
    watch.signaled().await;
    assert!(
        start.elapsed() <= T / 4 + T / 1024,
        "a tick after the quarter at the latest"
    );
}

/// E3: also if no connection is open in the whole drain.
#[tokio::test(start_paused = true)]
async fn the_first_connection_of_an_empty_drain_gets_a_slot_as_of_now() {
    for schedule in [DrainSchedule::FirstQuarter, DrainSchedule::Envoy140] {
        let settings = DrainSettings::default().with_length(DrainLength::Full);
        let root = DrainManager::root(settings.with_drain_time(T).with_schedule(schedule));
        let sequence = root.start_drain_sequence(MODIFY);
        let event = sequence.event().clone();
        tokio::spawn(sequence);
        let start = Instant::now();
        let early = WatchOptions::default().with_place(Place::new(0x1000));
        for opened in [T / 8, T * 3 / 4] {
            tokio::time::sleep_until(start + opened).await;
            let watch = root.watch_with(early).unwrap();
            watch.signaled().await;
            let slot = push_slot(&event, early.place.unwrap(), Some(opened), Duration::ZERO);
            // One that comes too late for a slot stays until shortly before the deadline.
            let slot = slot.unwrap_or(T - event.finish_before());
            let late = if schedule == DrainSchedule::Envoy140 {
                seconds(1)
            } else {
                A_TICK
            };
            assert!(
                start.elapsed().abs_diff(slot) <= late,
                "opened at {opened:?}, signaled at {:?} instead of {slot:?}",
                start.elapsed()
            );
        }
    }
}

/// Each poll takes some time, and the many take hundreds of polls.
#[test]
fn a_node_with_many_connections_keeps_no_other_waiting() {
    let root = root();
    let nodes = [child(&root), child(&root)];
    // A start comes to the last child first: to the one with many.
    let [one, many] = [(&nodes[0], 1), (&nodes[1], 10_000)].map(|(node, connections)| {
        let mut tasks: Vec<_> = (0..connections)
            .map(|_| node.watch().unwrap())
            .map(|watch| task::spawn(async move { watch.signaled().await }))
            .collect();
        for task in &mut tasks {
            assert_pending!(task.poll());
        }
        tasks
    });
    let mut sequence = root.start_drain_sequence(MODIFY.with_strategy(DrainStrategy::Immediate));
    let mut now = sequence.event().start;
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..4 {
        assert_pending!(sequence.poll_at(now, &mut cx, &mut None));
        now += Duration::from_micros(10);
    }
    assert!(one.iter().all(|task| task.is_woken()));
    assert!(!many.iter().all(|task| task.is_woken()));
}
