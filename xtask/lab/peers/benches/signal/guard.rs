//! A connection opens and closes; and one that parks in between. With no, ten thousand and a
//! million others there.

use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use drain_tree::{ChildOptions, DrainManager, DrainSettings};
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
    for (threads, target) in [(1, 2.5), (2, 0.6)] {
        for live in [0, 10_000, 1_000_000] {
            rows.push(open_close(scale, threads, live, Target::Ratio(target)));
        }
    }
    for (threads, target) in [(1, Target::Ratio(10.0)), (2, Target::None)] {
        rows.push(open_park_close(scale, threads, target));
    }
    for threads in [1, 2] {
        rows.push(as_the_product(scale, threads));
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
    let manager = DrainManager::root(DrainSettings::default());
    let _live: Vec<_> = (0..live)
        .map(|_| manager.watch().expect("not completed"))
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
            let op = |manager: &mut DrainManager| hold(manager.watch());
            time(threads, times, || manager.clone(), op)
        }),
    ];
    if live == 0 {
        cases.extend([
            Case::new("linkerd drain", || {
                time(
                    threads,
                    slow,
                    || drain_watch.clone(),
                    |watch| hold(watch.clone()),
                )
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
                time(
                    threads,
                    slow,
                    || graceful.watcher(),
                    |_| hold(graceful.watcher()),
                )
            }),
            Case::new("event-listener", || {
                time(threads, slow, || (), |()| hold(event.listen()))
            }),
            Case::new("tokio-graceful", || {
                time(threads, slow, || (), |()| hold(shutdown.guard()))
            }),
        ]);
    }
    let name = format!("open + move + close, {}, {live} live", plural(threads));
    compare(name, "ns", target, scale.rounds, cases)
}

fn open_park_close(scale: &Scale, threads: usize, target: Target) -> Row {
    let times = scale.times(500_000);
    let slow = scale.times(100_000);
    let word = Arc::new(AtomicU64::new(0));
    let manager = DrainManager::root(DrainSettings::default());
    let (_drain_signal, drain_watch) = drain::channel();
    let (_sender, receiver) = tokio::sync::watch::channel(false);
    let (token, tracker) = (CancellationToken::new(), TaskTracker::new());
    let event = Event::new();
    let shutdown = tokio_graceful::Shutdown::new(std::future::pending::<()>());
    let cases = vec![
        pair(&word, threads, times),
        Case::new("drain-signal", || {
            let op = |manager: &mut DrainManager| {
                let watch = manager.watch().expect("not completed");
                park(watch.signaled());
                hold(watch);
            };
            time(threads, times, || manager.clone(), op)
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

/// What the serving crates keep of one connection: a watch of the listener until its filter chain
/// is known and one of the chain, the handles of a closer, of the driver and of the decision, and
/// the driver's parked wait.
fn as_the_product(scale: &Scale, threads: usize) -> Row {
    let times = scale.times(200_000);
    let word = Arc::new(AtomicU64::new(0));
    let listener = DrainManager::root(DrainSettings::default());
    let chain = listener.child(ChildOptions::default());
    let op = |(listener, chain): &mut (DrainManager, DrainManager)| {
        let accepted = listener.watch().expect("not completed");
        let early_closer = accepted.handle();
        let watch = chain.watch().expect("not completed");
        let closer = watch.handle();
        drop((early_closer, accepted));
        let (decision, driver) = (watch.handle(), watch.handle());
        park(driver.signaled());
        hold((driver, decision, watch));
        drop(closer);
    };
    let cases = vec![
        pair(&word, threads, times),
        Case::new("drain-signal", || {
            time(threads, times, || (listener.clone(), chain.clone()), op)
        }),
    ];
    let name = format!("a connection as the product holds one, {}", plural(threads));
    compare(name, "ns", Target::None, scale.rounds, cases)
}

/// Moves it into the connection's task, which drops it.
fn hold<T>(value: T) {
    #[inline(never)]
    fn task<T>(value: T) {
        black_box(&value);
    }
    task(black_box(value));
}

/// Polls once, with a waker that costs nothing, and drops.
pub(crate) fn park<F: Future>(future: F) {
    let mut cx = Context::from_waker(Waker::noop());
    let mut future = pin!(future);
    assert!(matches!(
        black_box(future.as_mut().poll(&mut cx)),
        Poll::Pending
    ));
}
