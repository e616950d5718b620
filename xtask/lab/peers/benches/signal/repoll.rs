//! A connection's task is woken by its socket and polls its wait again: the same waker, nothing
//! new.

use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Wake, Waker};

use event_listener::Event;
use tokio_util::sync::CancellationToken;

use crate::check::plural;
use measure::{Case, Row, Scale, Target, compare, time};

/// A waker that counts its clones, as a task's does.
struct Task;

impl Wake for Task {
    fn wake(self: Arc<Self>) {}
}

fn waker() -> Waker {
    Waker::from(Arc::new(Task))
}

/// One task's wait, parked once and then polled again and again.
struct Wait<F> {
    future: Pin<Box<F>>,
    waker: Waker,
}

impl<F: Future> Wait<F> {
    fn new(future: F) -> Self {
        let mut wait = Self {
            future: Box::pin(future),
            waker: waker(),
        };
        wait.poll();
        wait
    }

    #[inline]
    fn poll(&mut self) {
        let mut cx = Context::from_waker(&self.waker);
        assert!(black_box(self.future.as_mut().poll(&mut cx).is_pending()));
    }
}

pub(crate) fn rows(scale: &Scale) -> Vec<Row> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .expect("a runtime");
    let _inside = runtime.enter();
    let times = scale.times(5_000_000);
    let slow = scale.times(300_000);
    let word = Arc::new(AtomicU64::new(0));
    let (_trigger, signal) = drain_signal::channel();
    let token = CancellationToken::new();
    let (sender, receiver) = tokio::sync::watch::channel(false);
    let (_drain_signal, drain_watch) = drain::channel();
    let event = Event::new();
    let notify = tokio::sync::Notify::new();
    let shutdown = tokio_graceful::Shutdown::new(std::future::pending::<()>());
    let row = |threads: usize, target| {
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
                // The wait borrows its watch; one a run stays for good.
                let start = || {
                    let watch = Box::leak(Box::new(signal.watch().expect("not completed")));
                    Wait::new(watch.signaled())
                };
                time(threads, times, start, |wait| wait.poll())
            }),
            Case::new("linkerd drain", || {
                time(
                    threads,
                    slow,
                    || Wait::new(drain_watch.clone().signaled()),
                    |wait| wait.poll(),
                )
            }),
            Case::new("tokio-util CancellationToken", || {
                time(
                    threads,
                    slow,
                    || Wait::new(token.clone().cancelled_owned()),
                    |wait| wait.poll(),
                )
            }),
            Case::new("tokio watch", || {
                let start = || {
                    let mut receiver = receiver.clone();
                    Wait::new(async move { receiver.changed().await.is_ok() })
                };
                time(threads, slow, start, |wait| wait.poll())
            }),
            Case::new("tokio Notify", || {
                time(
                    threads,
                    slow,
                    || Wait::new(notify.notified()),
                    |wait| wait.poll(),
                )
            }),
            Case::new("event-listener", || {
                time(
                    threads,
                    slow,
                    || Wait::new(event.listen()),
                    |wait| wait.poll(),
                )
            }),
            Case::new("tokio-graceful", || {
                let start = || {
                    let guard = shutdown.guard_weak();
                    Wait::new(guard.into_cancelled())
                };
                time(threads, slow, start, |wait| wait.poll())
            }),
        ];
        compare(
            format!("re-poll of a parked wait, {}", plural(threads)),
            "ns",
            target,
            scale.rounds,
            cases,
        )
    };
    let rows = vec![row(1, Target::Ratio(5.0)), row(2, Target::None)];
    drop(sender);
    rows
}
