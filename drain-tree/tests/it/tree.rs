//! Facts about the tree and its sequences, on a paused clock.

use std::time::Duration;

use drain_tree::drain_signal::schedule::Place;
use drain_tree::{
    ChildOptions, DrainDecision, DrainDirection, DrainEnding, DrainLength, DrainManager,
    DrainReason, DrainSettings, DrainStart, DrainState, DrainStrategy, DrainType, TrafficDirection,
    WatchOptions,
};
use tokio::time::Instant;

const T: Duration = Duration::from_secs(60);

fn root() -> DrainManager {
    DrainManager::root(DrainSettings::default().with_drain_time(T))
}

fn child(parent: &DrainManager) -> DrainManager {
    parent.child(ChildOptions::default())
}

const MODIFY: DrainStart = DrainStart::new(DrainReason::ListenerModify);

#[tokio::test(start_paused = true)]
async fn a_drain_flows_down_only() {
    let root = root();
    let (a, b) = (child(&root), child(&root));
    let (a1, a2, b1) = (child(&a), child(&a), child(&b));
    let deep = child(&a1);
    let _sequence = a.start_drain_sequence(MODIFY);
    let draining = [&root, &a, &b, &a1, &a2, &b1, &deep].map(DrainManager::is_draining);
    assert_eq!(draining, [false, true, false, true, true, false, true]);
}

