//! A watcher works wherever it is taken: other threads, other runtimes, after everything, through
//! panics and aborts.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;
use std::time::{Duration, Instant};

use drain_signal::schedule::Place;
use drain_signal::{
    DrainDecision, DrainEvent, DrainReason, DrainStrategy, Draining, Phase, WatchOptions, channel,
};
use tokio_test::{assert_pending, assert_ready, task};

const T: Duration = Duration::from_secs(60);

#[expect(clippy::disallowed_methods, reason = "any instant will do as a start")]
fn event() -> DrainEvent {
    DrainEvent::new(Instant::now(), T, DrainReason::ListenerModify)
}

fn immediate() -> DrainEvent {
    event().with_strategy(DrainStrategy::Immediate)
}

/// Wakes every connection whose turn it is at `now`.
fn advance(draining: &Draining, now: Instant) {
    while draining.advance(now).more {}
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
}

#[test]
fn a_watcher_moved_to_another_thread_and_runtime_is_told_there() {
    let (trigger, signal) = channel();
    let watch = signal.watch().unwrap();
    // Parked here first.
    assert_pending!(task::spawn(watch.signaled()).poll());
    let (parked, is_parked) = std::sync::mpsc::channel();
    let elsewhere = std::thread::spawn(move || {
        runtime().block_on(async {
            let mut signaled = std::pin::pin!(watch.signaled());
            std::future::poll_fn(|cx| {
                let poll = signaled.as_mut().poll(cx).map(drop);
                parked.send(()).ok();
                poll
            })
            .await;
        });
        drop(watch);
    });
    is_parked.recv().unwrap();
    let event = immediate();
    let start = event.start;
    let draining = trigger.start(event);
    advance(&draining, start);
    runtime().block_on(draining.drained());
    elsewhere.join().unwrap();
}

#[test]
fn a_thousand_watchers_on_four_runtimes_are_all_told_by_two_drivers() {
    let (trigger, signal) = channel();
    let (ready, is_ready) = std::sync::mpsc::channel();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (signal, ready) = (signal.clone(), ready.clone());
            std::thread::spawn(move || {
                runtime().block_on(async move {
                    let mut tasks = tokio::task::JoinSet::new();
                    for _ in 0..250 {
                        let watch = signal.watch().unwrap();
                        tasks.spawn(async move { drop(watch.signaled().await) });
                    }
                    tokio::task::yield_now().await;
                    ready.send(()).unwrap();
                    assert_eq!(tasks.join_all().await.len(), 250);
                });
            })
        })
        .collect();
    (0..4).for_each(|_| is_ready.recv().unwrap());
    let event = immediate();
    let start = event.start;
    let draining = trigger.start(event);
    let second = draining.clone();
    let driver = std::thread::spawn(move || advance(&second, start));
    advance(&draining, start);
    driver.join().unwrap();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert!(draining.complete_if_empty());
}

#[test]
fn a_watcher_opened_during_the_drain_has_its_slot_in_what_is_left_of_the_window() {
    let (trigger, signal) = channel();
    let event = event();
    let start = event.start;
    let draining = trigger.start(event);
    advance(&draining, start + T / 8);
    let halfway = WatchOptions::default().with_place(Place::new(0x8000));
    let watch = signal.watch_with(halfway).unwrap();
    let mut waiting = task::spawn(watch.signaled());
    advance(&draining, start + T / 8 + T / 16 - Duration::from_millis(1));
    assert_pending!(waiting.poll());
    advance(&draining, start + T / 8 + T / 16);
    assert!(waiting.is_woken());
    assert_ready!(waiting.poll());
}

#[test]
fn a_watcher_opened_after_the_deadline_is_overdue_at_once_and_one_after_completion_is_refused() {
    let (trigger, signal) = channel();
    let first = signal.watch().unwrap();
    let event = event();
    let start = event.start;
    let draining = trigger.start(event);
    advance(&draining, start + 2 * T);
    let late = signal.watch().unwrap();
    assert_eq!(late.phase(), Phase::Overdue);
    assert_ready!(task::spawn(late.expired()).poll());
    drop((first, late));
    assert!(draining.complete_if_empty());
    assert!(signal.watch().is_err());
}

#[test]
fn a_watcher_opened_after_the_trigger_is_gone_is_never_told() {
    let (trigger, signal) = channel();
    drop(trigger);
    let watch = signal.watch().unwrap();
    assert_pending!(task::spawn(watch.signaled()).poll());
    assert!(!watch.leave_if_due());
}

#[test]
fn a_watcher_cloned_after_completion_is_still_a_guard() {
    let (trigger, signal) = channel();
    let watch = signal.watch().unwrap();
    let draining = trigger.start(event());
    draining.complete();
    let clone = watch.clone();
    drop(watch);
    assert_eq!(signal.open_watches(), 1);
    let mut drained = task::spawn(draining.drained());
    assert_pending!(drained.poll());
    drop(clone);
    assert_ready!(drained.poll());
}

