//! Interleavings of a tree's wait-and-notify paths: watches that are opened and dropped while a
//! drain begins, looks and ends.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p drain-tree --features __loom --test loom --release`
//!
//! tokio takes no part: a sequence is driven by hand, with `poll_at`.
#![cfg(loom)]

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use drain_tree::drain_signal::schedule::Place;
use drain_tree::drain_signal::{Phase, PhaseWait};
use drain_tree::{
    ChildOptions, DrainEnding, DrainManager, DrainOutcome, DrainReason, DrainSequence,
    DrainSettings, DrainStart, DrainStrategy, DrainWatch, WatchOptions,
};
use loom::future::block_on;
use loom::thread;

const IMMEDIATE: DrainStart =
    DrainStart::new(DrainReason::ListenerModify).with_strategy(DrainStrategy::Immediate);

fn listener() -> DrainManager {
    DrainManager::root(DrainSettings::default())
}

fn model(scenario: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(4);
    builder.check(scenario);
}

/// Not a connection that the start alone signals.
fn half_way() -> WatchOptions {
    WatchOptions::default().with_place(Place::new(0x8000))
}

/// Drives `sequence` at `now` until it has nothing more to do.
fn settle(sequence: &mut DrainSequence, now: Instant) -> Option<DrainOutcome> {
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        let mut next = None;
        match sequence.poll_at(now, &mut cx, &mut next) {
            Poll::Ready(outcome) => return Some(outcome),
            Poll::Pending if next.is_some() => return None,
            Poll::Pending => thread::yield_now(),
        }
    }
}

/// Waits for the outcome, with the time standing still: only wake-ups bring it about.
fn wait(sequence: &mut DrainSequence) -> DrainOutcome {
    let now = sequence.event().start;
    block_on(poll_fn(|cx| sequence.poll_at(now, cx, &mut None)))
}

/// A drain that goes on, with or without connections: what is not listed is not found by the
/// attempt to end it.
const LASTING: DrainStart =
    DrainStart::new(DrainReason::ListenerModify).with_minimum(Duration::from_secs(600));

/// The start, and a time when all slots have come and the drain goes on.
fn times(sequence: &DrainSequence) -> (Instant, Instant) {
    let start = sequence.event().start;
    (start, start + Duration::from_secs(200))
}

fn is_signaled(watch: &DrainWatch) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    PhaseWait::new(watch)
        .poll_phase(&mut cx, Phase::Open)
        .is_ready()
}

/// Invariant 5: opening a watch against counting its part as unlisted.
#[test]
fn a_first_watch_opened_while_the_drain_begins_is_signaled() {
    model(|| {
        let listener = listener();
        let opening = listener.clone();
        let opener = thread::spawn(move || opening.watch_with(half_way()).unwrap());
        let mut sequence = listener.start_drain_sequence(LASTING);
        let (_, all_slots) = times(&sequence);
        let watch = opener.join().unwrap();
        assert_eq!(settle(&mut sequence, all_slots), None);
        assert!(is_signaled(&watch));
    });
}

/// Invariants 5 and 6: opening a watch against taking an empty part out of the list.
#[test]
fn a_watch_opened_while_its_empty_node_is_unlisted_is_signaled() {
    model(|| {
        let listener = listener();
        let first = listener.watch().unwrap();
        let mut sequence = listener.start_drain_sequence(LASTING);
        let (start, all_slots) = times(&sequence);
        assert_eq!(settle(&mut sequence, start), None);
        let opening = listener.clone();
        let opener = thread::spawn(move || {
            drop(first);
            opening.watch_with(half_way()).unwrap()
        });
        assert_eq!(settle(&mut sequence, start), None);
        let watch = opener.join().unwrap();
        assert_eq!(settle(&mut sequence, all_slots), None);
        assert!(is_signaled(&watch));
    });
}

/// Invariant 6: the drop reports the part.
#[test]
fn the_last_watch_that_is_dropped_ends_the_drain_without_time_passing() {
    model(|| {
        let listener = listener();
        let watch = listener.watch().unwrap();
        let mut sequence = listener.start_drain_sequence(IMMEDIATE);
        let closer = thread::spawn(move || drop(watch));
        assert_eq!(wait(&mut sequence).ending, DrainEnding::Empty);
        closer.join().unwrap();
    });
}

/// Invariant 3: the child and the start see one another.
#[test]
fn a_child_made_while_the_drain_begins_and_ends_drains() {
    model(|| {
        let listener = listener();
        let parent = listener.clone();
        let maker = thread::spawn(move || parent.child(ChildOptions::default()));
        let mut sequence = listener.start_drain_sequence(IMMEDIATE);
        assert_eq!(wait(&mut sequence).ending, DrainEnding::Empty);
        let child = maker.join().unwrap();
        assert!(child.watch().is_err());
    });
}

/// Invariant 7: one decision, seen by each task that polls.
#[test]
fn two_that_drive_one_drain_both_see_its_outcome() {
    model(|| {
        let listener = listener();
        let watch = listener.watch().unwrap();
        let mut sequence = listener.start_drain_sequence(IMMEDIATE);
        let mut joined = listener.start_drain_sequence(IMMEDIATE);
        let other = thread::spawn(move || wait(&mut joined));
        drop(watch);
        assert_eq!(wait(&mut sequence), other.join().unwrap());
    });
}

