//! Nothing grows: not with drains that are over or whose sequence is not polled, nor with what
//! comes and goes under them. Counted by the allocator.

use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use allocation_counter::measure;
use drain_tree::{
    ChildOptions, DrainDirection, DrainManager, DrainReason, DrainSequence, DrainSettings,
    DrainStart, DrainState, PartialStart, Share, TrafficDirection,
    drain_signal::{Phase, PhaseWait},
};

const T: Duration = Duration::from_secs(60);
/// One admin drain leaves connections alone and listeners open: later versions come and go under
/// it.
const ADMIN: DrainStart = DrainStart::new(DrainReason::Admin);
const MODIFY: DrainStart = DrainStart::new(DrainReason::ListenerModify);
const MANY: usize = 5_000;
/// Vectors and maps keep a little of what they once took.
const SLACK: i64 = 4_096;

fn root() -> DrainManager {
    DrainManager::root(DrainSettings::default().with_drain_time(T))
}

fn child(parent: &DrainManager) -> DrainManager {
    parent.child(ChildOptions::default().with_traffic_direction(TrafficDirection::Inbound))
}

/// Polls at `now` until there is nothing more to do. Whether the sequence is over.
fn settle(sequence: &mut DrainSequence, now: Instant) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    let mut next = None;
    while next.is_none() {
        if sequence.poll_at(now, &mut cx, &mut next).is_ready() {
            return true;
        }
    }
    false
}

/// A listener version with a filter chain and a connection, if one is let in; in different orders
/// of going.
fn version(root: &DrainManager, nth: usize) {
    let listener = child(root);
    let chain = child(&listener);
    let watches = (listener.watch(), chain.watch());
    match nth % 3 {
        0 => drop(watches),
        1 => drop((listener, chain)), // before their connections
        _ => {
            drop(listener);
            drop(watches);
        }
    }
}

/// Bytes that `MANY` rounds leave behind, after some rounds that fill the pools.
fn left_by(mut round: impl FnMut(usize)) -> i64 {
    (0..100).for_each(&mut round);
    measure(|| (0..MANY).for_each(&mut round)).bytes_current
}

#[track_caller]
fn assert_nothing_is_left(bytes: i64) {
    assert!(
        bytes < SLACK,
        "{bytes} bytes are left behind by {MANY} rounds"
    );
}

#[test]
fn versions_after_a_drain_of_the_whole_that_is_over() {
    for start in [
        ADMIN,
        MODIFY,
        ADMIN.with_direction(DrainDirection::InboundOnly),
    ] {
        let root = root();
        let kept = child(&root);
        let open = kept.watch().expect("nothing drains yet");
        let mut sequence = root.start_drain_sequence(start);
        let begin = sequence.event().start;
        settle(&mut sequence, begin);
        assert!(settle(&mut sequence, begin + 2 * T));
        drop(sequence);
        assert_nothing_is_left(left_by(|nth| version(&root, nth)));
        assert!(kept.is_draining());
        drop(open);
    }
}

#[test]
fn a_partial_drain_keeps_only_the_connections_that_it_chose() {
    let listener = root();
    let mut cx = Context::from_waker(Waker::noop());
    let waits: Vec<_> = (0..MANY)
        .map(|_| {
            let mut wait = PhaseWait::new(listener.watch().expect("nothing drains"));
            assert!(wait.poll_phase(&mut cx, Phase::Open).is_pending());
            wait
        })
        .collect();
    let few = PartialStart::new(Share::new(0.01).expect("a share"));
    let mut partial = None;
    let heap = measure(|| partial = Some(listener.start_partial_drain(few)));
    assert_eq!(
        partial.map(|partial| partial.left()),
        Some(waits.len() / 100)
    );
    let bytes = heap.bytes_current;
    assert!(bytes < SLACK, "{bytes} bytes for a hundredth of them");
}

#[test]
fn versions_during_a_drain_of_the_whole() {
    let root = root();
    let kept = child(&root);
    let open = kept.watch().expect("nothing drains yet");
    let mut sequence = root.start_drain_sequence(ADMIN);
    let begin = sequence.event().start;
    let bytes = left_by(|nth| {
        version(&root, nth);
        assert!(!settle(&mut sequence, begin + T / 2));
    });
    assert_nothing_is_left(bytes);
    assert_eq!(sequence.open_watches(), 1);
    drop(open);
}

