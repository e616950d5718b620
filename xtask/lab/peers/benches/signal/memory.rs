//! What one parked wait takes, future and heap: the growth of a fresh process by a million of them,
//! waker not counted.

use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::process::Command;
use std::task::{Context, Waker};

use measure::{Row, Scale, Target};
use tokio_util::sync::CancellationToken;

const PARKED: usize = 1_000_000;

const NAMES: [&str; 7] = [
    "drain-signal",
    "linkerd drain",
    "tokio-util CancellationToken + TaskTracker",
    "tokio watch",
    "tokio Notify",
    "event-listener",
    "tokio-graceful",
];

pub(crate) fn rows(_: &Scale) -> Vec<Row> {
    let of = |name: &str| -> f64 {
        let program = std::env::current_exe().expect("it runs");
        let output = Command::new(program)
            .args(["--memory-of", name])
            .output()
            .expect("it runs once more");
        String::from_utf8_lossy(&output.stdout)
            .trim()
            .parse()
            .unwrap_or(f64::NAN)
    };
    let value = of(NAMES[0]);
    let [once, twice] = ["gone once", "gone twice"].map(of);
    let parked = Row {
        row: "bytes per parked watcher, future and heap".to_owned(),
        unit: "bytes",
        value,
        floor_name: "a waker",
        floor: 16.0,
        ratio: value / 16.0,
        target: Target::Value(72.0),
        peers: NAMES[1..].iter().map(|name| (*name, of(name))).collect(),
    };
    let stays = Row {
        row: "memory that stays when 500000 connections with a closer have gone".to_owned(),
        unit: "MB",
        value: once,
        floor_name: "the same after as many again",
        floor: twice,
        ratio: once / twice,
        target: Target::Value(15.0),
        peers: vec![],
    };
    vec![parked, stays]
}

/// The megabytes that stay when a crowd of connections, each with a closer and a parked wait, has
/// come and gone so often.
fn stays(times: usize) -> f64 {
    const CROWD: usize = 500_000;
    let (_trigger, signal) = drain_signal::channel();
    let mut cx = Context::from_waker(Waker::noop());
    // The list itself is no part of it.
    let mut crowd = Vec::with_capacity(CROWD);
    let before = resident();
    for _ in 0..times {
        for _ in 0..CROWD {
            let watch = signal.watch().expect("not completed");
            let closer = watch.handle();
            let mut wait = drain_signal::PhaseWait::new(watch);
            assert!(
                wait.poll_phase(&mut cx, drain_signal::Phase::Open)
                    .is_pending()
            );
            crowd.push((wait, closer));
        }
        crowd.clear();
    }
    drop(crowd);
    resident().saturating_sub(before) as f64 / 1e6
}

/// Prints the bytes of one.
pub(crate) fn child(name: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .expect("a runtime");
    let _inside = runtime.enter();
    let bytes = match name {
        "gone once" => stays(1),
        "gone twice" => stays(2),
        "drain-signal" => {
            let (trigger, signal) = drain_signal::channel();
            let bytes = grow(|| {
                // What a driver keeps.
                let mut wait = drain_signal::PhaseWait::new(signal.watch().expect("not completed"));
                std::future::poll_fn(move |cx| wait.poll_phase(cx, drain_signal::Phase::Open))
            });
            drop(trigger);
            bytes
        }
        "linkerd drain" => {
            let (_signal, watch) = drain::channel();
            grow(|| watch.clone().signaled())
        }
        "tokio-util CancellationToken + TaskTracker" => {
            let (token, tracker) = (
                CancellationToken::new(),
                tokio_util::task::TaskTracker::new(),
            );
            grow(|| tracker.track_future(token.clone().cancelled_owned()))
        }
        "tokio watch" => {
            let (_sender, receiver) = tokio::sync::watch::channel(false);
            grow(|| {
                let mut receiver = receiver.clone();
                async move { receiver.changed().await.is_ok() }
            })
        }
        "tokio Notify" => {
            let notify = std::sync::Arc::new(tokio::sync::Notify::new());
            grow(|| std::sync::Arc::clone(&notify).notified_owned())
        }
        "event-listener" => {
            let event = event_listener::Event::new();
            grow(|| event.listen())
        }
        _ => {
            let shutdown = tokio_graceful::Shutdown::new(std::future::pending::<()>());
            grow(|| {
                let guard = shutdown.guard();
                async move { guard.cancelled().await }
            })
        }
    };
    println!("{bytes:.1}");
}

/// Each future in a box, so that it may be pinned and polled; the box is taken off again: a
/// pointer, and what the system's allocator makes of the future's size.
fn grow<F: Future>(make: impl Fn() -> F) -> f64 {
    let mut parked: Vec<Pin<Box<F>>> = Vec::with_capacity(PARKED);
    let before = resident();
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..PARKED {
        let mut future = Box::pin(make());
        assert!(future.as_mut().poll(&mut cx).is_pending());
        parked.push(future);
    }
    let grown = (resident() - before) as f64 / PARKED as f64;
    black_box(&parked);
    let size = size_of::<F>();
    let chunk = (size + 8).next_multiple_of(16).max(32);
    grown - 8.0 - chunk as f64 + size as f64
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: usize = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0);
    pages * 4096
}
