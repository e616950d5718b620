//! A thread opens and closes watchers by plain stores, while others begin the drain, wait for its end, close or leave.

use drain_signal::{DrainSignal, DrainTrigger, DrainWatch};
use loom::sync::atomic::{AtomicUsize, Ordering};

use super::*;

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
