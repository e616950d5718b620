//! The driver takes every step once, in order, and ends what does not end itself.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use drain_signal::{
    CloseCause, Closed, DrainEvent, DrainReason, Goodbye, GracefulClose, channel, drive, drive_held,
};
use tokio_test::{assert_pending, assert_ready, task};

const T: Duration = Duration::from_secs(60);

/// Writes down what it is asked, and ends after the named step.
struct Scripted<'a> {
    asked: &'a RefCell<Vec<&'static str>>,
    ends_after: &'static str,
}

impl Future for Scripted<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.asked.borrow().last() == Some(&self.ends_after) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl GracefulClose for Scripted<'_> {
    fn start(self: Pin<&mut Self>, _: &Goodbye) {
        self.asked.borrow_mut().push("start");
    }

    fn finish(self: Pin<&mut Self>) {
        self.asked.borrow_mut().push("finish");
    }

    fn abort(self: Pin<&mut Self>) {
        self.asked.borrow_mut().push("abort");
    }
}

impl Drop for Scripted<'_> {
    fn drop(&mut self) {
        self.asked.borrow_mut().push("dropped");
    }
}

#[expect(clippy::disallowed_methods, reason = "any instant will do as a start")]
fn instant() -> Instant {
    Instant::now()
}

/// Runs a connection that ends after `ends_after` through a whole drain; what it was asked, and how
/// it closed.
fn run(ends_after: &'static str) -> (Vec<&'static str>, CloseCause, bool) {
    let asked = RefCell::new(vec![]);
    let (trigger, signal) = channel();
    let mut driven = task::spawn(drive(
        Scripted {
            asked: &asked,
            ends_after,
        },
        signal.watch().expect("not completed"),
    ));
    assert_pending!(driven.poll());
    let start = instant();
    let draining = trigger.start(DrainEvent::new(start, T, DrainReason::ListenerModify));
    for ms in [15_000, 59_000, 60_000, 60_250] {
        draining.advance(start + Duration::from_millis(ms));
        if !driven.is_woken() {
            continue;
        }
        if let Poll::Ready(closed) = driven.poll() {
            drop(driven);
            assert_eq!(signal.open_watches(), 0);
            return (asked.into_inner(), closed.cause, closed.output.is_some());
        }
    }
    panic!("it never ended: {asked:?}");
}

#[test]
fn a_connection_that_leaves_when_told_is_drained() {
    assert_eq!(
        run("start"),
        (vec!["start", "dropped"], CloseCause::Drained, true)
    );
}

#[test]
fn a_connection_that_needs_the_last_word_is_finished() {
    assert_eq!(
        run("finish"),
        (
            vec!["start", "finish", "dropped"],
            CloseCause::Finished,
            true
        )
    );
}

#[test]
fn a_connection_that_must_be_cut_is_aborted() {
    assert_eq!(
        run("abort"),
        (
            vec!["start", "finish", "abort", "dropped"],
            CloseCause::Aborted,
            true
        )
    );
}

#[test]
fn a_connection_that_does_not_even_abort_is_dropped() {
    assert_eq!(
        run("never"),
        (
            vec!["start", "finish", "abort", "dropped"],
            CloseCause::Overdue,
            false
        )
    );
}

#[test]
fn force_takes_all_steps_at_once_and_drops() {
    let asked = RefCell::new(vec![]);
    let (_trigger, signal) = channel();
    let watch = signal.watch().unwrap();
    let closer = watch.handle();
    let mut driven = task::spawn(drive(
        Scripted {
            asked: &asked,
            ends_after: "never",
        },
        watch,
    ));
    assert_pending!(driven.poll());
    closer.force();
    assert!(driven.is_woken());
    let closed = last_turns(&mut driven);
    assert_eq!((closed.cause, closed.output), (CloseCause::Forced, None));
    assert_eq!(*asked.borrow(), ["start", "finish", "abort", "dropped"]);
    assert_eq!(
        signal.open_watches(),
        0,
        "the socket is gone, and so is the guard"
    );
}

/// Polls a forced connection as often as it asks to be, and not for ever.
fn last_turns<C: GracefulClose>(
    driven: &mut task::Spawn<drain_signal::Drive<C>>,
) -> Closed<C::Output> {
    for _ in 0..16 {
        if let Poll::Ready(closed) = driven.poll() {
            return closed;
        }
        assert!(driven.is_woken(), "it waits for no other task");
    }
    panic!("it goes on for ever");
}

/// Has something to say in its abort that takes a few turns.
#[derive(Default)]
struct Winding {
    aborted: bool,
    turns: u32,
}

impl Future for Winding {
    type Output = &'static str;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<&'static str> {
        self.turns += u32::from(self.aborted);
        if self.turns > 3 {
            Poll::Ready("said")
        } else {
            Poll::Pending
        }
    }
}

impl GracefulClose for Winding {
    fn start(self: Pin<&mut Self>, _: &Goodbye) {}

    fn finish(self: Pin<&mut Self>) {}

    fn abort(mut self: Pin<&mut Self>) {
        self.aborted = true;
    }
}

#[test]
fn a_forced_connection_may_say_its_last_word() {
    let (_trigger, signal) = channel();
    let watch = signal.watch().unwrap();
    watch.force();
    let mut driven = task::spawn(drive(Winding::default(), watch));
    let closed = last_turns(&mut driven);
    assert_eq!(
        (closed.cause, closed.output),
        (CloseCause::Forced, Some("said"))
    );
}

#[test]
fn a_connection_that_is_never_told_ends_by_itself() {
    let (_trigger, signal) = channel();
    let asked = RefCell::new(vec!["already over"]);
    let connection = Scripted {
        asked: &asked,
        ends_after: "already over",
    };
    let closed = assert_ready!(task::spawn(drive(connection, signal.watch().unwrap())).poll());
    assert_eq!(closed.cause, CloseCause::BeforeDrain);
}

#[test]
fn dropping_the_driver_drops_the_connection_before_its_guard() {
    let (_trigger, signal) = channel();
    let asked = RefCell::new(vec![]);
    let driven = drive(
        Scripted {
            asked: &asked,
            ends_after: "never",
        },
        signal.watch().unwrap(),
    );
    drop(driven);
    assert_eq!(
        (asked.into_inner(), signal.open_watches()),
        (vec!["dropped"], 0)
    );
}

#[test]
fn a_connection_whose_guard_is_held_elsewhere_is_counted_once_and_takes_the_same_steps() {
    let asked = RefCell::new(vec![]);
    let (trigger, signal) = channel();
    let guard = signal.watch().expect("not completed");
    let scripted = Scripted {
        asked: &asked,
        ends_after: "finish",
    };
    let mut driven = task::spawn(drive_held(scripted, guard.handle()));
    assert_pending!(driven.poll());
    assert_eq!(signal.open_watches(), 1);
    let start = instant();
    let draining = trigger.start(DrainEvent::new(start, T, DrainReason::ListenerModify));
    draining.advance(start + Duration::from_secs(59));
    let closed = assert_ready!(driven.poll());
    assert_eq!(closed.cause, CloseCause::Finished);
    assert_eq!(*asked.borrow(), ["start", "finish", "dropped"]);
    assert_eq!(
        signal.open_watches(),
        1,
        "it is gone when the guard is dropped"
    );
    drop(guard);
    assert_eq!(signal.open_watches(), 0);
}
