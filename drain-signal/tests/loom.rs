//! Every interleaving of the signal's wait-and-notify paths, as far as loom can reach.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p drain-signal --test loom --release`
#![cfg(loom)]

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use drain_signal::schedule::Place;
use drain_signal::{
    DrainDecision, DrainDirection, DrainEvent, DrainReason, DrainSignal, DrainStrategy, DrainTrigger,
    DrainWatch, Phase, WatchOptions, channel,
};
use loom::future::block_on;
use loom::sync::atomic::{AtomicUsize, Ordering};
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

/// Opens a watcher in a shard that its thread owns and has used before, so by a plain store, while another thread begins
/// the drain and waits for its end, by `drain`. Nobody may be there then.
fn open_while_it_drains(drain: impl FnOnce(DrainTrigger) + Send + 'static) {
    let options = WatchOptions::default();
    let (trigger, signal) = channel();
    drop(signal.watch_with(options).unwrap());
    let held = loom::sync::Arc::new(AtomicUsize::new(0));
    let seen = loom::sync::Arc::clone(&held);
    let drain = thread::spawn(move || {
        drain(trigger);
        // An addition sees the latest value.
        assert_eq!(
            seen.fetch_add(0, Ordering::AcqRel),
            0,
            "drained, with somebody there"
        );
    });
    if let Ok(watch) = signal.watch_with(options) {
        held.fetch_add(1, Ordering::AcqRel);
        held.fetch_sub(1, Ordering::AcqRel);
        drop(watch);
    }
    drain.join().unwrap();
    assert!(signal.watch_with(options).is_err());
    assert_eq!(signal.open_watches(), 0);
}

#[test]
fn an_owner_that_opens_while_the_drain_begins_is_counted_or_refused() {
    model(|| open_while_it_drains(|trigger| block_on(trigger.start(event()).drained())));
}

#[test]
fn an_owner_that_opens_while_the_drain_is_completed_is_counted_or_refused() {
    model(|| {
        open_while_it_drains(|trigger| {
            let draining = trigger.start(event());
            draining.complete();
            block_on(draining.drained());
        });
    });
}

#[test]
fn an_owner_that_opens_while_another_completes_the_drain_is_counted_or_refused() {
    model(|| {
        open_while_it_drains(|trigger| {
            let draining = trigger.start(event());
            let completing = draining.clone();
            let other = thread::spawn(move || completing.complete());
            block_on(draining.drained());
            other.join().unwrap();
        });
    });
}

#[test]
fn an_owner_that_closes_one_after_it_has_opened_another_is_always_there() {
    model(|| {
        let (trigger, signal) = channel();
        let first = signal.watch().unwrap();
        let held = loom::sync::Arc::new(AtomicUsize::new(1));
        let seen = loom::sync::Arc::clone(&held);
        let drain = thread::spawn(move || {
            let draining = trigger.start(event());
            draining.complete();
            block_on(draining.drained());
            assert_eq!(
                seen.fetch_add(0, Ordering::AcqRel),
                0,
                "drained, with somebody there"
            );
        });
        let second = signal.watch();
        if second.is_ok() {
            drop(first);
            held.fetch_sub(1, Ordering::AcqRel);
            drop(second);
        } else {
            held.fetch_sub(1, Ordering::AcqRel);
            drop(first);
        }
        drain.join().unwrap();
    });
}

/// Another drain that ends, and has a barrier for it.
fn drain_another() {
    let (trigger, signal) = channel();
    drop(signal.watch());
    block_on(trigger.start(event()).drained());
}

#[test]
fn a_barrier_before_the_drain_begins_does_not_serve_it() {
    model(|| {
        open_while_it_drains(|trigger| {
            drain_another();
            block_on(trigger.start(event()).drained());
        });
    });
}

#[test]
fn a_barrier_after_the_drain_began_serves_it() {
    model(|| {
        open_while_it_drains(|trigger| {
            let draining = trigger.start(event());
            drain_another();
            block_on(draining.drained());
        });
    });
}

