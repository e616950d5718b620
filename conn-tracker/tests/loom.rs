//! Interleavings, all of them. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p conn-tracker --features __loom --test loom --release`.
#![cfg(loom)]

use conn_tracker::{
    CloseReason, ConnInfo, ConnLabel, ConnState, ConnTracker, Peer, TrackerOptions, WaitEmpty,
};
use loom::{
    future::block_on,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};
use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, atomic},
    task::{Context, Poll, Wake, Waker},
};

/// Two shards are enough for every race between shards. Three preemptions per run keep each model
/// in seconds; the races that the models are about need two.
fn model(f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(3);
    builder.check(f);
}

fn tracker() -> ConnTracker {
    ConnTracker::with_options(TrackerOptions::default().with_shards(2))
}

/// Whether a wait has been woken since it was polled. Not loom's: the model is about the tracker.
#[derive(Default)]
struct Woken(atomic::AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A wait that is polled by hand.
struct Polled {
    wait: WaitEmpty,
    woken: Arc<Woken>,
}

impl Polled {
    fn new(wait: WaitEmpty) -> Self {
        let woken = Arc::default();
        Self { wait, woken }
    }

    fn poll(&mut self) -> Poll<()> {
        self.woken.0.store(false, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(&self.woken));
        Pin::new(&mut self.wait).poll(&mut Context::from_waker(&waker))
    }

    fn is_woken(&self) -> bool {
        self.woken.0.load(Ordering::SeqCst)
    }
}

/// Invariant 5: one end against one waiter.
#[test]
fn the_last_drop_wakes_the_waiter() {
    model(|| {
        let tracker = tracker();
        let guard = tracker.group("a", 1).open(Peer::Unknown);
        let task = thread::spawn(move || drop(guard));
        block_on(tracker.wait_empty());
        assert_eq!(tracker.awaited(), 0);
        task.join().unwrap();
    });
}

/// Invariants 5 and 6: of two ends in two shards, one looks at both.
#[test]
fn two_last_drops_in_two_shards_wake_the_waiter() {
    model(|| {
        let tracker = tracker();
        let group = tracker.group("a", 1);
        let here = group.open(Peer::Unknown);
        let task = thread::spawn({
            let group = group.clone();
            let there = group.open(Peer::Unknown);
            move || {
                drop(group.open(Peer::Unknown)); // in this thread's shard
                drop(there);
            }
        });
        let wait = group.wait_empty();
        drop(here);
        block_on(wait);
        task.join().unwrap();
        assert_eq!(group.awaited(), 0);
    });
}

/// Invariants 5 and 6: the same for a threshold above zero.
#[test]
fn the_last_but_one_in_either_shard_wakes_a_wait_for_one() {
    model(|| {
        let tracker = tracker();
        let group = tracker.group("a", 1);
        let (stays, here) = (group.open(Peer::Unknown), group.open(Peer::Unknown));
        let task = thread::spawn({
            let group = group.clone();
            move || drop(group.open(Peer::Unknown)) // in this thread's shard
        });
        let closer = thread::spawn(move || drop(here));
        block_on(tracker.wait_at_most(1));
        assert!(tracker.awaited() >= 1);
        task.join().unwrap();
        closer.join().unwrap();
        drop(stays);
    });
}

/// Invariant 6: a connection that opens before another ends is not overlooked.
#[test]
fn a_wait_never_ends_while_one_connection_hands_over_to_another() {
    model(|| {
        let tracker = tracker();
        let group = tracker.group("a", 1);
        // Shards go to threads in the order in which they first open something: this thread has the
        // one that is looked at first. The connection is opened in the other, and closed when one
        // has opened in the first.
        drop(group.open(Peer::Unknown));
        let opener = thread::spawn({
            let group = group.clone();
            move || group.open(Peer::Unknown)
        });
        let first = opener.join().unwrap();
        let task = thread::spawn({
            let group = group.clone();
            move || {
                let second = group.open(Peer::Unknown);
                drop(first);
                second
            }
        });
        let mut wait = Polled::new(tracker.wait_empty());
        assert!(
            wait.poll().is_pending(),
            "one of the two was open at any moment"
        );
        let second = task.join().unwrap();
        assert!(!wait.is_woken());
        drop(second);
        assert!(wait.poll().is_ready());
    });
}

/// The reference count of the guards, in `Drop for ConnGuard`.
#[test]
fn clones_dropped_in_two_threads_close_the_entry_once() {
    model(|| {
        let tracker = tracker();
        let guard = tracker.group("a", 1).open(Peer::Unknown);
        let clone = guard.clone();
        let task = thread::spawn(move || drop(clone));
        drop(guard);
        task.join().unwrap();
        assert_eq!(
            (tracker.len(), tracker.transitions(ConnState::Closed)),
            (0, 1)
        );
    });
}

/// Invariant 5: one waiter leaves while another is released.
#[test]
fn a_dropped_wait_takes_no_wake_from_another() {
    model(|| {
        let tracker = tracker();
        let guard = tracker.group("a", 1).open(Peer::Unknown);
        let mut given_up = Polled::new(tracker.wait_empty());
        assert!(given_up.poll().is_pending());
        let task = thread::spawn(move || drop(guard));
        drop(given_up);
        block_on(tracker.wait_empty());
        task.join().unwrap();
    });
}

/// Invariant 6: the line is drawn before the counters are read.
#[test]
fn an_empty_moment_releases_no_waiter_that_came_after_it() {
    model(|| {
        let tracker = tracker();
        let group = tracker.group("a", 1);
        let first = group.open(Peer::Unknown);
        let mut early = Polled::new(tracker.wait_empty());
        assert!(early.poll().is_pending());
        let task = thread::spawn(move || drop(first));
        let second = group.open(Peer::Unknown);
        let mut late = Polled::new(tracker.wait_empty());
        assert!(late.poll().is_pending());
        task.join().unwrap();
        assert!(
            !late.is_woken() && late.poll().is_pending(),
            "the second was open all the time"
        );
        drop(second);
        assert!(early.poll().is_ready() && late.poll().is_ready());
    });
}

/// Invariant 5: a label that becomes an excluded one is an end to the waiter.
#[test]
fn excluding_the_last_connection_wakes_the_waiter() {
    model(|| {
        let tracker = tracker();
        let guard = tracker.group("a", 1).open(ConnInfo::new(Peer::Unknown));
        let task = thread::spawn(move || {
            guard.set_label(ConnLabel::Metrics);
            guard
        });
        block_on(tracker.wait_empty());
        drop(task.join().unwrap());
    });
}

/// Invariant 7: the last handle against the last connection.
#[test]
fn a_group_goes_with_its_last_handle_or_its_last_connection() {
    model(|| {
        let tracker = tracker();
        let group = tracker.group("a", 1);
        let guard = group.open(Peer::Unknown);
        let task = thread::spawn(move || drop(guard));
        drop(group);
        task.join().unwrap();
        assert!(tracker.groups().is_empty());
    });
}

/// Invariant 2: the closer is called and dropped with nothing locked.
#[test]
fn a_connection_that_ends_while_it_is_closed_takes_its_closer_along() {
    model(|| {
        let tracker = tracker();
        let group = tracker.group("a", 1);
        let calls = Arc::new(());
        let held = Arc::clone(&calls);
        let guard =
            group.open(ConnInfo::new(Peer::Unknown).with_closer(move || drop(held.clone())));
        let id = guard.id();
        let task = thread::spawn(move || drop(guard));
        let closed = tracker.close(id).is_ok();
        let next = group.open(Peer::Unknown); // perhaps in its place
        task.join().unwrap();
        assert!(
            tracker.close(next.id()).is_err(),
            "the closer was the other's"
        );
        assert_eq!(Arc::strong_count(&calls), 1);
        let forced = tracker.closed(CloseReason::Admin);
        assert!(forced == 0 || closed);
        drop(next);
    });
}

/// Invariant 8: the last handle against the last guard.
#[test]
fn a_registry_is_recycled_whether_handle_or_guard_goes_first() {
    model(|| {
        let old = tracker();
        let guard = old.group("a", 1).open(Peer::Unknown);
        let of_old = guard.id();
        let task = thread::spawn(move || drop(guard));
        drop(old);
        // While the guard exists, this is another registry; afterwards it may be the same.
        let new = tracker();
        let group = new.group("a", 1);
        assert_eq!((new.len(), new.awaited(), new.find(of_old)), (0, 0, None));
        let guard = group.open(Peer::Unknown);
        assert_eq!((new.len(), group.len()), (1, 1));
        task.join().unwrap();
        assert_eq!(
            (new.len(), group.len(), new.transitions(ConnState::Closed)),
            (1, 1, 0)
        );
        drop(guard);
        drop((new, group));
        // Both are in the pool now, so the third tracker makes none.
        assert!(tracker().is_empty());
    });
}

/// Invariant 8: two holders that go at once.
#[test]
fn two_last_guards_in_two_shards_recycle_the_registry_once() {
    model(|| {
        let old = tracker();
        let group = old.group("a", 1);
        let here = group.open(Peer::Unknown);
        let task = thread::spawn({
            let group = group.clone();
            move || drop(group.open(Peer::Unknown)) // in this thread's shard, perhaps with the last handle
        });
        drop((old, group));
        drop(here);
        task.join().unwrap();
        // Twice in the pool, the registry would be two trackers' at once.
        let (first, second) = (tracker(), tracker());
        let _guard = first.group("a", 1).open(Peer::Unknown);
        assert_eq!((first.len(), second.len()), (1, 0));
    });
}

/// Invariant 5, where the list of parts grows: the second connection is in a shard, and a part of
/// the group, that is built while the wait begins.
#[test]
fn a_shard_that_is_built_while_a_wait_begins_is_waited_for() {
    model(|| {
        let tracker = tracker();
        let group = tracker.group("a", 1);
        let first = group.open(Peer::Unknown);
        let has_ended = Arc::new(AtomicBool::new(false));
        let task = thread::spawn({
            let (group, has_ended) = (group.clone(), has_ended.clone());
            move || {
                let second = group.open(Peer::Unknown);
                drop(first);
                has_ended.store(true, Ordering::SeqCst);
                drop(second);
            }
        });
        block_on(group.wait_empty());
        assert!(
            has_ended.load(Ordering::SeqCst),
            "one of the two was open until then"
        );
        task.join().unwrap();
    });
}

/// The same for the whole tracker.
#[test]
fn a_first_connection_of_a_thread_is_seen_by_a_wait_that_begins() {
    model(|| {
        let tracker = tracker();
        let group = tracker.group("a", 1);
        let task = thread::spawn({
            let group = group.clone();
            move || {
                let guard = group.open(Peer::Unknown);
                drop(guard);
            }
        });
        block_on(tracker.wait_empty());
        block_on(group.wait_empty());
        task.join().unwrap();
        assert_eq!(
            (tracker.awaited(), tracker.transitions(ConnState::Closed)),
            (0, 1)
        );
    });
}

/// Invariants 3 and 5: a connection changes its chain under the lock that the wait reads under.
#[test]
fn a_chain_is_attached_while_its_old_one_is_waited_for() {
    model(|| {
        let tracker = tracker();
        let group = tracker.group("a", 1);
        let (old, new) = (group.chain("old"), group.chain("new"));
        let guard = group.open(Peer::Unknown);
        guard.attach_chain(&old).unwrap();
        let task = thread::spawn({
            let new = new.clone();
            move || {
                guard.attach_chain(&new).unwrap();
                guard
            }
        });
        block_on(old.wait_empty());
        drop(old);
        let guard = task.join().unwrap();
        assert_eq!((tracker.groups().len(), new.len()), (2, 1));
        drop(guard);
    });
}

/// Invariant 2: the closer is out while it is called; a request reaches the one that is set
/// meanwhile.
#[test]
fn a_close_reaches_the_closer_that_is_set_at_that_moment() {
    model(|| {
        let tracker = tracker();
        let [old, new] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let called = Arc::clone(&old);
        let info =
            ConnInfo::new(Peer::Unix).with_closer(move || called.store(true, Ordering::SeqCst));
        let guard = tracker.group("ingress", 1).open(info);
        let id = guard.id();
        let closing = thread::spawn(move || assert_eq!(tracker.close(id), Ok(())));
        let called = Arc::clone(&new);
        guard.set_closer(move || called.store(true, Ordering::SeqCst));
        // As listener-versions does when a filter chain takes the connection.
        let was_closed = old.load(Ordering::SeqCst);
        closing.join().unwrap();
        assert!(was_closed || new.load(Ordering::SeqCst));
    });
}
