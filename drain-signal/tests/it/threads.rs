//! Threads come, go and are many: each of the first few opens watchers in a shard that it owns, the
//! others share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use drain_signal::{DrainEvent, DrainReason, DrainStrategy, DrainWatch, channel};
use tokio_test::{assert_pending, assert_ready, task};

/// More than there are shards.
const THREADS: usize = 20;

#[expect(clippy::disallowed_methods, reason = "any instant will do as a start")]
fn event() -> DrainEvent {
    DrainEvent::new(
        Instant::now(),
        Duration::from_secs(60),
        DrainReason::ListenerModify,
    )
    .with_strategy(DrainStrategy::Immediate)
}

#[test]
fn watchers_of_many_threads_are_counted_wherever_they_are_closed() {
    const EACH: usize = 100;
    let (trigger, signal) = channel();
    let together = Barrier::new(THREADS);
    let open = || {
        together.wait();
        let open = || signal.watch().expect("not completed");
        // Half of them go here, half elsewhere.
        let stay: Vec<DrainWatch> = (0..EACH).map(|_| open()).collect();
        for _ in 0..EACH {
            drop(open());
        }
        together.wait();
        stay
    };
    let watches: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(open)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(signal.open_watches(), THREADS * EACH);
    let draining = trigger.start(event());
    let mut drained = task::spawn(draining.drained());
    for (left, watches) in (0..THREADS).rev().zip(watches) {
        assert_pending!(drained.poll());
        drop(watches);
        assert_eq!(draining.open_watches(), left * EACH);
    }
    assert!(drained.is_woken());
    assert_ready!(drained.poll());
}

#[test]
fn a_thread_goes_on_counting_where_one_has_ended() {
    let (trigger, signal) = channel();
    let watches: Vec<DrainWatch> = (0..THREADS)
        .map(|_| {
            let opens = || {
                drop(signal.watch());
                signal.watch().expect("not completed")
            };
            thread::scope(|scope| scope.spawn(opens).join().unwrap())
        })
        .collect();
    assert_eq!(signal.open_watches(), THREADS);
    let draining = trigger.start(event());
    let mut drained = task::spawn(draining.drained());
    for watch in watches {
        assert_pending!(drained.poll());
        drop(watch);
    }
    assert_ready!(drained.poll());
}

#[test]
fn a_watcher_may_be_opened_and_closed_while_its_thread_ends() {
    thread_local! {
        static LAST: std::cell::RefCell<Option<Last>> = const { std::cell::RefCell::new(None) };
    }
    struct Last(drain_signal::DrainSignal, Arc<AtomicUsize>);
    impl Drop for Last {
        fn drop(&mut self) {
            let watch = self.0.watch().expect("not completed");
            self.1.store(self.0.open_watches(), Ordering::Relaxed);
            drop(watch);
        }
    }
    let (trigger, signal) = channel();
    let seen = Arc::new(AtomicUsize::new(0));
    for opens_first in [true, false] {
        let last = Last(signal.clone(), Arc::clone(&seen));
        let ends = move || {
            // What is made first is destroyed last.
            LAST.with_borrow_mut(|_| ());
            let watch = opens_first.then(|| last.0.watch());
            LAST.set(Some(last));
            drop(watch);
        };
        thread::spawn(ends).join().unwrap();
        assert_eq!(seen.swap(0, Ordering::Relaxed), 1);
        assert_eq!(signal.open_watches(), 0);
    }
    assert_ready!(task::spawn(trigger.start(event()).drained()).poll());
}

#[test]
fn no_two_watchers_of_one_thread_have_one_place() {
    let (_trigger, signal) = channel();
    let mut watches = vec![];
    let mut places = vec![];
    for _ in 0..1500 {
        let watch = signal.watch().expect("not completed");
        let text = format!("{watch:?}");
        watches.push(watch);
        places.push(text);
    }
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), watches.len());
}

/// Owners open and close as fast as they can; a task that sees the end finds no watch open.
#[test]
fn nobody_is_there_when_a_drain_has_ended_that_began_amid_openings() {
    for _ in 0..300 {
        let (trigger, signal) = channel();
        let held = AtomicUsize::new(0);
        let together = Barrier::new(3);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    drop(signal.watch());
                    together.wait();
                    while let Ok(watch) = signal.watch() {
                        held.fetch_add(1, Ordering::AcqRel);
                        held.fetch_sub(1, Ordering::AcqRel);
                        drop(watch);
                    }
                });
            }
            together.wait();
            tokio_test::block_on(trigger.start(event()).drained());
            assert_eq!(held.fetch_add(0, Ordering::AcqRel), 0);
        });
        assert_eq!(signal.open_watches(), 0);
    }
}
