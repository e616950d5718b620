//! What starts, joins, widens and ends: the rules of Envoy's drain sequences, and the places where
//! these differ.
//!
//! Rules are those of
//! [`drain_manager_impl.cc`](https://github.com/envoyproxy/envoy/blob/main/source/server/drain_manager_impl.cc)
//! unless another source is named.

use std::time::Duration;

use drain_tree::DrainDirection::{All, InboundOnly};
use drain_tree::drain_signal::DrainedBy;
use drain_tree::{
    ChildOptions, DrainDecision, DrainEnding, DrainLength, DrainManager, DrainReason,
    DrainSettings, DrainStart, DrainState, DrainStrategy, DrainType, TrafficDirection,
    WatchOptions,
};
use tokio::time::{Instant, advance};

const T: Duration = Duration::from_secs(60);
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

/// D1, D3: Envoy's defaults.
#[test]
fn settings_are_envoys_by_default() {
    let settings = DrainSettings::default();
    assert_eq!(
        (settings.drain_time, settings.parent_shutdown_time),
        (seconds(600), seconds(900))
    );
    assert_eq!(settings.strategy, DrainStrategy::Gradual);
    assert_eq!(
        DrainManager::root(settings).drain_type(),
        DrainType::Default
    );
}

/// D1, Q15: Envoy's times are whole seconds; these need not be.
#[tokio::test(start_paused = true)]
async fn drain_times_need_not_be_whole_seconds() {
    let listener =
        DrainManager::root(DrainSettings::default().with_drain_time(Duration::from_millis(1500)));
    let watch = listener.watch().unwrap();
    let sequence = tokio::spawn(listener.start_drain_sequence(MODIFY));
    let start = Instant::now();
    watch.expired().await;
    assert_eq!(start.elapsed(), Duration::from_millis(1500));
    drop(watch);
    assert_eq!(sequence.await.unwrap().ending, DrainEnding::Deadline);
}

/// D2, D5, D22: there is no direction "none" to start with, and a drain covers its own direction
/// and narrower ones.
#[test]
fn directions_are_ordered() {
    assert!(InboundOnly < All);
    let root = root();
    let listener = inbound(&root);
    let _sequence = root.start_drain_sequence(MODIFY);
    assert!(root.is_draining() && listener.is_draining());
}

/// D4, D24, D30: the facts are published before a start returns, to all nodes alike.
#[tokio::test(start_paused = true)]
async fn all_nodes_know_the_same_event_when_a_start_returns() {
    let root = root();
    let listener = child(&root);
    let nodes = [child(&listener), listener, inbound(&root)];
    let sequence = root.start_drain_sequence(MODIFY);
    for node in nodes {
        let event = node.event().unwrap();
        assert_eq!(*event, *sequence.event());
        assert_eq!(node.deadline(), Some(sequence.event().start + T));
    }
}

/// D23, Q3: Envoy completes a narrower start at once, for want of a timer.
#[tokio::test(start_paused = true)]
async fn an_inbound_start_during_a_drain_of_all_completes_with_it() {
    let listener = inbound(&root());
    let _watch = listener.watch().unwrap();
    let all = tokio::spawn(listener.start_drain_sequence(MODIFY));
    advance(seconds(10)).await;
    let outcome = listener
        .start_drain_sequence(MODIFY.with_direction(InboundOnly))
        .await;
    assert_eq!(outcome, all.await.unwrap());
    assert_eq!(outcome.direction, All);
    assert!(outcome.took >= T);
}

/// D25, D28, Q4: Envoy has one list of completions, so the inbound timer also completes the drain
/// of all.
#[tokio::test(start_paused = true)]
async fn an_inbound_drain_and_a_wider_one_complete_each_at_its_own_end() {
    let settings = DrainSettings::default()
        .with_drain_time(T)
        .with_length(DrainLength::Full);
    let root = DrainManager::root(settings);
    let _listener = inbound(&root);
    let first = tokio::spawn(root.start_drain_sequence(MODIFY.with_direction(InboundOnly)));
    advance(seconds(20)).await;
    let start = Instant::now();
    let second = tokio::spawn(root.start_drain_sequence(MODIFY));
    let first = first.await.unwrap();
    assert_eq!(
        (first.direction, first.took, start.elapsed()),
        (InboundOnly, T, seconds(40))
    );
    let second = second.await.unwrap();
    assert_eq!(
        (second.direction, second.took, start.elapsed()),
        (All, T, T)
    );
}

