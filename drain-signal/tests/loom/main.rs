//! Every interleaving of the signal's wait-and-notify paths, as far as loom can reach.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p drain-signal --features __loom --test loom --release`
#![cfg(loom)]

mod owners;

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use drain_signal::schedule::Place;
use drain_signal::{
    DrainDecision, DrainDirection, DrainEvent, DrainReason, DrainStrategy, Phase, WatchOptions, channel,
};
use loom::future::block_on;
use loom::thread;

#[expect(clippy::disallowed_methods, reason = "any instant will do as a start")]
fn event() -> DrainEvent {
    DrainEvent::new(
        Instant::now(),
        Duration::from_secs(60),
        DrainReason::ListenerModify,
    )
    .with_strategy(DrainStrategy::Immediate)
}

fn options() -> WatchOptions {
    WatchOptions::default().with_place(Place::FIRST)
}

fn model(scenario: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 3000;
    builder.check(scenario);
}

#[test]
fn a_wait_that_parks_while_the_drain_begins_is_woken() {
    model(|| {
        let (trigger, signal) = channel();
        let watch = signal.watch_with(options()).unwrap();
        let waiter = thread::spawn(move || {
            block_on(watch.signaled());
        });
        let event = event();
        let start = event.start;
        let draining = trigger.start(event);
        while draining.advance(start).more {}
        waiter.join().unwrap();
    });
}

#[test]
fn a_watcher_that_registers_while_the_drain_begins_is_counted_or_refused() {
    model(|| {
        let (trigger, signal) = channel();
        let registering = signal.clone();
        let opener = thread::spawn(move || drop(registering.watch_with(options())));
        let draining = trigger.start(event());
        block_on(draining.drained());
        opener.join().unwrap();
        assert_eq!(signal.open_watches(), 0);
        assert!(signal.watch().is_err());
    });
}

#[test]
fn the_last_guard_wakes_whoever_waits_for_it() {
    model(|| {
        let (trigger, signal) = channel();
        let watch = signal.watch_with(options()).unwrap();
        let leaving = thread::spawn(move || drop(watch));
        let draining = trigger.start(event());
        block_on(draining.drained());
        leaving.join().unwrap();
    });
}

#[test]
fn the_last_guard_that_only_a_wide_drain_concerns_wakes_whoever_waits_for_it() {
    model(|| {
        let (trigger, signal) = channel();
        let watch = signal
            .watch_with(options().with_scope(DrainDirection::All))
            .unwrap();
        let leaving = thread::spawn(move || drop(watch));
        let draining = trigger.start(event());
        block_on(draining.drained());
        leaving.join().unwrap();
    });
}

#[test]
fn two_last_guards_in_two_shards_do_not_miss_each_other() {
    model(|| {
        let (trigger, signal) = channel();
        let here = signal.watch_with(options()).unwrap();
        let elsewhere = signal.clone();
        let draining = trigger.start(event());
        let other = thread::spawn(move || drop(elsewhere.watch_with(options())));
        drop(here);
        block_on(draining.drained());
        other.join().unwrap();
    });
}

#[test]
fn a_force_reaches_a_wait_that_parks_at_that_moment() {
    model(|| {
        let (_trigger, signal) = channel();
        let watch = loom::sync::Arc::new(signal.watch_with(options()).unwrap());
        let forced = loom::sync::Arc::clone(&watch);
        let forcing = thread::spawn(move || {
            forced.force();
        });
        block_on(watch.expired());
        forcing.join().unwrap();
    });
}

#[test]
fn a_handle_cloned_at_that_moment_still_forces() {
    model(|| {
        let (_trigger, signal) = channel();
        let watch = loom::sync::Arc::new(signal.watch_with(options()).unwrap());
        let cloned = loom::sync::Arc::clone(&watch);
        let forcing = thread::spawn(move || {
            let handle = cloned.handle();
            handle.force();
        });
        block_on(watch.expired());
        forcing.join().unwrap();
    });
}

