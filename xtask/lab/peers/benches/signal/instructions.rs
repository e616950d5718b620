//! How many instructions one operation takes, counted by callgrind: the same on a busy machine as
//! on a quiet one.
//!
//! The program runs itself under `valgrind --tool=callgrind` twice, with N and 2 N operations; the
//! difference is what N operations take. Without valgrind there are no such rows.

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::guard::park;
use measure::{Row, Scale, Target};

const TIMES: usize = 10_000;

/// Does something so many times.
type Op = fn(usize);

/// The first is the floor, the second ours.
const ROWS: [(&str, &[(&str, Op)]); 4] = [
    (
        "is_draining, instructions",
        &[
            ("relaxed load", |times| {
                let word = AtomicU64::new(0);
                repeat(times, || black_box(&word).load(Ordering::Relaxed));
            }),
            ("drain-signal", |times| {
                let (_trigger, signal) = drain_signal::channel();
                let watch = signal.watch().expect("not completed");
                repeat(times, || black_box(&watch).is_draining());
            }),
            ("tokio-util CancellationToken", |times| {
                let token = CancellationToken::new();
                repeat(times, || black_box(&token).is_cancelled());
            }),
            ("tokio watch, has_changed", |times| {
                let (_sender, receiver) = tokio::sync::watch::channel(false);
                repeat(times, || black_box(&receiver).has_changed());
            }),
        ],
    ),
    (
        "re-poll of a parked wait, instructions",
        &[
            ("relaxed load", |times| {
                let word = AtomicU64::new(0);
                repeat(times, || black_box(&word).load(Ordering::Relaxed));
            }),
            ("drain-signal", |times| {
                let (_trigger, signal) = drain_signal::channel();
                let watch = signal.watch().expect("not completed");
                repoll(times, watch.signaled());
            }),
            ("linkerd drain", |times| {
                let (_signal, watch) = drain::channel();
                repoll(times, watch.signaled());
            }),
            ("tokio-util CancellationToken", |times| {
                repoll(times, CancellationToken::new().cancelled_owned());
            }),
            ("event-listener", |times| {
                repoll(times, event_listener::Event::new().listen())
            }),
        ],
    ),
    (
        "open + close, instructions",
        &[
            ("fetch_add + fetch_sub", |times| {
                let word = AtomicU64::new(0);
                repeat(times, || {
                    black_box(word.fetch_add(1, Ordering::SeqCst));
                    black_box(word.fetch_sub(1, Ordering::SeqCst))
                });
            }),
            ("drain-signal", |times| {
                let (_trigger, signal) = drain_signal::channel();
                repeat(times, || drop(black_box(black_box(&signal).watch())));
            }),
            ("linkerd drain", |times| {
                let (_signal, watch) = drain::channel();
                repeat(times, || drop(black_box(watch.clone())));
            }),
            ("tokio-util CancellationToken + TaskTracker", |times| {
                let (token, tracker) = (CancellationToken::new(), TaskTracker::new());
                repeat(times, || {
                    drop(black_box((token.child_token(), tracker.token())))
                });
            }),
            ("tokio watch", |times| {
                let (_sender, receiver) = tokio::sync::watch::channel(false);
                repeat(times, || drop(black_box(receiver.clone())));
            }),
            ("event-listener", |times| {
                let event = event_listener::Event::new();
                repeat(times, || drop(black_box(event.listen())));
            }),
        ],
    ),
    (
        "open + park + unpark + close, instructions",
        &[
            ("fetch_add + fetch_sub", |times| {
                let word = AtomicU64::new(0);
                repeat(times, || {
                    black_box(word.fetch_add(1, Ordering::SeqCst));
                    black_box(word.fetch_sub(1, Ordering::SeqCst))
                });
            }),
            ("drain-signal", |times| {
                let (_trigger, signal) = drain_signal::channel();
                repeat(times, || {
                    let watch = black_box(&signal).watch().expect("not completed");
                    park(watch.signaled());
                });
            }),
            ("linkerd drain", |times| {
                let (_signal, watch) = drain::channel();
                repeat(times, || park(watch.clone().signaled()));
            }),
            ("tokio-util CancellationToken + TaskTracker", |times| {
                let (token, tracker) = (CancellationToken::new(), TaskTracker::new());
                repeat(times, || {
                    let guard = tracker.token();
                    park(token.child_token().cancelled_owned());
                    drop(guard);
                });
            }),
            ("tokio watch", |times| {
                let (_sender, receiver) = tokio::sync::watch::channel(false);
                repeat(times, || {
                    let mut receiver = receiver.clone();
                    park(receiver.changed());
                });
            }),
            ("event-listener", |times| {
                let event = event_listener::Event::new();
                repeat(times, || park(event.listen()));
            }),
        ],
    ),
];

pub(crate) fn rows(scale: &Scale) -> Vec<Row> {
    if scale.quick {
        // Shows that they run; counts nothing.
        ROWS.iter()
            .flat_map(|(_, cases)| *cases)
            .for_each(|(_, op)| op(2));
        return vec![];
    }
    let (row, cases) = ROWS[0];
    if measure::instructions(["--instructions-of", row, cases[0].0, "1"]).is_none() {
        println!("instructions: not counted, valgrind is not installed");
        return vec![];
    }
    ROWS.iter()
        .map(|(row, cases)| {
            let mut counts = cases.iter().map(|(name, _)| (*name, count(row, name)));
            let ((floor_name, floor), (_, value)) = (
                counts.next().unwrap_or(("", 0.0)),
                counts.next().unwrap_or(("", 0.0)),
            );
            Row {
                row: (*row).to_owned(),
                unit: "instructions",
                value,
                floor_name,
                floor,
                ratio: value / floor,
                target: Target::None,
                peers: counts.collect(),
            }
        })
        .collect()
}

/// Instructions that one operation takes.
fn count(row: &str, name: &str) -> f64 {
    let of = |times: usize| {
        measure::instructions(["--instructions-of", row, name, &times.to_string()])
            .unwrap_or(f64::NAN)
    };
    (of(2 * TIMES) - of(TIMES)) / TIMES as f64
}

/// Does one thing so many times, for valgrind to count.
pub(crate) fn child(row: &str, name: &str, times: &str) {
    let cases = ROWS
        .iter()
        .find(|(known, _)| *known == row)
        .map(|(_, cases)| cases);
    let case = cases.and_then(|cases| cases.iter().find(|(known, _)| *known == name));
    let (_, op) = case.expect("a row and a name of the table");
    op(times.parse().expect("a number"));
}

fn repeat<R>(times: usize, mut op: impl FnMut() -> R) {
    for _ in 0..times {
        black_box(op());
    }
}

fn repoll<F: Future>(times: usize, future: F) {
    let mut cx = Context::from_waker(Waker::noop());
    let mut future = pin!(future);
    repeat(times, || {
        assert!(future.as_mut().poll(&mut cx).is_pending());
    });
}
