//! One start is one walk: when it returns, everything below is draining, whichever thread began it
//! and however big the tree is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use drain_tree::drain_signal::DrainedBy;
use drain_tree::drain_signal::Phase;
use drain_tree::{
    ChildOptions, DrainDirection, DrainManager, DrainReason, DrainSettings, DrainStart, DrainState,
    WatchOptions,
};

const MODIFY: DrainStart = DrainStart::new(DrainReason::ListenerModify);

fn root() -> DrainManager {
    DrainManager::root(DrainSettings::default())
}

fn child(parent: &DrainManager) -> DrainManager {
    parent.child(ChildOptions::default())
}

/// A listener of many chains beside another, in a tree of `nodes`.
fn tree(nodes: usize) -> (DrainManager, Vec<DrainManager>) {
    let root = root();
    let mut below = vec![child(&root)];
    while below.len() < nodes {
        // Ten below each.
        below.push(child(&below[below.len() / 10]));
    }
    (root, below)
}

#[test]
fn a_start_returns_when_all_of_twenty_thousand_nodes_are_draining() {
    let (root, nodes) = tree(20_000);
    let sequence = root.start_drain_sequence(MODIFY);
    assert!(nodes.iter().all(DrainManager::is_draining));
    let event = sequence.event();
    assert!(
        nodes
            .iter()
            .all(|node| node.event().as_deref() == Some(event))
    );
    drop(sequence);
    assert!(child(&nodes[19_999]).is_draining());
}

/// Also one that joins a start whose walk another thread has not finished.
#[test]
fn of_several_starts_at_once_each_returns_with_all_nodes_draining() {
    for _ in 0..10 {
        let (root, nodes) = tree(2_000);
        let barrier = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    barrier.wait();
                    let sequence = root.start_drain_sequence(MODIFY);
                    assert!(nodes.iter().all(DrainManager::is_draining));
                    drop(sequence);
                });
            }
        });
    }
}

#[test]
fn children_made_while_a_drain_begins_drain() {
    for _ in 0..10 {
        let (root, nodes) = tree(2_000);
        let late = std::thread::scope(|scope| {
            let maker = scope.spawn(|| nodes.iter().map(child).collect::<Vec<_>>());
            drop(root.start_drain_sequence(MODIFY));
            maker.join().expect("children are made")
        });
        assert!(late.iter().all(DrainManager::is_draining));
    }
}

#[test]
fn a_callback_finds_everything_draining_and_may_use_the_tree() {
    let root = root();
    let listener = child(&root);
    let leaf = child(&listener);
    let seen = Arc::new(AtomicUsize::new(0));
    let watching = |node: &DrainManager| {
        let (seen, root, leaf) = (Arc::clone(&seen), root.clone(), leaf.clone());
        node.on_drain(DrainDirection::All, move |_| {
            assert!(leaf.is_draining());
            drop(root.start_drain_sequence(MODIFY));
            assert!(child(&root).is_draining());
            seen.fetch_add(1, Ordering::Relaxed);
        })
    };
    let kept = [watching(&root), watching(&listener), watching(&leaf)];
    drop(root.start_drain_sequence(MODIFY));
    assert_eq!(seen.load(Ordering::Relaxed), 3);
    drop(kept);
}

/// A drain that is about to complete a big tree takes many polls for it. At each of them either all
/// nodes let a connection in, and the drain goes on, or none does, and it is over.
#[test]
fn a_connection_is_refused_by_all_nodes_or_by_none() {
    let (root, nodes) = tree(3_000);
    let (first, last) = (&nodes[0], &nodes[2_999]);
    let mut sequence = root.start_drain_sequence(MODIFY);
    let now = sequence.event().start;
    let mut cx = Context::from_waker(Waker::noop());
    let mut refused = 0;
    while sequence.poll_at(now, &mut cx, &mut None).is_pending() {
        for (one, other) in [(first, last), (last, first)] {
            let watches = (one.watch(), other.watch());
            assert_eq!(watches.0.is_ok(), watches.1.is_ok());
            refused += usize::from(watches.0.is_err());
        }
    }
    assert!(refused > 0, "the tree is too small for this test");
    assert!(
        nodes
            .iter()
            .all(|node| node.state() == DrainState::Completed)
    );
}

/// A drain of inbound listeners is not kept by connections that it does not concern, and they are
/// not refused by its end.
#[test]
fn connections_outside_an_inbound_drain_neither_keep_it_nor_are_refused() {
    let inbound = drain_tree::TrafficDirection::Inbound;
    let root = root();
    let listener = root.child(ChildOptions::default().with_traffic_direction(inbound));
    let outside = WatchOptions::default().with_drained_by(DrainedBy::Full);
    let open = listener.watch_with(outside).expect("nothing drains yet");
    let mut sequence =
        root.start_drain_sequence(MODIFY.with_direction(DrainDirection::InboundOnly));
    let now = sequence.event().start;
    let mut cx = Context::from_waker(Waker::noop());
    let ends = (0..100).any(|_| sequence.poll_at(now, &mut cx, &mut None).is_ready());
    assert!(ends, "no connection is left that it concerns");
    assert!(listener.watch().is_err());
    assert!(listener.watch_with(outside).is_ok());
    assert_eq!(open.phase(), Phase::Open);

    let mut all = root.start_drain_sequence(MODIFY);
    assert!(open.is_draining());
    let late = now + Duration::from_secs(3600);
    assert!((0..100).any(|_| all.poll_at(late, &mut cx, &mut None).is_ready()));
    assert!(listener.watch_with(outside).is_err());
}

/// What is below a node that is dropped during a drain ends with the drain nevertheless.
#[test]
fn a_child_whose_parent_is_dropped_during_a_drain_is_completed_with_it() {
    let root = root();
    let listener = child(&root);
    let chain = child(&listener);
    let open = chain.watch().expect("nothing drains yet");
    let mut sequence = root.start_drain_sequence(MODIFY);
    let now = sequence.event().start;
    drop(listener);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(sequence.poll_at(now, &mut cx, &mut None).is_pending());
    assert_eq!(sequence.open_watches(), 1);
    drop(open);
    assert!((0..10).any(|_| sequence.poll_at(now, &mut cx, &mut None).is_ready()));
    assert_eq!(chain.state(), DrainState::Completed);
    assert!(chain.watch().is_err());
}