/// D25: a wider start is a sequence of its own; who drains already keeps start and slot.
#[tokio::test(start_paused = true)]
async fn escalation_keeps_the_start_of_who_drains_already() {
    let root = root();
    let (listener, other) = (inbound(&root), child(&root));
    let _watch = listener.watch().unwrap();
    let _first = root.start_drain_sequence(MODIFY.with_direction(InboundOnly));
    let start = listener.event().unwrap().start;
    advance(seconds(20)).await;
    let second = root.start_drain_sequence(MODIFY);
    assert_eq!(listener.event().unwrap().start, start);
    assert_eq!(listener.deadline(), Some(start + T));
    assert_eq!(other.event().unwrap().start, second.event().start);
}

/// D32, Q6: in Envoy a child that drains inbound only ignores its parent's wider start.
#[tokio::test(start_paused = true)]
async fn escalation_reaches_children_that_drain_already() {
    let root = root();
    let listener = inbound(&root);
    let outside = listener
        .watch_with(WatchOptions::default().with_drained_by(DrainedBy::Full))
        .unwrap();
    let _first = listener.start_drain_sequence(MODIFY.with_direction(InboundOnly));
    assert!(!outside.is_draining());
    let sequence = tokio::spawn(root.start_drain_sequence(MODIFY));
    outside.signaled().await;
    drop(outside);
    assert_eq!(sequence.await.unwrap().ending, DrainEnding::Empty);
}

/// D26: nothing that is dropped or restored ends a drain.
#[tokio::test(start_paused = true)]
async fn a_drain_has_no_way_back() {
    let listener = child(&root());
    drop(listener.start_drain_sequence(MODIFY));
    listener.restore_health();
    assert_eq!(listener.state(), DrainState::Draining);
}

/// D27, Q12: Envoy's drains all last their time; here that is `DrainLength::Full`.
#[tokio::test(start_paused = true)]
async fn a_full_drain_lasts_its_time_under_both_strategies() {
    for strategy in [DrainStrategy::Gradual, DrainStrategy::Immediate] {
        let settings = DrainSettings::default()
            .with_drain_time(T)
            .with_length(DrainLength::Full);
        let listener = DrainManager::root(settings);
        let watch = listener.watch().unwrap();
        let sequence = tokio::spawn(listener.start_drain_sequence(MODIFY.with_strategy(strategy)));
        watch.signaled().await;
        drop(watch);
        let outcome = sequence.await.unwrap();
        assert_eq!((outcome.took, outcome.ending), (T, DrainEnding::Empty));
    }
}

/// D28: every sequence that joined sees the same end, once.
#[tokio::test(start_paused = true)]
async fn all_who_joined_see_the_same_end() {
    let listener = child(&root());
    let watch = listener.watch().unwrap();
    let joined: Vec<_> = (0..5)
        .map(|_| tokio::spawn(listener.start_drain_sequence(MODIFY)))
        .collect();
    watch.signaled().await;
    drop(watch);
    let mut outcomes = vec![];
    for sequence in joined {
        outcomes.push(sequence.await.unwrap());
    }
    assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]));
}

/// D29: type and direction are the parent's unless said.
#[test]
fn children_inherit_what_is_not_said() {
    let parent = root().child(ChildOptions::default().with_drain_type(DrainType::ModifyOnly));
    let like = inbound(&parent);
    let unlike = like.child(ChildOptions::default().with_drain_type(DrainType::Default));
    assert_eq!(
        (like.drain_type(), unlike.drain_type()),
        (DrainType::ModifyOnly, DrainType::Default)
    );
    assert_eq!(unlike.traffic_direction(), TrafficDirection::Inbound);
}

/// D29, D30: however deep the tree.
#[tokio::test(start_paused = true)]
async fn a_chain_of_nodes_may_be_any_depth() {
    let root = root();
    let mut nodes = vec![child(&root)];
    for _ in 0..50_000 {
        nodes.extend(nodes.last().map(child));
    }
    let watch = nodes.last().map(DrainManager::watch);
    let sequence = root.start_drain_sequence(MODIFY);
    let near = sequence.event().start + seconds(5);
    root.bring_forward(near);
    assert_eq!(root.open_watches(), 1);
    drop(watch);
    assert!(nodes.iter().all(|node| node.deadline() == Some(near)));
    assert_eq!(sequence.await.ending, DrainEnding::Empty);
}

