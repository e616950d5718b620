//! A drain of inbound listeners, and how it widens.

use std::time::{Duration, Instant};

use drain_signal::schedule::Place;
use drain_signal::{
    DrainDecision, DrainDirection, DrainEvent, DrainReason, DrainSignal, DrainState, DrainedBy,
    Draining, Phase, WatchOptions, channel,
};
use tokio_test::{assert_pending, assert_ready, task};

const T: Duration = Duration::from_secs(60);

#[expect(clippy::disallowed_methods, reason = "any instant will do as a start")]
fn instant() -> Instant {
    Instant::now()
}

fn outbound(place: u16) -> WatchOptions {
    inbound(place).with_drained_by(DrainedBy::Full)
}

fn inbound(place: u16) -> WatchOptions {
    WatchOptions::default().with_place(Place::new(place))
}

fn narrow(trigger: drain_signal::DrainTrigger) -> (Draining, DrainSignal, Instant) {
    let start = instant();
    let event = DrainEvent::new(start, T, DrainReason::Admin)
        .with_end(drain_signal::DrainEnd::Leave)
        .with_direction(DrainDirection::InboundOnly);
    let draining = trigger.start(event.with_end(drain_signal::DrainEnd::Close));
    let signal = DrainSignal::clone(&draining);
    (draining, signal, start)
}

#[test]
fn a_narrower_drain_does_not_concern_a_wider_scope() {
    let (trigger, signal) = channel();
    let (here, there) = (
        signal.watch_with(inbound(0)).unwrap(),
        signal.watch_with(outbound(0)).unwrap(),
    );
    let mut waiting = task::spawn(there.signaled());
    assert_pending!(waiting.poll());
    let (draining, _, start) = narrow(trigger);
    draining.advance(start + 2 * T);
    assert!(here.is_draining() && here.leave_if_due());
    assert!(!waiting.is_woken() && !there.is_draining() && !there.leave_if_due());
    assert_eq!(
        (there.phase(), there.event(), there.deadline()),
        (Phase::Open, None, None)
    );
}

#[test]
fn a_narrower_drain_does_not_wait_for_a_wider_scope() {
    let (trigger, signal) = channel();
    let (here, _there) = (
        signal.watch_with(inbound(0)).unwrap(),
        signal.watch_with(outbound(0)).unwrap(),
    );
    let (draining, ..) = narrow(trigger);
    let mut drained = task::spawn(draining.drained());
    assert_pending!(drained.poll());
    drop(here);
    assert!(drained.is_woken());
    assert_ready!(drained.poll());
    assert!(signal.watch_with(inbound(0)).is_err());
    assert!(
        signal.watch_with(outbound(0)).is_ok(),
        "it is not concerned"
    );
}

#[test]
fn widening_tells_the_others_and_leaves_the_told_their_slot() {
    let (trigger, signal) = channel();
    let here = signal.watch_with(inbound(0x4000)).unwrap();
    let (early, late) = (
        signal.watch_with(outbound(0x4000)).unwrap(),
        signal.watch_with(outbound(0xc000)).unwrap(),
    );
    let mut parked = task::spawn(early.signaled());
    assert_pending!(parked.poll());
    let (draining, _, start) = narrow(trigger);
    draining.advance(start + T / 8);
    let narrower = here.event().unwrap();
    assert!(draining.widen());
    assert!(!draining.widen(), "it goes no further");
    let event = early.event().unwrap();
    assert_eq!(event.direction, DrainDirection::All);
    assert_eq!(
        (event.start, event.drain_time, event.reason),
        (narrower.start, narrower.drain_time, narrower.reason)
    );
    assert_eq!(here.phase(), Phase::Signaled);
    draining.advance(start + T / 8);
    assert!(parked.is_woken(), "its slot has passed");
    assert_eq!(late.phase(), Phase::Open);
    draining.advance(start + T / 4);
    assert!(late.leave_if_due());
}

#[test]
fn a_drain_that_was_completed_goes_on_when_it_is_widened_and_somebody_is_left() {
    let (trigger, signal) = channel();
    let there = signal.watch_with(outbound(0)).unwrap();
    let (draining, ..) = narrow(trigger);
    assert!(draining.complete_if_empty());
    assert!(draining.widen());
    assert_eq!(signal.state(), DrainState::Draining);
    let mut drained = task::spawn(draining.drained());
    assert_pending!(drained.poll());
    drop(there);
    assert!(drained.is_woken());
    assert_ready!(drained.poll());
    assert!(signal.watch_with(outbound(0)).is_err());
}

#[test]
fn a_clone_of_a_watcher_keeps_its_scope() {
    let (trigger, signal) = channel();
    let there = signal.watch_with(outbound(0)).unwrap();
    let (clone, handle) = (there.clone(), there.handle());
    drop(there);
    let (draining, _, start) = narrow(trigger);
    draining.advance(start + T);
    assert!(!clone.is_draining() && !handle.is_draining());
    assert_eq!(signal.open_watches(), 1);
    draining.widen();
    assert!(clone.is_draining() && handle.is_draining());
}

#[test]
fn a_drain_in_every_direction_cannot_widen() {
    let (trigger, _signal) = channel();
    let draining = trigger.start(DrainEvent::new(instant(), T, DrainReason::ListenerRemove));
    assert!(!draining.widen());
}