#[test]
fn versions_under_a_drain_whose_sequence_was_dropped() {
    let root = root();
    let open = root.watch().expect("nothing drains yet");
    drop(root.start_drain_sequence(ADMIN));
    assert_nothing_is_left(left_by(|nth| version(&root, nth)));
    assert_eq!(root.state(), DrainState::Draining);
    drop(open);
}

/// The deadline comes nearer for each while it is there: a change that is reported, and must be
/// reported again.
#[test]
fn versions_whose_deadline_comes_nearer_while_no_task_polls() {
    let root = root();
    let sequence = root.start_drain_sequence(MODIFY);
    let mut deadline = sequence.event().start + T;
    drop(sequence);
    let bytes = left_by(|nth| {
        deadline -= Duration::from_nanos(1000);
        let listener = child(&root);
        let watch = listener.watch();
        listener.bring_forward(deadline);
        if nth % 2 == 0 {
            drop(listener);
        }
        drop(watch);
    });
    assert_nothing_is_left(bytes);
}

#[test]
fn sequences_that_join_and_are_dropped() {
    struct Nothing;
    impl Wake for Nothing {
        fn wake(self: Arc<Self>) {}
    }
    let root = root();
    let open = root.watch().expect("nothing drains yet");
    let mut first = root.start_drain_sequence(MODIFY);
    let begin = first.event().start;
    assert!(!settle(&mut first, begin));
    let nothing = Arc::new(Nothing);
    let bytes = left_by(|_| {
        let waker = Waker::from(Arc::clone(&nothing));
        let mut joined = root.start_drain_sequence(MODIFY);
        let poll = joined.poll_at(begin, &mut Context::from_waker(&waker), &mut None);
        assert!(poll.is_pending());
    });
    assert_nothing_is_left(bytes);
    assert_eq!(
        Arc::strong_count(&nothing),
        1,
        "no waker of a dropped sequence is kept"
    );
    drop(open);
}

#[test]
fn callbacks_that_are_registered_and_dropped() {
    let root = root();
    let listener = child(&root);
    let all = DrainDirection::All;
    let round = |_: usize| drop(listener.on_drain(all, |_| ()));
    assert_nothing_is_left(left_by(round));
    let mut sequence = root.start_drain_sequence(ADMIN);
    assert_nothing_is_left(left_by(round));
    let begin = sequence.event().start;
    assert!(settle(&mut sequence, begin + T));
    assert_nothing_is_left(left_by(round));
}

#[test]
fn children_that_were_many_at_a_time_take_nothing_when_they_are_gone() {
    let root = root();
    let many = || drop((0..MANY).map(|_| child(&root)).collect::<Vec<_>>());
    many();
    let heap = measure(many);
    assert!(heap.bytes_current < SLACK, "{} bytes", heap.bytes_current);
}

#[test]
fn drains_of_many_versions_one_after_the_other() {
    let root = root();
    let now = root.start_parent_shutdown_sequence().at();
    let bytes = left_by(|_| {
        let (listener, next) = (child(&root), child(&root));
        let chain = child(&listener);
        let open = chain.watch().expect("nothing drains yet");
        let mut sequence = listener.start_drain_sequence_at(MODIFY, now);
        assert!(!settle(&mut sequence, now));
        drop(open);
        assert!(settle(&mut sequence, now));
        drop(next);
    });
    assert_nothing_is_left(bytes);
}

/// What an unlisted node costs does not depend on how many connections it had.
#[test]
fn connections_that_come_and_go_during_a_drain() {
    let root = root();
    let listeners: Vec<_> = (0..10).map(|_| child(&root)).collect();
    let mut sequence = root.start_drain_sequence(ADMIN);
    let begin = sequence.event().start;
    let bytes = left_by(|nth| {
        let watch = listeners[nth % 10].watch().expect("an admin drain lets in");
        if nth % 7 == 0 {
            settle(&mut sequence, begin + T / 4);
        }
        drop(watch);
    });
    assert_nothing_is_left(bytes);
    assert_eq!(sequence.open_watches(), 0);
}
