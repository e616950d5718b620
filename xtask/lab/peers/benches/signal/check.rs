//! "Is a drain on?", asked before each response, on one thread and on two.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use measure::{Case, Row, Scale, Target, compare, time};
use tokio_util::sync::CancellationToken;

pub(crate) fn rows(scale: &Scale) -> Vec<Row> {
    let times = scale.times(20_000_000);
    let slow = scale.times(1_000_000);
    let word = Arc::new(AtomicU64::new(0));
    let (_trigger, signal) = drain_signal::channel();
    let watch = signal.watch().expect("not completed");
    let handle = watch.handle();
    let token = CancellationToken::new();
    let (_sender, receiver) = tokio::sync::watch::channel(false);
    let row = |threads: usize| {
        let cases = vec![
            Case::new("relaxed load", || {
                time(
                    threads,
                    times,
                    || Arc::clone(&word),
                    |word| black_box(word.load(Ordering::Relaxed)),
                )
            }),
            Case::new("drain-signal", || {
                time(
                    threads,
                    times,
                    || watch.handle(),
                    |handle| black_box(handle.is_draining()),
                )
            }),
            Case::new("tokio-util CancellationToken", || {
                time(
                    threads,
                    slow,
                    || token.clone(),
                    |token| black_box(token.is_cancelled()),
                )
            }),
            Case::new("tokio watch, has_changed", || {
                time(
                    threads,
                    times,
                    || receiver.clone(),
                    |receiver| black_box(receiver.has_changed()),
                )
            }),
            Case::new("tokio watch, borrow", || {
                time(
                    threads,
                    slow,
                    || receiver.clone(),
                    |receiver| black_box(*receiver.borrow()),
                )
            }),
        ];
        compare(
            format!("is_draining, {}", plural(threads)),
            "ns",
            Target::Ratio(1.5),
            scale.rounds,
            cases,
        )
    };
    let rows = vec![row(1), row(2)];
    drop(handle);
    rows
}

pub(crate) fn plural(threads: usize) -> String {
    if threads == 1 {
        "1 thread".to_owned()
    } else {
        format!("{threads} threads")
    }
}
