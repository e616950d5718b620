//! Every interleaving of the signal's wait-and-notify paths, as far as loom can reach. Numbers are
//! those of the invariants in `src/engine/mod.rs`.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p drain-signal --features __loom --test loom --release`
#![cfg(loom)]

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use drain_signal::schedule::Place;
use drain_signal::{
    DrainDecision, DrainDirection, DrainEvent, DrainReason, DrainState, DrainStrategy, DrainedBy,
    Phase, PhaseWait, WatchOptions, channel,
};
use loom::future::block_on;
use loom::sync::Arc;
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
    WatchOptions::default().with_place(Place::new(0))
}

fn model(scenario: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 3000;
    builder.check(scenario);
}

/// 6: the look after the lock, or the walk after the word.
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

/// 2, 3: the opener is on one side of the beginning and of the completion.
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

/// 4: the last watch is dropped while a wait for the end registers.
#[test]
fn the_last_guard_wakes_the_task_that_waits_for_it() {
    model(|| {
        let (trigger, signal) = channel();
        let watch = signal.watch_with(options()).unwrap();
        let leaving = thread::spawn(move || drop(watch));
        let draining = trigger.start(event());
        block_on(draining.drained());
        leaving.join().unwrap();
    });
}

/// 4: the same for the count of the watches that only a full drain concerns.
#[test]
fn the_last_guard_that_only_a_full_drain_concerns_wakes_the_task_that_waits_for_it() {
    model(|| {
        let (trigger, signal) = channel();
        let watch = signal
            .watch_with(options().with_drained_by(DrainedBy::Full))
            .unwrap();
        let leaving = thread::spawn(move || drop(watch));
        let draining = trigger.start(event());
        block_on(draining.drained());
        leaving.join().unwrap();
    });
}

/// 4: each shard has its last watch, and neither sees the other go.
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

/// 6: the flag before the lock.
#[test]
fn a_force_reaches_a_wait_that_parks_at_that_moment() {
    model(|| {
        let (_trigger, signal) = channel();
        let watch = Arc::new(signal.watch_with(options()).unwrap());
        let forced = Arc::clone(&watch);
        let forcing = thread::spawn(move || {
            forced.force();
        });
        block_on(watch.expired());
        forcing.join().unwrap();
    });
}

/// 7: both handles find one record.
#[test]
fn a_handle_cloned_at_that_moment_still_forces() {
    model(|| {
        let (_trigger, signal) = channel();
        let watch = Arc::new(signal.watch_with(options()).unwrap());
        let cloned = Arc::clone(&watch);
        let forcing = thread::spawn(move || {
            let handle = cloned.handle();
            handle.force();
        });
        block_on(watch.expired());
        forcing.join().unwrap();
    });
}

/// 1, 6: the second word is walked too.
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

/// 5, 7: the wait alone frees its entry, with its waker taken or not.
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

/// 6, 8: two walks at once, one of which finds the wait.
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

/// 5: no drain and no wake frees an entry.
#[test]
fn an_entry_given_back_during_the_walk_belongs_to_its_next_owner() {
    model(|| {
        let (trigger, signal) = channel();
        let first = signal.watch_with(options()).unwrap();
        let event = event();
        let start = event.start;
        let leaver = thread::spawn(move || {
            let mut wait = PhaseWait::new(first);
            let _ = wait.poll_phase(&mut Context::from_waker(Waker::noop()), Phase::Open);
            drop(wait);
            let next = signal.watch_with(options()).unwrap();
            // If it came during the drain it has no slot and is signaled when it asks.
            if !next.leave_if_due() {
                block_on(next.signaled());
            }
        });
        let draining = trigger.start(event);
        while draining.advance(start).more {}
        leaver.join().unwrap();
    });
}

/// 1, 6: a word that concerns more connections.
#[test]
fn a_widened_drain_reaches_a_wait_that_parks_at_that_moment() {
    model(|| {
        let (trigger, signal) = channel();
        let watch = signal
            .watch_with(options().with_drained_by(DrainedBy::Full))
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

/// 1: the word says no less than the facts.
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
        // The shard may be built after this walk: the driver looks again when it is asked to.
        while draining.advance(start + Duration::from_secs(1)).more {}
        opener.join().unwrap();
    });
}

/// 5, 6: two waits of one handle, of which one is dropped while the drain walks.
#[test]
fn two_waits_of_one_handle_are_woken_each() {
    model(|| {
        let (trigger, signal) = channel();
        let watch = Arc::new(signal.watch_with(options()).unwrap());
        let other = Arc::clone(&watch);
        let waiter = thread::spawn(move || {
            block_on(other.signaled());
        });
        let mut mine = PhaseWait::new(&**watch);
        let mut cx = Context::from_waker(Waker::noop());
        let _ = mine.poll_phase(&mut cx, Phase::Open);
        let event = event();
        let start = event.start;
        let draining = trigger.start(event);
        while draining.advance(start).more {}
        assert!(mine.poll_phase(&mut cx, Phase::Open).is_ready());
        waiter.join().unwrap();
    });
}

/// 5: an entry is freed by its wait alone, and the next wait in it is another.
#[test]
fn a_wait_dropped_during_the_walk_takes_its_own_entry_with_it() {
    model(|| {
        let (trigger, signal) = channel();
        let watch = signal.watch_with(options()).unwrap();
        let other = watch.handle();
        let dropping = thread::spawn(move || {
            let mut wait = PhaseWait::new(&other);
            let _ = wait.poll_phase(&mut Context::from_waker(Waker::noop()), Phase::Open);
            drop(wait);
            block_on(other.signaled());
        });
        let event = event();
        let start = event.start;
        let draining = trigger.start(event);
        while draining.advance(start).more {}
        block_on(watch.signaled());
        dropping.join().unwrap();
    });
}

