//! Interleavings of a tree's wait-and-notify paths: who opens and drops watchers against who begins, looks and completes.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p drain-tree --features __loom --test loom --release`
//!
//! tokio takes no part: a sequence is driven by hand, with `poll_at`.
#![cfg(loom)]

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use drain_tree::drain_signal::Phase;
use drain_tree::drain_signal::schedule::Place;
use drain_tree::{
    ChildOptions, DrainEnding, DrainManager, DrainOutcome, DrainReason, DrainSequence, DrainSettings,
    DrainStart, DrainStrategy, DrainWatch, WatchOptions,
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

/// Nobody whom the start alone tells.
fn half_way() -> WatchOptions {
    WatchOptions::default().with_place(Place::new(0x8000))
}

/// Drives `sequence` at `now` until it has nothing more to do.
fn settle(sequence: &DrainSequence, now: Instant) -> Option<DrainOutcome> {
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
fn wait(sequence: &DrainSequence) -> DrainOutcome {
    let now = sequence.event().start;
    block_on(poll_fn(|cx| sequence.poll_at(now, cx, &mut None)))
}

/// A drain that goes on, whoever is there: what nobody attends to is not found by the attempt to complete it.
const LASTING: DrainStart =
    DrainStart::new(DrainReason::ListenerModify).with_minimum(Duration::from_secs(600));

/// When the telling is over and the drain goes on.
fn all_told(sequence: &DrainSequence) -> Instant {
    sequence.event().start + Duration::from_secs(200)
}

fn is_told(watch: &DrainWatch) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    watch.poll_phase(&mut cx, Phase::Open).is_ready()
}

#[test]
fn a_first_watcher_opened_while_the_drain_begins_is_told() {
    model(|| {
        let listener = listener();
        let opening = listener.clone();
        let opener = thread::spawn(move || opening.watch_with(half_way()).unwrap());
        let sequence = listener.start_drain_sequence(LASTING);
        let watch = opener.join().unwrap();
        assert_eq!(settle(&sequence, all_told(&sequence)), None);
        assert!(is_told(&watch));
    });
}

#[test]
fn a_watcher_opened_while_its_empty_node_is_left_alone_is_told() {
    model(|| {
        let listener = listener();
        let first = listener.watch().unwrap();
        let sequence = listener.start_drain_sequence(LASTING);
        assert_eq!(settle(&sequence, sequence.event().start), None);
        let opening = listener.clone();
        let opener = thread::spawn(move || {
            drop(first);
            opening.watch_with(half_way()).unwrap()
        });
        assert_eq!(settle(&sequence, sequence.event().start), None);
        let watch = opener.join().unwrap();
        assert_eq!(settle(&sequence, all_told(&sequence)), None);
        assert!(is_told(&watch));
    });
}

#[test]
fn the_last_watcher_that_leaves_ends_the_drain_without_time_passing() {
    model(|| {
        let listener = listener();
        let watch = listener.watch().unwrap();
        let sequence = listener.start_drain_sequence(IMMEDIATE);
        let closer = thread::spawn(move || drop(watch));
        assert_eq!(wait(&sequence).ending, DrainEnding::Empty);
        closer.join().unwrap();
    });
}

#[test]
fn a_child_made_while_the_drain_begins_and_ends_drains() {
    model(|| {
        let listener = listener();
        let parent = listener.clone();
        let maker = thread::spawn(move || parent.child(ChildOptions::default()));
        let sequence = listener.start_drain_sequence(IMMEDIATE);
        assert_eq!(wait(&sequence).ending, DrainEnding::Empty);
        let child = maker.join().unwrap();
        assert!(child.watch().is_err());
    });
}

#[test]
fn two_that_drive_one_drain_both_see_its_outcome() {
    model(|| {
        let listener = listener();
        let watch = listener.watch().unwrap();
        let sequence = listener.start_drain_sequence(IMMEDIATE);
        let joined = listener.start_drain_sequence(IMMEDIATE);
        let other = thread::spawn(move || wait(&joined));
        drop(watch);
        assert_eq!(wait(&sequence), other.join().unwrap());
    });
}

#[test]
fn two_starts_at_once_are_one_drain() {
    model(|| {
        let listener = listener();
        let starting = listener.clone();
        let starter = thread::spawn(move || starting.start_drain_sequence(IMMEDIATE));
        let sequence = listener.start_drain_sequence(IMMEDIATE);
        let other = starter.join().unwrap();
        assert_eq!(sequence.event(), other.event());
        assert_eq!(wait(&sequence), wait(&other));
    });
}