/// Invariants 2 and 4: the first event wins, the second start joins.
#[test]
fn two_starts_at_once_are_one_drain() {
    model(|| {
        let listener = listener();
        let starting = listener.clone();
        let starter = thread::spawn(move || starting.start_drain_sequence(IMMEDIATE));
        let mut sequence = listener.start_drain_sequence(IMMEDIATE);
        let mut other = starter.join().unwrap();
        assert_eq!(sequence.event(), other.event());
        assert_eq!(wait(&mut sequence), wait(&mut other));
    });
}

/// Invariant 7: the drain is over for all nodes or for none.
#[test]
fn a_watch_is_refused_by_all_nodes_or_by_none() {
    model(|| {
        let root = listener();
        let nodes = [(); 2].map(|()| root.child(ChildOptions::default()));
        let mut sequence = root.start_drain_sequence(IMMEDIATE);
        let opener = thread::spawn(move || {
            let first = nodes[0].watch();
            // As long as the first is open, the drain goes on.
            let second = nodes[1].watch();
            assert!(first.is_err() || second.is_ok());
            first.is_ok()
        });
        let start = sequence.event().start;
        let early = settle(&mut sequence, start);
        let was_in = opener.join().unwrap();
        assert!(
            early.is_some() || was_in,
            "who is not let in finds the drain over"
        );
        assert_eq!(wait(&mut sequence).ending, DrainEnding::Empty);
        assert_eq!(sequence.open_watches(), 0);
    });
}

/// Invariant 4: a start that joins another returns with everything below draining, too.
#[test]
fn of_two_starts_at_once_each_returns_with_the_child_draining() {
    model(|| {
        let root = listener();
        let child = root.child(ChildOptions::default());
        let (other_root, other_child) = (root.clone(), child.clone());
        let other = thread::spawn(move || {
            let sequence = other_root.start_drain_sequence(IMMEDIATE);
            assert!(other_child.is_draining());
            drop(sequence);
        });
        let sequence = root.start_drain_sequence(IMMEDIATE);
        assert!(child.is_draining());
        drop(sequence);
        other.join().unwrap();
    });
}

/// The same, with a watch that is open while both begin: neither may end the drain without it.
#[test]
fn a_start_that_joins_does_not_end_the_drain_of_a_node_with_a_connection() {
    model(|| {
        let root = listener();
        let child = root.child(ChildOptions::default());
        let watch = child.watch().unwrap();
        let joining = root.clone();
        let other = thread::spawn(move || {
            let mut sequence = joining.start_drain_sequence(IMMEDIATE);
            let start = sequence.event().start;
            assert_eq!(settle(&mut sequence, start), None);
        });
        drop(root.start_drain_sequence(IMMEDIATE));
        other.join().unwrap();
        assert!(is_signaled(&watch));
    });
}

/// The same, if one of the two starts below the other: its walk is not that of the whole tree.
#[test]
fn a_start_below_one_that_begins_does_not_end_the_drain_of_a_node_beside_it() {
    model(|| {
        let root = listener();
        // The walk comes to the last child first.
        let [beside, below] = [(); 2].map(|()| root.child(ChildOptions::default()));
        let watch = beside.watch().unwrap();
        let other = thread::spawn(move || {
            let mut sequence = below.start_drain_sequence(IMMEDIATE);
            let start = sequence.event().start;
            settle(&mut sequence, start);
        });
        let mut sequence = root.start_drain_sequence(IMMEDIATE);
        other.join().unwrap();
        let start = sequence.event().start;
        assert_eq!(settle(&mut sequence, start), None);
        assert!(is_signaled(&watch));
    });
}

/// Invariants 6 and 8: a node and its last watch go at once, and no task polls.
#[test]
fn a_node_and_its_watch_that_go_at_once_leave_nothing_to_wait_for() {
    model(|| {
        let root = listener();
        let child = root.child(ChildOptions::default());
        let watch = child.watch().unwrap();
        let mut sequence = root.start_drain_sequence(IMMEDIATE);
        let closer = thread::spawn(move || drop(watch));
        drop(child);
        closer.join().unwrap();
        assert_eq!(sequence.open_watches(), 0);
        assert_eq!(wait(&mut sequence).ending, DrainEnding::Empty);
    });
}

/// Invariant 3, of a deadline: the child and who brings it nearer see one another, at the node that
/// the drain was started at and below it.
#[test]
fn a_child_made_while_a_deadline_comes_nearer_has_the_nearer_one() {
    for below in [false, true] {
        model(move || {
            let root = listener();
            let listener = root.child(ChildOptions::default());
            let node = if below { &listener } else { &root };
            let sequence = root.start_drain_sequence(LASTING);
            let near = sequence.event().start + Duration::from_secs(20);
            let parent = node.clone();
            let maker = thread::spawn(move || parent.child(ChildOptions::default()));
            node.bring_forward(near);
            let child = maker.join().unwrap();
            assert_eq!(child.deadline(), Some(near));
            drop(sequence);
        });
    }
}

/// Invariants 3 and 4, of a deadline: what a start above has not reached yet drains until then too.
#[test]
fn a_deadline_that_comes_nearer_below_a_start_reaches_what_drains_there() {
    model(|| {
        let root = listener();
        let listener = root.child(ChildOptions::default());
        let chain = listener.child(ChildOptions::default());
        let now = tokio::time::Instant::now().into_std();
        let near = now + Duration::from_secs(20);
        let starter = thread::spawn(move || root.start_drain_sequence_at(LASTING, now));
        let has_begun = listener.is_draining();
        listener.bring_forward(near);
        let sequence = starter.join().unwrap();
        if has_begun {
            let deadlines = [&listener, &chain].map(DrainManager::deadline);
            assert_eq!(deadlines, [Some(near); 2]);
        }
        drop(sequence);
    });
}
