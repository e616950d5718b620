//! A crowd of parked tasks on two workers, and the ways to wake all of them.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use drain_signal::{DrainEvent, DrainReason, DrainStrategy, DrainTrigger, Draining};
use tokio_util::sync::CancellationToken;

pub(crate) type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;
/// Begins to wake everybody. Its duration is what the caller's worker is held for.
pub(crate) type Trigger = Box<dyn FnOnce() + Send>;

/// How a crowd waits and is woken.
pub(crate) trait Crowd: Send {
    /// One task's wait.
    fn wait(&self) -> Wait;
    fn trigger(self: Box<Self>) -> Trigger;
}

/// The least that could do it: one array of wakers, walked by two tasks, 32 wakes at a time.
#[derive(Default)]
pub(crate) struct Flat {
    shared: Arc<FlatShared>,
    places: AtomicUsize,
}

#[derive(Default)]
struct FlatShared {
    wakers: Vec<Mutex<Option<Waker>>>,
    open: std::sync::atomic::AtomicBool,
    next: AtomicUsize,
}

impl Flat {
    pub(crate) fn new(crowd: usize) -> Self {
        let shared = FlatShared {
            wakers: (0..crowd).map(|_| Mutex::new(None)).collect(),
            ..FlatShared::default()
        };
        Self {
            shared: Arc::new(shared),
            places: AtomicUsize::new(0),
        }
    }
}

impl Crowd for Flat {
    fn wait(&self) -> Wait {
        let (shared, place) = (
            Arc::clone(&self.shared),
            self.places.fetch_add(1, Ordering::Relaxed),
        );
        Box::pin(std::future::poll_fn(move |cx| {
            if shared.open.load(Ordering::Acquire) {
                return Poll::Ready(());
            }
            *shared.wakers[place]
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
            Poll::Pending
        }))
    }

    fn trigger(self: Box<Self>) -> Trigger {
        Box::new(move || {
            self.shared.open.store(true, Ordering::Release);
            for _ in 0..2 {
                let shared = Arc::clone(&self.shared);
                tokio::spawn(async move {
                    loop {
                        let from = shared.next.fetch_add(32, Ordering::Relaxed);
                        if from >= shared.wakers.len() {
                            return;
                        }
                        for waker in &shared.wakers[from..(from + 32).min(shared.wakers.len())] {
                            if let Some(waker) = waker.lock().unwrap_or_else(PoisonError::into_inner).take() {
                                waker.wake();
                            }
                        }
                        tokio::task::yield_now().await;
                    }
                });
            }
        })
    }
}

/// drain-signal, driven by so many tasks.
pub(crate) struct Ours {
    pub(crate) trigger: DrainTrigger,
    pub(crate) drivers: usize,
    pub(crate) strategy: DrainStrategy,
    pub(crate) drain_time: Duration,
}

impl Ours {
    pub(crate) fn immediate(drivers: usize) -> Self {
        Self {
            trigger: drain_signal::channel().0,
            drivers,
            strategy: DrainStrategy::Immediate,
            drain_time: Duration::from_secs(600),
        }
    }

    pub(crate) fn gradual(drain_time: Duration) -> Self {
        Self {
            strategy: DrainStrategy::Gradual,
            drain_time,
            ..Self::immediate(1)
        }
    }
}

impl Crowd for Ours {
    fn wait(&self) -> Wait {
        let signal = self.trigger.signal().clone();
        Box::pin(async move {
            // Opened where it runs, as a worker's connections are.
            let watch = signal.watch().expect("not completed");
            watch.signaled().await;
        })
    }

    fn trigger(self: Box<Self>) -> Trigger {
        Box::new(move || {
            let event = DrainEvent::new(Instant::now(), self.drain_time, DrainReason::ListenerModify)
                .with_strategy(self.strategy);
            let draining = self.trigger.start(event);
            for _ in 0..self.drivers {
                tokio::spawn(drive(draining.clone()));
            }
        })
    }
}

async fn drive(draining: Draining) {
    loop {
        let step = draining.advance(Instant::now());
        match step.next {
            _ if step.more => tokio::task::yield_now().await,
            Some(next) if draining.open_watches() > 0 => tokio::time::sleep_until(next.into()).await,
            _ => return,
        }
    }
}

/// A peer: how to make a wait, and how to wake them all.
pub(crate) struct Peer<W, T> {
    pub(crate) wait: W,
    pub(crate) trigger: T,
}

impl<W: Fn() -> Wait + Send, T: FnOnce() + Send + 'static> Crowd for Peer<W, T> {
    fn wait(&self) -> Wait {
        (self.wait)()
    }

    fn trigger(self: Box<Self>) -> Trigger {
        Box::new(self.trigger)
    }
}

pub(crate) fn linkerd() -> Box<dyn Crowd> {
    let (signal, watch) = drain::channel();
    Box::new(Peer {
        wait: move || -> Wait {
            let watch = watch.clone();
            Box::pin(async move { drop(watch.signaled().await) })
        },
        trigger: move || drop(tokio::spawn(signal.drain())),
    })
}

pub(crate) fn token() -> Box<dyn Crowd> {
    let token = CancellationToken::new();
    let waiting = token.clone();
    Box::new(Peer {
        wait: move || -> Wait { Box::pin(waiting.clone().cancelled_owned()) },
        trigger: move || token.cancel(),
    })
}

pub(crate) fn watch() -> Box<dyn Crowd> {
    let (sender, receiver) = tokio::sync::watch::channel(false);
    Box::new(Peer {
        wait: move || -> Wait {
            let mut receiver = receiver.clone();
            Box::pin(async move { assert!(receiver.wait_for(|on| *on).await.is_ok()) })
        },
        trigger: move || sender.send(true).expect("somebody waits"),
    })
}

pub(crate) fn notify() -> Box<dyn Crowd> {
    let notify = Arc::new(tokio::sync::Notify::new());
    let waiting = Arc::clone(&notify);
    Box::new(Peer {
        wait: move || -> Wait { Box::pin(Arc::clone(&waiting).notified_owned()) },
        trigger: move || notify.notify_waiters(),
    })
}

pub(crate) fn event_listener() -> Box<dyn Crowd> {
    let event = Arc::new(event_listener::Event::new());
    let waiting = Arc::clone(&event);
    Box::new(Peer {
        wait: move || -> Wait { Box::pin(waiting.listen()) },
        trigger: move || assert!(event.notify(usize::MAX) > 0),
    })
}

pub(crate) fn graceful() -> Box<dyn Crowd> {
    let (begin, begun) = tokio::sync::oneshot::channel::<()>();
    let shutdown = tokio_graceful::Shutdown::new(async move { begun.await.unwrap_or(()) });
    Box::new(Peer {
        wait: move || -> Wait {
            let guard = shutdown.guard();
            Box::pin(async move { guard.cancelled().await })
        },
        trigger: move || begin.send(()).expect("it is waited for"),
    })
}