/// D33, Q8: in Envoy each child takes its own time. E1: one start for all.
#[tokio::test(start_paused = true)]
async fn children_share_their_parents_start() {
    let root = root();
    let sequence = root.start_drain_sequence(MODIFY);
    advance(seconds(7)).await;
    let late = child(&root);
    assert_eq!(late.event().unwrap().start, sequence.event().start);
    assert_eq!(late.deadline(), root.deadline());
}

/// D34: a node that is gone is not waited for, nor its orphans signaled by its parent.
#[tokio::test(start_paused = true)]
async fn a_drain_does_not_reach_past_a_node_that_is_gone() {
    let root = root();
    let middle = child(&root);
    let orphan = child(&middle);
    drop(middle);
    let outcome = root.start_drain_sequence(MODIFY).await;
    assert_eq!(outcome.ending, DrainEnding::Empty);
    assert!(!orphan.is_draining());
}

/// D35, Q7: in Envoy a late child does not drain. One that comes after the end is completed, as its
/// parent is.
#[tokio::test(start_paused = true)]
async fn a_child_made_after_the_end_is_completed() {
    let listener = child(&root());
    listener.start_drain_sequence(MODIFY).await;
    let late = child(&listener);
    assert_eq!(late.state(), DrainState::Completed);
    assert!(late.watch().is_err());
}

/// D36: one timer; starting it again joins.
#[tokio::test(start_paused = true)]
async fn the_parent_shutdown_timer_starts_once() {
    let root = root();
    let first = root.start_parent_shutdown_sequence();
    advance(seconds(100)).await;
    let second = child(&root).start_parent_shutdown_sequence();
    assert_eq!(first.at(), second.at());
    assert!(root.settings().parent_outlives_drain());
    assert!(
        !DrainSettings::default()
            .with_drain_time(seconds(900))
            .parent_outlives_drain()
    );
}

/// D37: a listener answers for itself or for the server.
#[tokio::test(start_paused = true)]
async fn a_listener_drains_with_the_server_or_alone() {
    let root = root();
    let (alone, with) = (child(&root), child(&root));
    let _alone = alone.start_drain_sequence(MODIFY);
    assert!(alone.is_draining() && !with.is_draining());
    let _server = root.start_drain_sequence(DrainStart::new(DrainReason::HotRestart));
    assert!(with.is_draining());
}

/// D38, Q10 ([envoy#35085](https://github.com/envoyproxy/envoy/issues/35085)): Envoy drains a
/// replaced chain at once.
#[tokio::test(start_paused = true)]
async fn a_filter_chain_replaced_in_place_drains_along_the_ramp() {
    let listener = child(&root());
    let (replaced, kept) = (child(&listener), child(&listener));
    let watches: Vec<_> = (0..100).map(|_| replaced.watch().unwrap()).collect();
    let start = DrainStart::new(DrainReason::FilterChainUpdate);
    let _sequence = tokio::spawn(replaced.start_drain_sequence(start));
    advance(T / 8).await;
    let signaled = watches.iter().filter(|watch| watch.leave_if_due()).count();
    assert!(
        (30..70).contains(&signaled),
        "{signaled} of 100 at half of the window"
    );
    assert!(!kept.is_draining());
}

/// D39: both types drain on modify, remove, hot restart and admin.
#[tokio::test(start_paused = true)]
async fn modify_only_drains_on_everything_but_health() {
    for reason in [
        DrainReason::ListenerRemove,
        DrainReason::HotRestart,
        DrainReason::Admin,
    ] {
        let root = root();
        let egress = root.child(ChildOptions::default().with_drain_type(DrainType::ModifyOnly));
        let _sequence = root.start_drain_sequence(DrainStart::new(reason));
        assert!(egress.is_draining());
    }
}

/// A deadline that one listener's is brought nearer to holds for its late children too.
#[tokio::test(start_paused = true)]
async fn a_late_child_inherits_a_nearer_deadline() {
    let root = root();
    let listener = child(&root);
    let _keeps_it_going = root.watch().unwrap();
    let sequence = root.start_drain_sequence(MODIFY);
    let near = sequence.event().start + seconds(20);
    listener.bring_forward(near);
    assert_eq!(child(&listener).deadline(), Some(near));
    assert_eq!(child(&root).deadline(), Some(sequence.event().start + T));
}