#[test]
fn a_watcher_that_leaves_an_owners_shard_from_elsewhere_may_be_the_last() {
    model(|| {
        let (trigger, signal) = channel();
        drop(signal.watch().unwrap());
        let first = signal.watch().unwrap();
        let draining = trigger.start(event());
        let leaver = thread::spawn(move || drop(first));
        drop(signal.watch().unwrap());
        block_on(draining.drained());
        leaver.join().unwrap();
    });
}

#[test]
fn an_owner_that_closes_while_another_waits_for_the_end_wakes_it() {
    model(|| {
        let (trigger, signal) = channel();
        let watch = signal.watch().unwrap();
        let waiter = thread::spawn(move || block_on(trigger.start(event()).drained()));
        drop(watch);
        waiter.join().unwrap();
    });
}

#[test]
fn an_owner_and_another_that_close_at_once_wake_whoever_waits() {
    model(|| {
        let (trigger, signal) = channel();
        let (here, there) = (signal.watch().unwrap(), signal.watch().unwrap());
        let leaver = thread::spawn(move || drop(there));
        let waiter = thread::spawn(move || block_on(trigger.start(event()).drained()));
        drop(here);
        leaver.join().unwrap();
        waiter.join().unwrap();
    });
}

#[test]
fn a_clone_of_a_watcher_that_its_owner_closes_is_still_there() {
    model(|| {
        let (trigger, signal) = channel();
        let first = loom::sync::Arc::new(signal.watch().unwrap());
        let original = loom::sync::Arc::clone(&first);
        let held = loom::sync::Arc::new(AtomicUsize::new(1));
        let seen = loom::sync::Arc::clone(&held);
        let cloner = thread::spawn(move || {
            let clone = original.as_ref().clone();
            drop(original);
            held.fetch_sub(1, Ordering::AcqRel);
            drop(clone);
        });
        let waiter = thread::spawn(move || {
            block_on(trigger.start(event()).drained());
            assert_eq!(
                seen.fetch_add(0, Ordering::AcqRel),
                0,
                "drained, with somebody there"
            );
        });
        drop(first);
        cloner.join().unwrap();
        waiter.join().unwrap();
    });
}

/// What was left by two at once is used again, and is as new.
fn leave_at_once(leave: impl FnOnce(DrainTrigger, DrainSignal, DrainWatch, DrainWatch)) {
    let (trigger, signal) = channel();
    let (here, there) = (signal.watch().unwrap(), signal.watch().unwrap());
    leave(trigger, signal, here, there);
    for _ in 0..2 {
        let (trigger, signal) = channel();
        let watch = signal.watch().unwrap();
        assert!(!watch.is_draining());
        let draining = trigger.start(event());
        assert_eq!(draining.open_watches(), 1);
        drop(watch);
        block_on(draining.drained());
    }
}

#[test]
fn a_shard_that_its_owner_and_another_leave_at_once_is_clean() {
    model(|| {
        leave_at_once(|trigger, signal, here, there| {
            drop((trigger, signal));
            let leaver = thread::spawn(move || drop(there));
            drop(here);
            leaver.join().unwrap();
        });
    });
}

#[test]
fn a_shard_that_its_owner_leaves_with_the_last_node_is_clean() {
    model(|| {
        leave_at_once(|trigger, signal, here, there| {
            drop((trigger, there));
            let leaver = thread::spawn(move || drop(signal));
            drop(here);
            leaver.join().unwrap();
        });
    });
}

#[test]
fn a_new_drain_begins_while_the_last_leaves_an_old_one() {
    model(|| {
        leave_at_once(|trigger, signal, here, there| {
            drop((trigger, there));
            let next = thread::spawn(move || {
                drop(signal);
                // Perhaps in the same place.
                let (trigger, signal) = channel();
                let watch = signal.watch().unwrap();
                let draining = trigger.start(event());
                assert_eq!(draining.open_watches(), 1);
                drop(watch);
                block_on(draining.drained());
                assert!(signal.watch().is_err());
            });
            drop(here);
            next.join().unwrap();
        });
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