#[test]
fn a_deadline_brought_forward_reaches_a_wait_that_parks_at_that_moment() {
    model(|| {
        let (trigger, signal) = channel();
        let watch = signal.watch_with(options()).unwrap();
        let event = event();
        let start = event.start;
        let draining = trigger.start(event);
        draining.advance(start);
        let waiter = thread::spawn(move || {
            block_on(watch.expired());
        });
        draining.bring_forward(start);
        while draining.advance(start + Duration::from_secs(1)).more {}
        waiter.join().unwrap();
    });
}

#[test]
fn a_wait_dropped_while_it_is_woken_takes_nothing_with_it() {
    model(|| {
        let (trigger, signal) = channel();
        let watch = signal.watch_with(options()).unwrap();
        let waiter = thread::spawn(move || {
            block_on(async {
                {
                    let mut once = pin!(watch.signaled());
                    std::future::poll_fn(|cx| {
                        let _ = once.as_mut().poll(cx);
                        Poll::Ready(())
                    })
                    .await;
                }
                watch.signaled().await;
            });
        });
        let event = event();
        let start = event.start;
        let draining = trigger.start(event);
        while draining.advance(start).more {}
        waiter.join().unwrap();
    });
}

#[test]
fn two_drivers_wake_a_wait_that_parks_at_that_moment() {
    model(|| {
        let (trigger, signal) = channel();
        let watch = signal.watch_with(options()).unwrap();
        let waiter = thread::spawn(move || {
            block_on(watch.signaled());
        });
        let event = event();
        let start = event.start;
        let draining = trigger.start(event);
        let second = draining.clone();
        let driver = thread::spawn(move || while second.advance(start).more {});
        while draining.advance(start).more {}
        driver.join().unwrap();
        waiter.join().unwrap();
    });
}

#[test]
fn an_entry_given_back_during_the_walk_belongs_to_its_next_owner() {
    model(|| {
        let (trigger, signal) = channel();
        let first = signal.watch_with(options()).unwrap();
        let event = event();
        let start = event.start;
        let leaver = thread::spawn(move || {
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            if first.poll_phase(&mut cx, Phase::Open).is_pending() {
                drop(first);
            }
            let next = signal.watch_with(options()).unwrap();
            // If it came during the drain it has no slot and is told when it asks.
            if !next.drain_close() {
                block_on(next.signaled());
            }
        });
        let draining = trigger.start(event);
        while draining.advance(start).more {}
        leaver.join().unwrap();
    });
}

#[test]
fn a_widened_drain_reaches_a_wait_that_parks_at_that_moment() {
    model(|| {
        let (trigger, signal) = channel();
        let watch = signal
            .watch_with(options().with_scope(DrainDirection::All))
            .unwrap();
        let event = event().with_direction(DrainDirection::InboundOnly);
        let start = event.start;
        let draining = trigger.start(event);
        let waiter = thread::spawn(move || {
            block_on(watch.signaled());
        });
        draining.widen();
        while draining.advance(start).more {}
        waiter.join().unwrap();
    });
}

#[test]
fn a_deadline_brought_forward_reaches_a_watcher_that_registers_at_that_moment() {
    model(|| {
        let (trigger, signal) = channel();
        let event = event();
        let start = event.start;
        let draining = trigger.start(event);
        let opener = thread::spawn(move || {
            let watch = signal.watch_with(options()).unwrap();
            block_on(watch.expired());
        });
        draining.bring_forward(start);
        // The shard may be built after this walk: whoever drives looks again when it is asked to.
        while draining.advance(start + Duration::from_secs(1)).more {}
        opener.join().unwrap();
    });
}

#[test]
fn a_drain_forgotten_by_two_at_once_leaves_a_clean_place() {
    model(|| {
        let (trigger, signal) = channel();
        let watch = signal.watch_with(options()).unwrap();
        let handle = watch.handle();
        let leaving = thread::spawn(move || {
            handle.force();
            drop(handle);
        });
        drop((trigger, signal));
        drop(watch);
        leaving.join().unwrap();
        let (trigger, signal) = channel();
        let watch = signal.watch_with(options()).unwrap();
        assert!(!watch.is_draining() && !watch.is_forced());
        let draining = trigger.start(event());
        assert_eq!(draining.open_watches(), 1);
        drop(watch);
        block_on(draining.drained());
    });
}
