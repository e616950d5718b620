//! The last guard is dropped: how long until the task that waits for it is woken?

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};
use std::{future::Future, pin::Pin};

use drain_signal::{DrainEvent, DrainReason};
use futures_util::task::AtomicWaker;
use measure::{Case, Row, Scale, Target, compare, median};
use tokio_util::task::TaskTracker;

struct Woken(AtomicU64);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// So many at a time: enough to forget the clock's cost, few enough to stay in the cache.
const BATCH: usize = 64;

/// Prepares waits, drops their last guards, and says what one drop took, with its wake.
fn measure<W, G>(
    batches: usize,
    prepare: impl Fn() -> (W, G),
    poll: impl Fn(&mut W, &mut Context<'_>),
) -> f64 {
    let woken = Arc::new(Woken(AtomicU64::new(0)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut took = vec![];
    for _ in 0..batches {
        let (mut waits, guards): (Vec<W>, Vec<G>) = (0..BATCH).map(|_| prepare()).unzip();
        for wait in &mut waits {
            poll(wait, &mut Context::from_waker(&waker));
        }
        let began = Instant::now();
        guards.into_iter().for_each(drop);
        took.push(began.elapsed().as_secs_f64());
    }
    assert_eq!(woken.0.load(Ordering::Relaxed), (batches * BATCH) as u64);
    median(took) * 1e9 / BATCH as f64
}

fn poll_once(wait: &mut Pin<Box<dyn Future<Output = ()>>>, cx: &mut Context<'_>) {
    assert!(matches!(wait.as_mut().poll(cx), Poll::Pending));
}

struct Counted(Arc<(AtomicU64, AtomicWaker)>);

impl Drop for Counted {
    fn drop(&mut self) {
        if self.0.0.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.1.wake();
        }
    }
}

pub(crate) fn rows(scale: &Scale) -> Vec<Row> {
    let batches = scale.times(2_000);
    let start = Instant::now();
    let cases = vec![
        Case::new("count + AtomicWaker", || {
            let prepare = || {
                let shared = Arc::new((AtomicU64::new(1), AtomicWaker::new()));
                (Arc::clone(&shared), Counted(shared))
            };
            measure(batches, prepare, |wait, cx| wait.1.register(cx.waker()))
        }),
        Case::new("drain-signal", || {
            let prepare = || {
                let (trigger, signal) = drain_signal::channel();
                let guard = signal.watch().expect("not completed");
                let draining =
                    trigger.start(DrainEvent::new(start, Duration::MAX, DrainReason::Admin));
                let wait: Pin<Box<dyn Future<Output = ()>>> = Box::pin(draining.drained());
                (wait, guard)
            };
            measure(batches, prepare, poll_once)
        }),
        Case::new("linkerd drain", || {
            let prepare = || {
                let (signal, watch) = drain::channel();
                let wait: Pin<Box<dyn Future<Output = ()>>> = Box::pin(signal.drain());
                (wait, watch)
            };
            measure(batches, prepare, poll_once)
        }),
        Case::new("tokio-util TaskTracker", || {
            let prepare = || {
                let tracker = TaskTracker::new();
                let guard = tracker.token();
                tracker.close();
                let wait: Pin<Box<dyn Future<Output = ()>>> =
                    Box::pin(async move { tracker.wait().await });
                (wait, guard)
            };
            measure(batches, prepare, poll_once)
        }),
        Case::new("tokio watch, closed", || {
            let prepare = || {
                let (sender, guard) = tokio::sync::watch::channel(());
                let wait: Pin<Box<dyn Future<Output = ()>>> =
                    Box::pin(async move { sender.closed().await });
                (wait, guard)
            };
            measure(batches, prepare, poll_once)
        }),
    ];
    vec![compare(
        "last guard dropped to waiter woken".to_owned(),
        "ns",
        Target::Ratio(1.2),
        scale.rounds,
        cases,
    )]
}