#[tokio::test(start_paused = true)]
async fn all_slots_of_a_sequence_lie_in_the_first_quarter() {
    let root = root();
    let listener = child(&root);
    let start = Instant::now();
    let signaled: Vec<_> = (0..200)
        .map(|_| listener.watch().unwrap())
        .map(|watch| {
            tokio::spawn(async move {
                watch.signaled().await;
                start.elapsed()
            })
        })
        .collect();
    // All connections park before the drain begins.
    tokio::task::yield_now().await;
    let outcome = root.start_drain_sequence(MODIFY).await;
    let mut times = vec![];
    for task in signaled {
        times.push(task.await.unwrap());
    }
    times.sort();
    assert!(*times.last().unwrap() <= T / 4, "{times:?}");
    // Evenly: of each tenth of the window, about a tenth.
    for tenth in 1..10 {
        let before = times.iter().filter(|at| **at < T / 4 * tenth / 10).count();
        assert!(
            before.abs_diff(20 * tenth as usize) <= 6,
            "{before} signaled before {tenth}/10"
        );
    }
    assert_eq!((outcome.ending, outcome.left), (DrainEnding::Empty, 0));
    assert!(outcome.took <= T / 4);
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_closed_at_the_deadline_and_reported() {
    let listener = child(&root());
    let start = Instant::now();
    let watch = listener.watch().unwrap();
    let task = tokio::spawn(async move {
        watch.expired().await;
        start.elapsed()
    });
    let outcome = listener.start_drain_sequence(MODIFY).await;
    assert_eq!(task.await.unwrap(), T);
    assert_eq!((outcome.ending, outcome.left), (DrainEnding::Deadline, 1));
    assert_eq!(listener.state(), DrainState::Completed);
    assert!(listener.watch().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_not_driven_is_not_waited_for_beyond_the_close_steps() {
    let listener = child(&root());
    let _leaked = listener.watch().unwrap();
    let outcome = listener.start_drain_sequence(MODIFY).await;
    assert_eq!(outcome.took, T + Duration::from_millis(250));
}

#[tokio::test(start_paused = true)]
async fn an_empty_listener_is_drained_at_once_unless_envoys_length_is_asked_for() {
    let outcome = child(&root()).start_drain_sequence(MODIFY).await;
    assert_eq!(
        (outcome.took, outcome.ending),
        (Duration::ZERO, DrainEnding::Empty)
    );
    let full = DrainManager::root(
        DrainSettings::default()
            .with_drain_time(T)
            .with_length(DrainLength::Full),
    );
    assert_eq!(child(&full).start_drain_sequence(MODIFY).await.took, T);
}

#[tokio::test(start_paused = true)]
async fn a_process_drain_lasts_its_minimum_even_when_empty() {
    let outcome = root()
        .start_drain_sequence(DrainStart::new(DrainReason::ProcessShutdown))
        .await;
    assert_eq!(outcome.took, Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn starting_twice_joins_and_does_not_move_the_deadline() {
    let listener = child(&root());
    let watch = listener.watch().unwrap();
    let first = tokio::spawn(listener.start_drain_sequence(MODIFY));
    let deadline = listener.deadline();
    tokio::time::advance(Duration::from_secs(10)).await;
    let second = listener.start_drain_sequence(MODIFY);
    assert_eq!(listener.deadline(), deadline);
    drop(watch);
    assert_eq!(second.await, first.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_sequence_can_be_joined_and_goes_on() {
    let listener = child(&root());
    // Not the first in the queue: that one is signaled when the drain begins.
    let halfway = WatchOptions::default().with_place(Place::new(0x8000));
    let watch = listener.watch_with(halfway).unwrap();
    drop(listener.start_drain_sequence(MODIFY));
    tokio::time::advance(T / 2).await;
    assert!(!watch.leave_if_due(), "no task paces it");
    let joined = tokio::spawn(listener.start_drain_sequence(MODIFY));
    watch.signaled().await;
    drop(watch);
    assert_eq!(joined.await.unwrap().ending, DrainEnding::Empty);
}

#[tokio::test(start_paused = true)]
async fn late_children_and_late_connections_inherit_the_drain_and_its_start() {
    let root = root();
    let start = Instant::now().into_std();
    let sequence =
        tokio::spawn(root.start_drain_sequence(DrainStart::new(DrainReason::HotRestart)));
    let keep = root.watch().unwrap();
    tokio::time::advance(Duration::from_secs(5)).await;
    let late = child(&child(&root));
    assert_eq!(late.event().unwrap().start, start);
    let watch = late.watch().unwrap();
    watch.signaled().await;
    assert!(start + T / 4 >= Instant::now().into_std());
    drop((watch, keep));
    assert_eq!(sequence.await.unwrap().ending, DrainEnding::Empty);
}

#[tokio::test(start_paused = true)]
async fn inbound_only_leaves_everything_else_alone_and_may_widen() {
    let root = root();
    let inbound =
        root.child(ChildOptions::default().with_traffic_direction(TrafficDirection::Inbound));
    let outbound =
        root.child(ChildOptions::default().with_traffic_direction(TrafficDirection::Outbound));
    let chain = child(&inbound);
    let start = DrainStart::new(DrainReason::Admin);
    let _first = root.start_drain_sequence(start.with_direction(DrainDirection::InboundOnly));
    assert_eq!(
        [&root, &inbound, &chain, &outbound].map(DrainManager::is_draining),
        [false, true, true, false]
    );
    let _second = root.start_drain_sequence(start);
    assert!(outbound.is_draining() && root.is_draining());
    assert_eq!(chain.event().unwrap().direction, DrainDirection::All);
}

#[tokio::test(start_paused = true)]
async fn an_operators_drain_cuts_nothing_and_a_shutdown_after_it_does() {
    let root = root();
    let listener = child(&root);
    let watch = listener.watch().unwrap();
    let outcome = root
        .start_drain_sequence(DrainStart::new(DrainReason::Admin))
        .await;
    assert_eq!(
        (outcome.ending, outcome.left, outcome.took),
        (DrainEnding::TimeOver, 1, T)
    );
    assert_eq!(listener.state(), DrainState::Draining);
    assert!(listener.watch().is_ok(), "it still accepts");
    let shutdown =
        tokio::spawn(root.start_drain_sequence(DrainStart::new(DrainReason::ProcessShutdown)));
    watch.expired().await;
    drop(watch);
    assert_eq!(shutdown.await.unwrap().ending, DrainEnding::Deadline);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_brought_forward_ends_the_drain_earlier() {
    let listener = child(&root());
    let watch = listener.watch().unwrap();
    let start = Instant::now();
    let sequence = tokio::spawn(listener.start_drain_sequence(MODIFY));
    tokio::task::yield_now().await;
    listener.bring_forward((start + Duration::from_secs(20)).into_std());
    listener.bring_forward((start + Duration::from_secs(40)).into_std());
    watch.expired().await;
    assert_eq!(start.elapsed(), Duration::from_secs(20));
    drop(watch);
    assert_eq!(sequence.await.unwrap().took, Duration::from_secs(20));
}

#[tokio::test(start_paused = true)]
async fn failed_health_is_a_level_that_clears_and_modify_only_does_not_read_it() {
    let root = root();
    let egress = root.child(ChildOptions::default().with_drain_type(DrainType::ModifyOnly));
    let ingress = child(&root);
    let (signaled, later, out) = (
        ingress.watch().unwrap(),
        ingress.watch().unwrap(),
        egress.watch().unwrap(),
    );
    root.fail_health();
    assert!(ingress.decision(&signaled).leave_if_due() && !egress.decision(&out).leave_if_due());
    root.restore_health();
    assert!(
        ingress.decision(&signaled).leave_if_due(),
        "once signaled, always signaled"
    );
    assert!(!ingress.decision(&later).leave_if_due());
    assert!(!ingress.is_draining());
}

#[tokio::test(start_paused = true)]
async fn orphans_drain_and_have_children() {
    let root = root();
    let listener = child(&root);
    drop(root);
    let chain = child(&listener);
    assert!(!chain.is_draining());
    let outcome = listener.start_drain_sequence(MODIFY).await;
    assert!(chain.is_draining());
    assert_eq!(outcome.reason, DrainReason::ListenerModify);
}

#[tokio::test(start_paused = true)]
async fn immediate_signals_all_connections_before_any_time_passes() {
    let listener = child(&root());
    let start = Instant::now();
    let tasks: Vec<_> = (0..1_000)
        .map(|_| listener.watch().unwrap())
        .map(|watch| tokio::spawn(async move { watch.signaled().await }))
        .collect();
    listener
        .start_drain_sequence(MODIFY.with_strategy(DrainStrategy::Immediate))
        .await;
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[test]
fn single_threaded_runtimes_share_one_tree() {
    // The clocks are real: slots at the beginning of the window, and a deadline that no machine is
    // too slow for.
    let time = Duration::from_secs(600);
    let root = DrainManager::root(DrainSettings::default().with_drain_time(time));
    let early = |at: u16| WatchOptions::default().with_place(Place::new(4 * at));
    let listener = child(&root);
    let (ready, all_ready) = std::sync::mpsc::channel();
    let workers: Vec<_> = (0..3)
        .map(|_| {
            let (listener, ready) = (listener.clone(), ready.clone());
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    let watches = (0..50).map(|at| listener.watch_with(early(at)).unwrap());
                    let watches: Vec<_> = watches.collect();
                    ready.send(()).unwrap();
                    for watch in watches {
                        watch.signaled().await;
                    }
                });
            })
        })
        .collect();
    (0..3).for_each(|_| all_ready.recv().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let outcome = runtime.block_on(listener.start_drain_sequence(MODIFY));
    assert_eq!((outcome.ending, outcome.left), (DrainEnding::Empty, 0));
    workers
        .into_iter()
        .for_each(|worker| worker.join().unwrap());
}