/// 7: a wait that goes is in the list no more, the others are.
#[test]
fn a_force_reaches_a_wait_that_parks_while_another_handle_goes() {
    model(|| {
        let (_trigger, signal) = channel();
        let watch = signal.watch_with(options()).unwrap();
        let (stream, operator) = (watch.handle(), watch.handle());
        let going = thread::spawn(move || {
            let mut wait = PhaseWait::new(stream);
            let _ = wait.poll_phase(&mut Context::from_waker(Waker::noop()), Phase::Open);
        });
        let forcing = thread::spawn(move || {
            assert!(operator.force());
        });
        block_on(watch.expired());
        going.join().unwrap();
        forcing.join().unwrap();
    });
}

/// 6, 7: a wait for the slot ends and a wait for the end goes on, until it is that one's turn.
#[test]
fn a_notification_and_a_force_each_reach_the_wait_that_parks_then() {
    model(|| {
        let (_trigger, signal) = channel();
        let watch = signal.watch_with(options()).unwrap();
        let operator = watch.handle();
        let waiter = thread::spawn(move || {
            block_on(watch.signaled());
            block_on(watch.expired());
        });
        operator.start_now();
        operator.force();
        waiter.join().unwrap();
    });
}

/// 5: a drain and an operator take the same waker, once.
#[test]
fn a_notification_during_the_walk_takes_a_waker_once() {
    model(|| {
        let (trigger, signal) = channel();
        let watch = signal.watch_with(options()).unwrap();
        let operator = watch.handle();
        let mut wait = PhaseWait::new(watch);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(wait.poll_phase(&mut cx, Phase::Open).is_pending());
        let notifying = thread::spawn(move || operator.start_now());
        let event = event();
        let start = event.start;
        let draining = trigger.start(event);
        while draining.advance(start).more {}
        assert!(wait.poll_phase(&mut cx, Phase::Open).is_ready());
        notifying.join().unwrap();
    });
}

/// 7: the last two handles of a connection go at once, and its record is the next connection's.
#[test]
fn a_record_freed_by_two_handles_at_once_is_as_new() {
    model(|| {
        let (_trigger, signal) = channel();
        let watch = signal.watch_with(options()).unwrap();
        let handle = watch.handle();
        let leaving = thread::spawn(move || {
            handle.force();
            drop(handle);
        });
        drop(watch);
        leaving.join().unwrap();
        let watch = signal.watch_with(options()).unwrap();
        let handle = watch.handle();
        assert!(!watch.is_forced() && watch.phase() == Phase::Open);
        assert!(handle.force() && watch.is_forced());
    });
}

/// 3: a watch is refused only under a drain that is completed, and a completed drain has no watch.
#[test]
fn no_watch_is_refused_while_the_drain_goes_on() {
    model(|| {
        let (trigger, signal) = channel();
        drop(signal.watch_with(options()).unwrap());
        let draining = trigger.start(event());
        let open = || {
            let signal = signal.clone();
            thread::spawn(move || signal.watch_with(options()))
        };
        let opening = [open(), open()];
        let completed = draining.complete_if_empty();
        let watches = opening.map(|opening| opening.join().unwrap());
        let opened = watches.iter().filter(|watch| watch.is_ok()).count();
        if completed {
            assert_eq!((opened, signal.state()), (0, DrainState::Completed));
        } else {
            assert_eq!((opened, signal.state()), (2, DrainState::Draining));
        }
        assert_eq!(signal.open_watches(), opened);
    });
}

/// 2, 3: a drain that was completed for inbound connections goes on if the other kind is there when
/// it widens.
#[test]
fn a_watch_that_opens_while_a_completed_drain_widens_is_waited_for_or_refused() {
    model(|| {
        let (trigger, signal) = channel();
        let draining = trigger.start(event().with_direction(DrainDirection::InboundOnly));
        assert!(draining.complete_if_empty());
        let opening = signal.clone();
        let opener =
            thread::spawn(move || opening.watch_with(options().with_drained_by(DrainedBy::Full)));
        assert!(draining.widen());
        let watch = opener.join().unwrap();
        let expected = if watch.is_ok() {
            DrainState::Draining
        } else {
            DrainState::Completed
        };
        assert_eq!(signal.state(), expected);
        drop(watch);
        block_on(draining.drained());
    });
}

/// 9: what is left by the last of each side is freed whichever is last; a drain after it begins
/// anew.
#[test]
fn a_drain_forgotten_while_a_connection_goes_leaves_nothing() {
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
    });
}

/// 7: a connection that is found while another goes and its record is claimed again is itself.
#[test]
fn a_connection_that_is_found_while_another_goes_is_the_one_that_is_notified() {
    model(|| {
        let (_trigger, signal) = channel();
        let first = signal.watch_with(options()).unwrap();
        let of_first = first.handle();
        let other = {
            let signal = signal.clone();
            thread::spawn(move || {
                let mut cx = Context::from_waker(Waker::noop());
                let mut wait = PhaseWait::new(first);
                assert!(wait.poll_phase(&mut cx, Phase::Open).is_pending());
                drop(wait);
                let mut wait = PhaseWait::new(signal.watch_with(options()).unwrap());
                let parked = wait.poll_phase(&mut cx, Phase::Open);
                (wait, parked)
            })
        };
        let found = signal.waiting();
        let notified = found.iter().filter(|handle| handle.start_now()).count();
        let (wait, parked) = other.join().unwrap();
        let is_signaled = [&of_first, wait.handle().as_ref()].map(|handle| handle.phase());
        let signaled = is_signaled
            .iter()
            .filter(|&&phase| phase == Phase::Signaled);
        assert_eq!(signaled.count(), notified);
        assert!(parked.is_pending());
    });
}
