//! A crowd of parked tasks on two workers, and the ways to wake all of them.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use drain_signal::{DrainEvent, DrainReason, DrainSignal, DrainStrategy, DrainTrigger, Draining};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// Begins to wake all tasks. Its duration is what the caller's worker is busy for.
pub(crate) type Trigger = Box<dyn FnOnce() + Send>;

/// Counts a crowd: who has parked, who has seen it. The last one wakes the thread that waits for
/// it, which until then takes no time from the workers.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    parked: Arc<Count>,
    seen: Arc<Count>,
}

#[derive(Debug)]
struct Count {
    missing: AtomicUsize,
    waiting: Thread,
}

impl Count {
    fn of(crowd: usize) -> Arc<Self> {
        Arc::new(Self {
            missing: AtomicUsize::new(crowd),
            waiting: std::thread::current(),
        })
    }

    fn one(&self) {
        if self.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.waiting.unpark();
        }
    }

    fn wait(&self) {
        while self.missing.load(Ordering::Acquire) > 0 {
            std::thread::park();
        }
    }
}

impl Tally {
    /// To be waited for by the calling thread.
    pub(crate) fn new(crowd: usize) -> Self {
        Self {
            parked: Count::of(crowd),
            seen: Count::of(crowd),
        }
    }

    pub(crate) fn all_parked(&self) {
        self.parked.wait();
    }

    pub(crate) fn all_seen(&self) {
        self.seen.wait();
    }

    /// A task whose future is the wait itself. In a box of its own it would be freed apart, to a
    /// list of glibc's that is tidied up once in a while, in one go of tens of milliseconds if
    /// there are a million.
    fn spawn(self, runtime: &Runtime, wait: impl Future<Output = ()> + Send + 'static) {
        runtime.spawn(async move {
            {
                let mut wait = std::pin::pin!(wait);
                let mut first = true;
                std::future::poll_fn(|cx| {
                    let poll = wait.as_mut().poll(cx);
                    if std::mem::take(&mut first) {
                        self.parked.one();
                    }
                    poll
                })
                .await;
            }
            self.seen.one();
        });
    }
}

/// How a crowd waits and is woken.
pub(crate) trait Crowd: Send {
    /// Spawns one task that waits.
    fn park(&self, runtime: &Runtime, tally: Tally);
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
    fn park(&self, runtime: &Runtime, tally: Tally) {
        let (shared, place) = (
            Arc::clone(&self.shared),
            self.places.fetch_add(1, Ordering::Relaxed),
        );
        let wait = std::future::poll_fn(move |cx| {
            if shared.open.load(Ordering::Acquire) {
                return Poll::Ready(());
            }
            *shared.wakers[place]
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
            Poll::Pending
        });
        tally.spawn(runtime, wait);
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
                            if let Some(waker) =
                                waker.lock().unwrap_or_else(PoisonError::into_inner).take()
                            {
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
    pub(crate) signal: DrainSignal,
    pub(crate) drivers: usize,
    pub(crate) strategy: DrainStrategy,
    pub(crate) drain_time: Duration,
}

impl Ours {
    pub(crate) fn immediate(drivers: usize) -> Self {
        let (trigger, signal) = drain_signal::channel();
        Self {
            trigger,
            signal,
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
    fn park(&self, runtime: &Runtime, tally: Tally) {
        let signal = self.signal.clone();
        tally.spawn(runtime, async move {
            // Opened where it runs, as a worker's connections are, and all that a connection keeps.
            let watch = signal.watch().expect("not completed");
            drop(signal);
            watch.signaled().await;
        });
    }

    fn trigger(self: Box<Self>) -> Trigger {
        Box::new(move || {
            let event =
                DrainEvent::new(Instant::now(), self.drain_time, DrainReason::ListenerModify)
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
            Some(next) if draining.open_watches() > 0 => {
                tokio::time::sleep_until(next.into()).await
            }
            _ => return,
        }
    }
}

/// A peer: how to make a wait, and how to wake them all.
pub(crate) struct Peer<W, T> {
    pub(crate) wait: W,
    pub(crate) trigger: T,
}

impl<F, W, T> Crowd for Peer<W, T>
where
    F: Future<Output = ()> + Send + 'static,
    W: Fn() -> F + Send,
    T: FnOnce() + Send + 'static,
{
    fn park(&self, runtime: &Runtime, tally: Tally) {
        tally.spawn(runtime, (self.wait)());
    }

    fn trigger(self: Box<Self>) -> Trigger {
        Box::new(self.trigger)
    }
}

pub(crate) fn linkerd() -> Box<dyn Crowd> {
    let (signal, watch) = drain::channel();
    Box::new(Peer {
        wait: move || {
            let watch = watch.clone();
            async move { drop(watch.signaled().await) }
        },
        trigger: move || drop(tokio::spawn(signal.drain())),
    })
}

pub(crate) fn token() -> Box<dyn Crowd> {
    let token = CancellationToken::new();
    let waiting = token.clone();
    Box::new(Peer {
        wait: move || waiting.clone().cancelled_owned(),
        trigger: move || token.cancel(),
    })
}

pub(crate) fn watch() -> Box<dyn Crowd> {
    let (sender, receiver) = tokio::sync::watch::channel(false);
    Box::new(Peer {
        wait: move || {
            let mut receiver = receiver.clone();
            async move { assert!(receiver.wait_for(|on| *on).await.is_ok()) }
        },
        trigger: move || sender.send(true).expect("a task waits"),
    })
}

pub(crate) fn notify() -> Box<dyn Crowd> {
    let notify = Arc::new(tokio::sync::Notify::new());
    let waiting = Arc::clone(&notify);
    Box::new(Peer {
        wait: move || Arc::clone(&waiting).notified_owned(),
        trigger: move || notify.notify_waiters(),
    })
}

pub(crate) fn event_listener() -> Box<dyn Crowd> {
    let event = Arc::new(event_listener::Event::new());
    let waiting = Arc::clone(&event);
    Box::new(Peer {
        wait: move || waiting.listen(),
        trigger: move || assert!(event.notify(usize::MAX) > 0),
    })
}

pub(crate) fn graceful() -> Box<dyn Crowd> {
    let (begin, begun) = tokio::sync::oneshot::channel::<()>();
    let shutdown = tokio_graceful::Shutdown::new(async move { begun.await.unwrap_or(()) });
    Box::new(Peer {
        wait: move || {
            let guard = shutdown.guard();
            async move { guard.cancelled().await }
        },
        trigger: move || begin.send(()).expect("it is waited for"),
    })
}
