//! When waiting for the end is over, and when it is not.

use conn_tracker::{CloseReason, ConnInfo, ConnLabel, ConnTracker, Peer, TrackerOptions};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};
use tokio_test::{assert_pending, assert_ready, task::spawn};

fn labelled(label: ConnLabel) -> ConnInfo {
    ConnInfo::new(Peer::Unix).with_label(label)
}

#[test]
fn without_connections_it_is_over_at_once() {
    let tracker = ConnTracker::new();
    assert_ready!(spawn(tracker.wait_empty()).poll());
    assert_ready!(spawn(tracker.group("ingress", 1).wait_empty()).poll());
}

#[test]
fn the_last_guard_wakes_every_waiter_and_no_earlier_one_does() {
    let tracker = ConnTracker::new();
    let group = tracker.group("ingress", 1);
    let (a, b) = (group.open(Peer::Unix), group.open(Peer::Unix));
    let (mut all, mut one) = (spawn(tracker.wait_empty()), spawn(group.wait_empty()));
    assert_pending!(all.poll());
    assert_pending!(one.poll());
    drop(a);
    assert!(!all.is_woken() && !one.is_woken());
    drop(b);
    assert!(all.is_woken() && one.is_woken());
    assert_ready!(all.poll());
    assert_ready!(one.poll());
    assert_ready!(one.poll()); // and stays over
}

#[test]
fn a_few_that_may_be_left_are_not_waited_for() {
    // One shard, in which a wait for none hides behind one for two; and several.
    for shards in [1, 4] {
        let tracker = ConnTracker::with_options(TrackerOptions::default().with_shards(shards));
        let group = tracker.group("ingress", 1);
        let mut open: Vec<_> = (0..4).map(|_| group.open(Peer::Unix)).collect();
        let (mut none, mut two) = (spawn(tracker.wait_empty()), spawn(tracker.wait_at_most(2)));
        assert_pending!(none.poll());
        assert_pending!(two.poll());
        open.pop();
        assert!(!two.is_woken());
        open.pop();
        assert!(two.is_woken() && !none.is_woken());
        assert_ready!(two.poll());
        assert_ready!(spawn(tracker.wait_at_most(2)).poll());
        open.clear();
        assert!(none.is_woken());
    }
}

#[test]
fn a_version_is_over_while_another_is_not() {
    let tracker = ConnTracker::new();
    let (old, new) = (tracker.group("ingress", 1), tracker.group("ingress", 2));
    let (a, b) = (old.open(Peer::Unix), new.open(Peer::Unix));
    let (mut all, mut one) = (spawn(tracker.wait_empty()), spawn(old.wait_empty()));
    assert_pending!(all.poll());
    assert_pending!(one.poll());
    drop(a);
    assert_ready!(one.poll());
    assert_pending!(all.poll());
    drop(b);
    assert_ready!(all.poll());
}

#[test]
fn a_chain_is_over_when_its_last_connection_moves_to_another() {
    let tracker = ConnTracker::new();
    let group = tracker.group("ingress", 1);
    let (old, new) = (group.chain("old"), group.chain("new"));
    let guard = group.open(Peer::Unix);
    guard.attach_chain(&old).unwrap();
    let mut over = spawn(old.wait_empty());
    assert_pending!(over.poll());
    guard.attach_chain(&new).unwrap();
    assert!(over.is_woken());
    assert_ready!(over.poll());
}

#[test]
fn a_metrics_scrape_is_not_waited_for() {
    let tracker = ConnTracker::new();
    let group = tracker.group("ingress", 1);
    let _scrape = group.open(labelled(ConnLabel::Metrics));
    let _admin = group.open(labelled(ConnLabel::Admin));
    let client = group.open(Peer::Unix);
    let mut over = spawn(tracker.wait_empty());
    assert_pending!(over.poll());
    drop(client);
    assert!(over.is_woken());
    assert_ready!(over.poll());
    assert_eq!((tracker.len(), tracker.awaited()), (2, 0));
}

#[test]
fn a_connection_found_out_to_be_a_scrape_lets_the_waiter_go() {
    let tracker = ConnTracker::new();
    let guard = tracker.group("ingress", 1).open(Peer::Unix);
    let mut over = spawn(tracker.wait_empty());
    assert_pending!(over.poll());
    guard.set_label(ConnLabel::Metrics);
    assert!(over.is_woken());
    assert_ready!(over.poll());
}

#[test]
fn which_labels_are_excluded_is_an_option() {
    let options = TrackerOptions::default().with_excluded([ConnLabel::HealthCheck]);
    let tracker = ConnTracker::with_options(options);
    let group = tracker.group("ingress", 1);
    let _check = group.open(labelled(ConnLabel::HealthCheck));
    assert_eq!(tracker.awaited(), 0);
    let _admin = group.open(labelled(ConnLabel::Admin));
    assert_eq!(tracker.awaited(), 1);
}

#[test]
fn an_empty_moment_is_not_missed_because_someone_came_after_it() {
    let tracker = ConnTracker::new();
    let group = tracker.group("ingress", 1);
    let guard = group.open(Peer::Unix);
    let mut over = spawn(tracker.wait_empty());
    assert_pending!(over.poll());
    drop(guard);
    let _late = group.open(Peer::Unix);
    assert_ready!(over.poll());
    assert_pending!(spawn(tracker.wait_empty()).poll());
}

