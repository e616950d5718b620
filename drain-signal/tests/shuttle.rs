//! Crowds too big for loom, on tasks that an executor moves between threads, in random
//! interleavings.
//!
//! `RUSTFLAGS="--cfg shuttle" cargo test -p drain-signal --features __shuttle --test shuttle
//! --release`
#![cfg(shuttle)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use drain_signal::{
    CloseCause, DrainEvent, DrainReason, DrainSignal, DrainState, DrainStrategy, DrainWatch,
    DrainedBy, Draining, Goodbye, GracefulClose, WatchOptions, channel, drive,
};
use shuttle::future::{self, JoinHandle};
use shuttle::rand::{Rng, thread_rng};

const T: Duration = Duration::from_secs(60);
const CROWD: usize = 6;

/// Random schedules, and schedules with few but deep preemptions.
fn check(scenario: impl Fn() + Send + Sync + Clone + 'static) {
    shuttle::check_random(scenario.clone(), 2_000);
    shuttle::check_pct(scenario, 2_000, 3);
}

#[expect(clippy::disallowed_methods, reason = "any instant will do as a start")]
fn event(strategy: DrainStrategy) -> DrainEvent {
    DrainEvent::new(Instant::now(), T, DrainReason::ListenerModify).with_strategy(strategy)
}

/// A connection that leaves after a close step, or never by itself.
struct Peer {
    leaves: u8,
    asked: u8,
}

impl Future for Peer {
    type Output = u8;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<u8> {
        if self.asked >= self.leaves {
            Poll::Ready(self.asked)
        } else {
            Poll::Pending
        }
    }
}

impl GracefulClose for Peer {
    fn start(mut self: Pin<&mut Self>, _: &Goodbye) {
        assert_eq!(
            std::mem::replace(&mut self.asked, 1),
            0,
            "signaled once, first"
        );
    }

    fn finish(mut self: Pin<&mut Self>) {
        assert_eq!(
            std::mem::replace(&mut self.asked, 2),
            1,
            "then the last word"
        );
    }

    fn abort(mut self: Pin<&mut Self>) {
        assert_eq!(std::mem::replace(&mut self.asked, 3), 2, "then the end");
    }
}

fn connection(watch: DrainWatch) -> JoinHandle<CloseCause> {
    let leaves = thread_rng().gen_range(1..=4);
    future::spawn(async move {
        // A worker that takes it over, and a tunnel that outlives it for a moment.
        future::yield_now().await;
        let tunnel = thread_rng().gen_bool(0.5).then(|| watch.clone());
        let closed = drive(Peer { leaves, asked: 0 }, watch).await;
        future::yield_now().await;
        drop(tunnel);
        closed.cause
    })
}

/// What keeps time: it jumps to the next instant at which something happens.
async fn keep_time(draining: Draining) {
    let mut now = draining
        .event()
        .map_or_else(|| unreachable!(), |event| event.start);
    while draining.open_watches() > 0 {
        let step = draining.advance(now);
        now = step.next.unwrap_or(now).max(now);
        future::yield_now().await;
    }
}

fn crowd(signal: &DrainSignal, connections: &mut Vec<JoinHandle<CloseCause>>, size: usize) {
    for _ in 0..size {
        let drained_by = if thread_rng().gen_bool(0.3) {
            DrainedBy::Full
        } else {
            DrainedBy::Any
        };
        connections.extend(
            signal
                .watch_with(WatchOptions::default().with_drained_by(drained_by))
                .map(connection),
        );
    }
}

#[test]
fn whoever_comes_while_a_drain_runs_is_led_to_the_end_or_refused() {
    check(|| {
        let (trigger, signal) = channel();
        let opening = signal.clone();
        let openers: Vec<_> = (0..2)
            .map(|_| {
                let signal = opening.clone();
                shuttle::thread::spawn(move || {
                    let mut connections = vec![];
                    for _ in 0..CROWD / 2 {
                        crowd(&signal, &mut connections, 1);
                        shuttle::thread::yield_now();
                    }
                    connections
                })
            })
            .collect();
        let strategy = if thread_rng().gen_bool(0.5) {
            DrainStrategy::Immediate
        } else {
            DrainStrategy::Gradual
        };
        let draining = trigger.start(event(strategy));
        let keepers: Vec<_> = (0..2)
            .map(|_| future::spawn(keep_time(draining.clone())))
            .collect();
        let connections: Vec<_> = openers
            .into_iter()
            .flat_map(|opener| opener.join().unwrap())
            .collect();
        future::block_on(async {
            // One more, which keeps time for connections that came after the keepers had nothing
            // to do.
            let last = future::spawn(keep_time(draining.clone()));
            for connection in connections {
                let cause = connection.await.unwrap();
                assert!(
                    cause != CloseCause::BeforeDrain && cause != CloseCause::Forced,
                    "{cause:?}"
                );
            }
            for keeper in keepers.into_iter().chain([last]) {
                keeper.await.unwrap();
            }
            draining.drained().await;
        });
        assert_eq!(
            (signal.state(), signal.open_watches()),
            (DrainState::Completed, 0)
        );
        assert!(signal.watch().is_err());
    });
}

#[test]
fn tasks_aborted_anywhere_are_counted_out() {
    check(|| {
        let (trigger, signal) = channel();
        let mut connections = vec![];
        crowd(&signal, &mut connections, CROWD);
        let draining = trigger.start(event(DrainStrategy::Gradual));
        let aborting = shuttle::thread::spawn(move || {
            for connection in connections {
                shuttle::thread::yield_now();
                connection.abort();
            }
        });
        future::block_on(async {
            let keeper = future::spawn(keep_time(draining.clone()));
            draining.drained().await;
            keeper.await.unwrap();
        });
        aborting.join().unwrap();
        assert_eq!(signal.open_watches(), 0);
    });
}

#[test]
fn a_force_ends_a_connection_that_the_drain_would_let_be() {
    check(|| {
        let (trigger, signal) = channel();
        let watches: Vec<_> = (0..CROWD / 2).map(|_| signal.watch().unwrap()).collect();
        let closers: Vec<_> = watches.iter().map(|watch| watch.handle()).collect();
        let connections: Vec<_> = watches
            .into_iter()
            .map(|watch| {
                future::spawn(drive(
                    Peer {
                        leaves: 4,
                        asked: 0,
                    },
                    watch,
                ))
            })
            .collect();
        let forcing = shuttle::thread::spawn(move || {
            for closer in closers {
                assert!(closer.force());
            }
        });
        let draining = trigger.start(event(DrainStrategy::Immediate));
        let start = draining.event().unwrap().start;
        let telling = future::spawn(async move { while draining.advance(start).more {} });
        future::block_on(async {
            for connection in connections {
                assert_eq!(connection.await.unwrap().cause, CloseCause::Forced);
            }
            telling.await.unwrap();
        });
        forcing.join().unwrap();
        assert_eq!(signal.open_watches(), 0);
    });
}
