//! What dropping means: the table on the crate's first page, a test a cell. A dropped handle never
//! means "drain".

use std::cell::RefCell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use drain_signal::{
    DrainDecision, DrainEvent, DrainReason, DrainState, DrainStrategy, DrainWatch, Draining,
    Goodbye, GracefulClose, channel, drive,
};
use tokio_test::{assert_pending, assert_ready, task};

const T: Duration = Duration::from_secs(60);

#[expect(clippy::disallowed_methods, reason = "any instant will do as a start")]
fn event() -> DrainEvent {
    DrainEvent::new(Instant::now(), T, DrainReason::ListenerModify)
        .with_strategy(DrainStrategy::Immediate)
}

fn begun() -> (Draining, DrainWatch, Instant) {
    let (trigger, signal) = channel();
    let watch = signal.watch().expect("not completed");
    let event = event();
    let start = event.start;
    (trigger.start(event), watch, start)
}

#[test]
fn a_trigger_dropped_before_start_drains_nothing_and_watchers_go_on() {
    let (trigger, signal) = channel();
    let watch = signal.watch().unwrap();
    let mut waiting = task::spawn(watch.signaled());
    assert_pending!(waiting.poll());
    drop(trigger);
    assert!(!waiting.is_woken());
    assert_pending!(waiting.poll());
    assert!(!watch.is_draining() && !watch.leave_if_due());
    assert!(signal.watch().is_ok());
}

#[test]
fn a_signal_dropped_leaves_its_watchers_and_its_trigger_alone() {
    let (trigger, signal) = channel();
    let watch = signal.watch().unwrap();
    drop(signal);
    let draining = trigger.start(event());
    assert!(watch.leave_if_due());
    drop(watch);
    assert_ready!(task::spawn(draining.drained()).poll());
}

#[test]
fn a_begun_drain_dropped_stays_begun_and_closes_nothing() {
    let (draining, watch, start) = begun();
    draining.advance(start);
    drop(draining);
    let mut expired = task::spawn(watch.expired());
    assert_pending!(expired.poll());
    assert!(watch.is_draining() && watch.leave_if_due());
    assert_eq!(watch.deadline(), Some(start + T));
}

#[test]
fn a_clone_of_a_begun_drain_dropped_means_nothing_to_the_others() {
    let (draining, watch, start) = begun();
    drop(draining.clone());
    let mut expired = task::spawn(watch.expired());
    assert_pending!(expired.poll());
    draining.advance(start + T);
    assert!(expired.is_woken());
}

#[test]
fn a_watcher_dropped_is_a_connection_gone_and_the_last_clone_counts() {
    let (draining, watch, _) = begun();
    let tunnel = watch.clone();
    let mut drained = task::spawn(draining.drained());
    assert_pending!(drained.poll());
    drop(watch);
    assert!(!drained.is_woken());
    drop(tunnel);
    assert!(drained.is_woken());
    assert_ready!(drained.poll());
}

#[test]
fn a_handle_dropped_means_nothing() {
    let (draining, watch, _) = begun();
    let handle = watch.handle();
    let mut drained = task::spawn(draining.drained());
    assert_pending!(drained.poll());
    drop(handle);
    assert!(!drained.is_woken());
    assert_eq!(draining.open_watches(), 1);
}

#[test]
fn a_handle_outlives_everything_and_goes_on_answering() {
    let (draining, watch, start) = begun();
    let handle = watch.handle();
    drop((watch, draining));
    assert!(handle.is_draining() && handle.leave_if_due());
    assert_eq!(handle.deadline(), Some(start + T));
    assert_ready!(task::spawn(handle.signaled()).poll());
}

#[test]
fn waits_dropped_are_asked_again() {
    let (trigger, signal) = channel();
    let watch = signal.watch().unwrap();
    assert_pending!(task::spawn(watch.signaled()).poll());
    assert_pending!(task::spawn(watch.expired()).poll());
    let event = event();
    let start = event.start;
    let draining = trigger.start(event);
    assert_pending!(task::spawn(draining.drained()).poll());
    draining.advance(start + T);
    assert_ready!(task::spawn(watch.signaled()).poll());
    assert_ready!(task::spawn(watch.expired()).poll());
    drop(watch);
    assert_ready!(task::spawn(draining.drained()).poll());
}

/// Notes when it is dropped, and whether its guard was still held then.
struct Noted<'a>(&'a RefCell<Vec<usize>>, drain_signal::DrainSignal);

impl Future for Noted<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl GracefulClose for Noted<'_> {
    fn start(self: Pin<&mut Self>, _: &Goodbye) {}
    fn finish(self: Pin<&mut Self>) {}
    fn abort(self: Pin<&mut Self>) {}
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.0.borrow_mut().push(self.1.open_watches());
    }
}

#[test]
fn a_driver_dropped_drops_the_connection_and_then_its_guard() {
    let (_trigger, signal) = channel();
    let held = RefCell::new(vec![]);
    drop(drive(Noted(&held, signal.clone()), signal.watch().unwrap()));
    assert_eq!((held.into_inner(), signal.open_watches()), (vec![1], 0));
}

#[test]
fn everything_dropped_leaves_nothing_for_the_next_drain() {
    for _ in 0..3 {
        let (draining, watch, start) = begun();
        let mut expired = task::spawn(watch.expired());
        assert_pending!(expired.poll());
        watch.start_now();
        draining.advance(start);
        draining.complete();
        drop(expired);
        drop((watch, draining));
        let (_trigger, signal) = channel();
        let watch = signal.watch().unwrap();
        assert!(!watch.is_draining() && !watch.leave_if_due());
        assert_eq!(
            (signal.open_watches(), signal.state()),
            (1, DrainState::NotDraining)
        );
        assert_pending!(task::spawn(watch.signaled()).poll());
    }
}

/// A waker that panics, without a message on stderr.
struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        std::panic::resume_unwind(Box::new("woken"));
    }
}

/// A second panic in a drop would end the process.
#[test]
fn a_guard_that_goes_while_its_thread_panics_may_wake_a_waker_that_panics() {
    let (draining, watch, _) = begun();
    let waker = Waker::from(Arc::new(Panics));
    let mut drained = pin!(draining.drained());
    assert!(
        drained
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    let mut other = task::spawn(draining.drained());
    assert!(other.poll().is_pending());
    let unwinding = std::thread::spawn(move || {
        let _watch = watch;
        std::panic::resume_unwind(Box::new("a handler"));
    });
    assert_eq!(
        unwinding.join().unwrap_err().downcast_ref(),
        Some(&"a handler")
    );
    assert!(other.is_woken() && other.poll().is_ready());
}