#[test]
fn a_waiter_that_gives_up_takes_nothing_from_the_others() {
    let tracker = ConnTracker::new();
    let guard = tracker.group("ingress", 1).open(Peer::Unix);
    let (mut a, mut b) = (spawn(tracker.wait_empty()), spawn(tracker.wait_empty()));
    assert_pending!(a.poll());
    assert_pending!(b.poll());
    drop(a);
    drop(guard);
    assert!(b.is_woken());
    assert_ready!(b.poll());
}

#[test]
fn a_wait_keeps_its_group() {
    let tracker = ConnTracker::new();
    let group = tracker.group("ingress", 1);
    let guard = group.open(Peer::Unix);
    let mut over = spawn(group.wait_empty());
    assert_pending!(over.poll());
    drop(group);
    drop(guard);
    assert!(over.is_woken());
    assert_eq!(tracker.groups().len(), 1);
    assert_ready!(over.poll());
    drop(over);
    assert!(tracker.groups().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_when_ten_thousand_tasks_on_several_threads_have() {
    let tracker = ConnTracker::new();
    let group = tracker.group("ingress", 1);
    for _ in 0..10_000 {
        let guard = group.open(Peer::Unix);
        let tunnel = guard.clone();
        tokio::spawn(async move {
            guard.request_started();
            tokio::task::yield_now().await;
            drop(guard);
        });
        tokio::spawn(async move { drop(tunnel) });
    }
    group.wait_empty().await;
    assert_eq!((tracker.len(), tracker.snapshot().len()), (0, 0));
}

/// Calls the tracker back whenever it is woken, and when it is dropped.
struct Meddler {
    tracker: ConnTracker,
    woken: AtomicUsize,
}

impl Meddler {
    fn meddle(&self) {
        let group = self.tracker.group("meddler", 1);
        let guard = group.open(Peer::Unix);
        let mut wait = spawn(group.wait_empty());
        assert_pending!(wait.poll());
        drop(guard);
        assert_ready!(wait.poll());
        assert!(self.tracker.snapshot().len() <= 1);
        self.tracker.wait_at_most(7).now_or_never();
    }
}

impl Wake for Meddler {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, Ordering::Relaxed);
        self.meddle();
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        self.meddle();
    }
}

/// A lock held around a waker would never be released: the test would hang.
#[test]
fn a_waker_may_use_the_tracker_when_it_is_woken_replaced_and_dropped() {
    let tracker = ConnTracker::with_options(TrackerOptions::default().with_shards(1));
    let guard = tracker.group("ingress", 1).open(Peer::Unix);
    let meddler = || {
        let tracker = tracker.clone();
        Arc::new(Meddler {
            tracker,
            woken: AtomicUsize::new(0),
        })
    };
    let mut wait = std::pin::pin!(tracker.wait_empty());
    let last = meddler();
    for waker in [meddler(), meddler(), Arc::clone(&last)] {
        let waker = Waker::from(waker);
        assert_pending!(wait.as_mut().poll(&mut Context::from_waker(&waker)));
    }
    let dropped = meddler();
    assert!(tracker.wait_empty().poll_once(&dropped).is_pending());
    assert_eq!(
        Arc::strong_count(&dropped),
        1,
        "a wait that is dropped is forgotten"
    );
    drop(guard);
    assert_eq!(last.woken.load(Ordering::Relaxed), 1);
    assert_eq!(dropped.woken.load(Ordering::Relaxed), 0);
}

#[test]
fn waits_that_are_dropped_are_forgotten() {
    let tracker = ConnTracker::new();
    let group = tracker.group("ingress", 1);
    let guard = group.open(Peer::Unix);
    let waker = Arc::new(Nothing);
    for few in 0..10_000 {
        assert!(group.wait_empty().poll_once(&waker).is_pending());
        assert!(tracker.wait_empty().poll_once(&waker).is_pending());
        assert!(tracker.wait_at_most(few + 1).poll_once(&waker).is_ready());
    }
    assert_eq!(Arc::strong_count(&waker), 1);
    drop(guard);
}

#[test]
fn a_closer_that_panics_when_it_is_dropped_takes_no_wake_from_a_wait() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new(())); // a panic without a message on stderr
        }
    }
    let tracker = ConnTracker::new();
    let panics = Panics;
    let info = ConnInfo::new(Peer::Unix).with_closer(move || {
        let _ = &panics;
    });
    let guard = tracker.group("ingress", 1).open(info);
    let mut over = spawn(tracker.wait_empty());
    assert_pending!(over.poll());
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(guard))).unwrap_err();
    assert!(over.is_woken());
    assert_ready!(over.poll());
    assert!(tracker.groups().is_empty());
}