#[test]
fn a_wait_moved_from_task_to_task_wakes_the_last_one() {
    let (trigger, signal) = channel();
    let watch = signal.watch().unwrap();
    let mut tasks: Vec<_> = (0..3).map(|_| task::spawn(())).collect();
    let mut signaled = std::pin::pin!(watch.signaled());
    for turn in [0, 1, 1, 0, 2] {
        tasks[turn].enter(|cx, _| assert_pending!(signaled.as_mut().poll(cx).map(drop)));
    }
    let event = immediate();
    let start = event.start;
    advance(&trigger.start(event), start);
    assert_eq!(
        tasks.iter().map(task::Spawn::is_woken).collect::<Vec<_>>(),
        [false, false, true]
    );
}

#[test]
fn a_task_aborted_at_any_await_leaves_no_guard_behind() {
    let runtime = runtime();
    for polls in 0..6 {
        let (trigger, signal) = channel();
        let event = event();
        let start = event.start;
        let opened = signal.clone();
        let task = runtime.spawn(async move {
            let watch = opened.watch().unwrap();
            let tunnel = watch.clone();
            tokio::task::yield_now().await;
            watch.signaled().await;
            tokio::task::yield_now().await;
            tunnel.finishing().await;
            drop(watch);
            tunnel.expired().await;
            std::future::pending::<()>().await;
        });
        let draining = trigger.start(event);
        runtime.block_on(async {
            for turn in 0..polls {
                tokio::task::yield_now().await;
                advance(&draining, start + T * turn / 4);
            }
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
            draining.drained().await;
        });
    }
}

#[test]
fn a_handler_that_panics_leaves_no_guard_and_no_wait_behind() {
    let (trigger, signal) = channel();
    let other = signal.watch().unwrap();
    let mut waiting = task::spawn(other.signaled());
    assert_pending!(waiting.poll());
    let watch = signal.watch().unwrap();
    let panicking = catch_unwind(AssertUnwindSafe(|| {
        let mut parked = task::spawn(watch.expired());
        assert_pending!(parked.poll());
        drop(parked);
        let _moved_in = watch;
        panic!("the handler's own fault");
    }));
    assert!(panicking.is_err());
    let event = immediate();
    let start = event.start;
    let draining = trigger.start(event);
    advance(&draining, start);
    assert!(waiting.is_woken());
    assert_ready!(waiting.poll());
    drop(waiting);
    drop(other);
    assert_ready!(task::spawn(draining.drained()).poll());
}

#[test]
fn a_waker_that_panics_takes_nobody_elses_drain_with_it() {
    struct Panicking;
    impl std::task::Wake for Panicking {
        fn wake(self: std::sync::Arc<Self>) {
            panic!("the executor's own fault");
        }
    }
    let (trigger, signal) = channel();
    let (bad, good) = (signal.watch().unwrap(), signal.watch().unwrap());
    let waker = std::sync::Arc::new(Panicking).into();
    let mut wait = drain_signal::PhaseWait::new(&bad);
    let poll = wait.poll_phase(&mut std::task::Context::from_waker(&waker), Phase::Open);
    assert!(matches!(poll, Poll::Pending));
    let event = immediate();
    let start = event.start;
    let draining = trigger.start(event);
    advance(&draining, start);
    assert_ready!(task::spawn(good.signaled()).poll());
    drop(wait);
    drop((bad, good));
    assert_ready!(task::spawn(draining.drained()).poll());
}

#[test]
fn a_runtime_shut_down_with_watchers_parked_lets_them_go() {
    let (trigger, signal) = channel();
    let runtime = runtime();
    for _ in 0..100 {
        let watch = signal.watch().unwrap();
        runtime.spawn(async move { drop(watch.signaled().await) });
    }
    runtime.block_on(tokio::task::yield_now());
    let event = immediate();
    let start = event.start;
    let draining = trigger.start(event);
    drop(runtime);
    assert_eq!(draining.open_watches(), 0);
    advance(&draining, start);
    assert_ready!(task::spawn(draining.drained()).poll());
}

#[test]
fn a_drain_dropped_with_watchers_parked_is_forgotten_when_they_are_gone() {
    let (trigger, signal) = channel();
    let watch = signal.watch().unwrap();
    let handle = watch.handle();
    let mut waiting = task::spawn(watch.signaled());
    assert_pending!(waiting.poll());
    drop((trigger, signal));
    assert_pending!(waiting.poll());
    assert!(handle.start_now());
    assert!(waiting.is_woken());
    assert_ready!(waiting.poll());
    drop(waiting);
    drop(watch);
    assert!(handle.leave_if_due(), "it was signaled");
}
