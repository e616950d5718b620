//! One tree under several executors at once, in random interleavings: more threads than loom can
//! follow.
//!
//! `RUSTFLAGS="--cfg shuttle" cargo test -p drain-tree --features __shuttle --test shuttle
//! --release`
//!
//! Time is passed in: on one executor it jumps to the next step of the drain, on the others it
//! stands still, so that only wake-ups move them.
#![cfg(shuttle)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::future::poll_fn;
use std::time::Duration;

use drain_tree::{
    ChildOptions, DrainEnding, DrainManager, DrainOutcome, DrainReason, DrainSequence,
    DrainSettings, DrainStart, DrainState, DrainWatch,
};
use shuttle::future::{self, JoinHandle};
use shuttle::rand::{Rng, thread_rng};

const T: Duration = Duration::from_millis(16);
const MODIFY: DrainStart = DrainStart::new(DrainReason::ListenerModify);

fn check(scenario: impl Fn() + Send + Sync + Clone + 'static) {
    shuttle::check_random(scenario, 5_000);
}

/// Leaves when signaled, or only at the deadline.
fn connection(watch: DrainWatch) -> JoinHandle<()> {
    let stays = thread_rng().gen_bool(0.3);
    future::spawn(async move {
        if stays {
            watch.expired().await;
        } else {
            watch.signaled().await;
        }
    })
}

/// Runs a sequence with time that jumps.
async fn keep_time(mut sequence: DrainSequence) -> DrainOutcome {
    let mut now = sequence.event().start;
    poll_fn(|cx| {
        let mut next = None;
        let poll = sequence.poll_at(now, cx, &mut next);
        if let Some(next) = next {
            now = now.max(next);
            cx.waker().wake_by_ref();
        }
        poll
    })
    .await
}

/// Runs a sequence with time that stands still.
async fn follow(mut sequence: DrainSequence) -> DrainOutcome {
    let now = sequence.event().start;
    poll_fn(|cx| sequence.poll_at(now, cx, &mut None)).await
}

#[test]
fn joined_sequences_on_several_executors_see_one_end() {
    check(|| {
        let root = DrainManager::root(DrainSettings::default().with_drain_time(T));
        let listeners: Vec<_> = (0..2)
            .map(|_| root.child(ChildOptions::default()))
            .collect();
        let connections: Vec<_> = listeners
            .iter()
            .flat_map(|listener| (0..2).map(|_| connection(listener.watch().unwrap())))
            .collect();
        let followers: Vec<_> = (0..2)
            .map(|_| {
                let root = root.clone();
                shuttle::thread::spawn(move || {
                    future::block_on(follow(root.start_drain_sequence(MODIFY)))
                })
            })
            .collect();
        let opening = listeners[1].clone();
        let opener = shuttle::thread::spawn(move || opening.watch().map(connection));
        let outcome = future::block_on(keep_time(root.start_drain_sequence(MODIFY)));
        for follower in followers {
            let followed = follower.join().unwrap();
            assert_eq!(
                (followed.ending, followed.left),
                (outcome.ending, outcome.left)
            );
        }
        let late = opener.join().unwrap();
        future::block_on(async {
            for connection in connections.into_iter().chain(late) {
                connection.await.unwrap();
            }
        });
        assert_eq!(
            (root.state(), root.open_watches()),
            (DrainState::Completed, 0)
        );
        for listener in &listeners {
            assert_eq!(listener.state(), DrainState::Completed);
        }
    });
}

#[test]
fn a_sequence_dropped_anywhere_is_taken_over_by_those_that_joined() {
    check(|| {
        let root = DrainManager::root(DrainSettings::default().with_drain_time(T));
        let listener = root.child(ChildOptions::default());
        let connections: Vec<_> = (0..3)
            .map(|_| connection(listener.watch().unwrap()))
            .collect();
        let dropped = future::spawn(keep_time(listener.start_drain_sequence(MODIFY)));
        let joined = future::spawn(keep_time(listener.start_drain_sequence(MODIFY)));
        let dropper = shuttle::thread::spawn(move || {
            for _ in 0..thread_rng().gen_range(0..8) {
                shuttle::thread::yield_now();
            }
            dropped.abort();
        });
        let outcome = future::block_on(joined).unwrap();
        assert!(
            matches!(outcome.ending, DrainEnding::Empty | DrainEnding::Deadline),
            "{outcome:?}"
        );
        dropper.join().unwrap();
        future::block_on(async {
            for connection in connections {
                connection.await.unwrap();
            }
        });
        assert_eq!(
            (listener.state(), root.state()),
            (DrainState::Completed, DrainState::NotDraining)
        );
    });
}

#[test]
fn a_listener_that_drains_is_drawn_into_the_drain_of_the_whole() {
    check(|| {
        let root = DrainManager::root(DrainSettings::default().with_drain_time(T));
        let listeners: Vec<_> = (0..2)
            .map(|_| root.child(ChildOptions::default()))
            .collect();
        let connections: Vec<_> = listeners
            .iter()
            .map(|listener| connection(listener.watch().unwrap()))
            .collect();
        let first = listeners[0].clone();
        let modifying = shuttle::thread::spawn(move || {
            future::block_on(keep_time(first.start_drain_sequence(MODIFY)))
        });
        let all = DrainStart::new(DrainReason::ProcessShutdown);
        let outcome = future::block_on(keep_time(root.start_drain_sequence(all)));
        assert_eq!(outcome.reason, DrainReason::ProcessShutdown);
        modifying.join().unwrap();
        future::block_on(async {
            for connection in connections {
                connection.await.unwrap();
            }
        });
        assert_eq!(root.open_watches(), 0);
        assert!(
            listeners
                .iter()
                .all(|listener| listener.state() == DrainState::Completed)
        );
    });
}
