//! A connection opens and closes; and one that parks in between. With nobody, ten thousand and a million others there.

use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use event_listener::Event;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::check::plural;
use measure::{Case, Row, Scale, Target, compare, time};

pub(crate) fn rows(scale: &Scale) -> Vec<Row> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .expect("a runtime");
    let _inside = runtime.enter();
    let mut rows = vec![];
    for (threads, target) in [(1, 1.0), (2, 0.25)] {
        for live in [0, 10_000, 1_000_000] {
            rows.push(open_close(scale, threads, live, Target::Ratio(target)));
        }
    }
    for (threads, target) in [(1, 3.0), (2, 0.8)] {
        rows.push(open_park_close(scale, threads, Target::Ratio(target)));
    }
    rows
}

/// Addition and subtraction of one shared word.
fn pair<'a>(word: &'a Arc<AtomicU64>, threads: usize, times: usize) -> Case<'a> {
    Case::new("fetch_add + fetch_sub", move || {
        let op = |word: &mut Arc<AtomicU64>| {
            black_box(word.fetch_add(1, Ordering::SeqCst));
            black_box(word.fetch_sub(1, Ordering::SeqCst));
        };
        time(threads, times, || Arc::clone(word), op)
    })
}

fn open_close(scale: &Scale, threads: usize, live: usize, target: Target) -> Row {
    let times = scale.times(1_000_000);
    let slow = scale.times(200_000);
    let live = if scale.quick { live.min(1000) } else { live };
    let word = Arc::new(AtomicU64::new(0));
    let (_trigger, signal) = drain_signal::channel();
    let _live: Vec<_> = (0..live)
        .map(|_| signal.watch().expect("not completed"))
        .collect();
    let (_drain_signal, drain_watch) = drain::channel();
    let (_sender, receiver) = tokio::sync::watch::channel(false);
    let (token, tracker) = (CancellationToken::new(), TaskTracker::new());
    let graceful = hyper_util::server::graceful::GracefulShutdown::new();
    let event = Event::new();
    let shutdown = tokio_graceful::Shutdown::new(std::future::pending::<()>());
    let mut cases = vec![
        pair(&word, threads, times),
        Case::new("drain-signal", || {
            time(threads, times, || signal.clone(), |signal| hold(signal.watch()))
        }),
    ];
    if live == 0 {
        cases.extend([
            Case::new("linkerd drain", || {
                time(threads, slow, || drain_watch.clone(), |watch| hold(watch.clone()))
            }),
            Case::new("tokio-util CancellationToken + TaskTracker", || {
                let op = |(token, tracker): &mut (CancellationToken, TaskTracker)| {
                    hold((token.child_token(), tracker.token()));
                };
                time(threads, slow, || (token.clone(), tracker.clone()), op)
            }),
            Case::new("tokio watch", || {
                time(
                    threads,
                    slow,
                    || receiver.clone(),
                    |receiver| hold(receiver.clone()),
                )
            }),
            Case::new("hyper-util GracefulShutdown", || {
                time(threads, slow, || graceful.watcher(), |_| hold(graceful.watcher()))
            }),
            Case::new("event-listener", || {
                time(threads, slow, || (), |()| hold(event.listen()))
            }),
            Case::new("tokio-graceful", || {
                time(threads, slow, || (), |()| hold(shutdown.guard()))
            }),
        ]);
    }
    let name = format!("open + close, {}, {live} live", plural(threads));
    compare(name, "ns", target, scale.rounds, cases)
}

fn open_park_close(scale: &Scale, threads: usize, target: Target) -> Row {
    let times = scale.times(500_000);
    let slow = scale.times(100_000);
    let word = Arc::new(AtomicU64::new(0));
    let (_trigger, signal) = drain_signal::channel();
    let (_drain_signal, drain_watch) = drain::channel();
    let (_sender, receiver) = tokio::sync::watch::channel(false);
    let (token, tracker) = (CancellationToken::new(), TaskTracker::new());
    let event = Event::new();
    let shutdown = tokio_graceful::Shutdown::new(std::future::pending::<()>());
    let cases = vec![
        pair(&word, threads, times),
        Case::new("drain-signal", || {
            let op = |signal: &mut drain_signal::DrainSignal| {
                let watch = signal.watch().expect("not completed");
                park(watch.signaled());
            };
            time(threads, times, || signal.clone(), op)
        }),
        Case::new("linkerd drain", || {
            time(
                threads,
                slow,
                || drain_watch.clone(),
                |watch| park(watch.clone().signaled()),
            )
        }),
        Case::new("tokio-util CancellationToken + TaskTracker", || {
            let op = |(token, tracker): &mut (CancellationToken, TaskTracker)| {
                let guard = tracker.token();
                park(token.child_token().cancelled_owned());
                drop(guard);
            };
            time(threads, slow, || (token.clone(), tracker.clone()), op)
        }),
        Case::new("tokio watch", || {
            let op = |receiver: &mut tokio::sync::watch::Receiver<bool>| {
                let mut receiver = receiver.clone();
                park(receiver.changed());
            };
            time(threads, slow, || receiver.clone(), op)
        }),
        Case::new("event-listener", || {
            time(threads, slow, || (), |()| park(event.listen()))
        }),
        Case::new("tokio-graceful", || {
            let op = |(): &mut ()| {
                let guard = shutdown.guard();
                park(guard.cancelled());
            };
            time(threads, slow, || (), op)
        }),
    ];
    let name = format!("open + park + unpark + close, {}", plural(threads));
    compare(name, "ns", target, scale.rounds, cases)
}

/// Lets it be where it is, seen by everybody, and drops it: to be moved about is no part of opening or closing.
fn hold<T>(value: T) {
    black_box(&value);
}

/// Polls once, with a waker that costs nothing, and drops.
pub(crate) fn park<F: Future>(future: F) {
    let mut cx = Context::from_waker(Waker::noop());
    let mut future = pin!(future);
    assert!(matches!(black_box(future.as_mut().poll(&mut cx)), Poll::Pending));
}