/// Of the whole tracker first, so that the panic comes before the group's wait is looked at.
#[test]
fn a_waker_that_panics_takes_no_wake_from_another_wait() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            std::panic::resume_unwind(Box::new(())); // a panic without a message on stderr
        }
    }
    let tracker = ConnTracker::new();
    let group = tracker.group("ingress", 1);
    let guard = group.open(Peer::Unix);
    let mut panicking = Box::pin(tracker.wait_empty());
    let panics = Waker::from(Arc::new(Panics));
    assert_pending!(panicking.as_mut().poll(&mut Context::from_waker(&panics)));
    let (mut all, mut one) = (spawn(tracker.wait_empty()), spawn(group.wait_empty()));
    assert_pending!(all.poll());
    assert_pending!(one.poll());
    drop(guard);
    assert!(all.is_woken() && one.is_woken());
    assert_ready!(all.poll());
    assert_ready!(one.poll());
}

/// A second panic in a drop would end the process.
#[test]
fn a_guard_that_goes_while_its_thread_panics_may_wake_a_waker_that_panics() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            std::panic::resume_unwind(Box::new(())); // a panic without a message on stderr
        }
    }
    let tracker = ConnTracker::new();
    let guard = tracker.group("ingress", 1).open(Peer::Unix);
    let mut panicking = Box::pin(tracker.wait_empty());
    let panics = Waker::from(Arc::new(Panics));
    assert_pending!(panicking.as_mut().poll(&mut Context::from_waker(&panics)));
    let mut other = spawn(tracker.wait_empty());
    assert_pending!(other.poll());
    let unwinding = std::thread::spawn(move || {
        let _guard = guard;
        std::panic::resume_unwind(Box::new("a handler"));
    });
    let payload = unwinding.join().unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"a handler"));
    assert!(other.is_woken());
    assert_ready!(other.poll());
    assert_eq!(tracker.closed(CloseReason::Panicked), 1);
}

/// Drops what it has when it is woken.
struct LetsGo<T>(std::sync::Mutex<Option<T>>);

impl<T: Send + 'static> Wake for LetsGo<T> {
    fn wake(self: Arc<Self>) {
        let kept = self.0.lock().ok().and_then(|mut kept| kept.take());
        drop(kept);
    }
}

#[test]
fn the_last_guard_and_the_last_handle_may_go_in_a_waker() {
    for _ in 0..3 {
        let tracker = ConnTracker::new();
        let (one, two) = (tracker.group("one", 1), tracker.group("two", 1));
        let (first, second) = (one.open(Peer::Unix), two.open(Peer::Unix));
        let mut of_one = Box::pin(one.wait_empty());
        let lets_go = Waker::from(Arc::new(LetsGo(Some(second).into())));
        assert_pending!(of_one.as_mut().poll(&mut Context::from_waker(&lets_go)));
        let mut of_two = spawn(two.wait_empty());
        assert_pending!(of_two.poll());
        drop(first);
        assert!(of_two.is_woken() && tracker.is_empty());
        assert_ready!(of_two.poll());

        let third = two.open(Peer::Unix);
        let mut of_all = Box::pin(tracker.wait_empty());
        let handles = (tracker, one, two, of_one, of_two);
        let lets_go = Waker::from(Arc::new(LetsGo(Some(handles).into())));
        assert_pending!(of_all.as_mut().poll(&mut Context::from_waker(&lets_go)));
        drop(third);
        assert_ready!(
            of_all
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
        );
    }
    assert!(ConnTracker::new().is_empty());
}

/// What a dropped wait was content with is no longer looked for, and the waits that stay are.
#[test]
fn a_patient_wait_is_released_after_a_content_one_has_gone() {
    let tracker = ConnTracker::with_options(TrackerOptions::default().with_shards(1));
    let group = tracker.group("ingress", 1);
    let mut open: Vec<_> = (0..20).map(|_| group.open(Peer::Unix)).collect();
    let mut none = spawn(tracker.wait_empty());
    assert_pending!(none.poll());
    let mut content = spawn(tracker.wait_at_most(10));
    assert_pending!(content.poll());
    drop(content);
    let mut three = spawn(tracker.wait_at_most(3));
    assert_pending!(three.poll());
    while open.pop().is_some() {
        assert_eq!(three.is_woken(), open.len() <= 3, "{} left", open.len());
        assert_eq!(none.is_woken(), open.is_empty());
    }
    assert_ready!(three.poll());
    assert_ready!(none.poll());
}

/// No number is too large to wait for.
#[test]
fn a_wait_for_any_number_is_over_at_once() {
    let tracker = ConnTracker::new();
    let _guard = tracker.group("ingress", 1).open(Peer::Unix);
    for few in [1, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
        assert_ready!(spawn(tracker.wait_at_most(few)).poll());
    }
}

struct Nothing;

impl Wake for Nothing {
    fn wake(self: Arc<Self>) {}
}

trait PollOnce: Future + Sized {
    /// Polls once, and drops the future.
    fn poll_once(self, waker: &Arc<impl Wake + Send + Sync + 'static>) -> Poll<Self::Output> {
        let waker = Waker::from(Arc::clone(waker));
        std::pin::pin!(self).poll(&mut Context::from_waker(&waker))
    }

    fn now_or_never(self) {
        std::pin::pin!(self)
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready();
    }
}

impl<F: Future> PollOnce for F {}
