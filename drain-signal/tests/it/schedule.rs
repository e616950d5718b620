//! The pure schedule: when whose slot comes, for any value.

use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use drain_signal::schedule::{Place, push_slot};
use drain_signal::{
    DrainEvent, DrainReason, DrainSchedule, DrainStrategy, Phase, PhaseWait, channel,
};
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

#[expect(clippy::disallowed_methods, reason = "any instant will do as a start")]
fn event(drain_time: Duration) -> DrainEvent {
    DrainEvent::new(Instant::now(), drain_time, DrainReason::ListenerModify)
}

#[test]
fn immediate_signals_every_connection_at_the_start() {
    let event = event(60 * SECOND).with_strategy(DrainStrategy::Immediate);
    let slot = push_slot(&event, Place::new(u16::MAX), None, SECOND);
    assert_eq!(slot, Some(Duration::ZERO));
}

#[test]
fn a_connection_opened_after_the_first_quarter_has_no_slot() {
    let event = event(60 * SECOND);
    let opened = Some(20 * SECOND);
    assert_eq!(push_slot(&event, Place::new(0), opened, SECOND), None);
}

#[test]
fn envoys_window_is_empty_when_the_drain_timeout_takes_a_third() {
    let event = event(12 * SECOND).with_schedule(DrainSchedule::Envoy140);
    let slot = |opened, timeout| push_slot(&event, Place::new(0), opened, timeout);
    assert_eq!(slot(None, 4 * SECOND), None);
    assert_eq!(slot(None, 2 * SECOND), Some(8 * SECOND));
    assert_eq!(slot(Some(9 * SECOND), 2 * SECOND), None);
}

#[test]
fn a_drain_moves_on_to_the_end_of_time_without_an_overflow() {
    for schedule in [DrainSchedule::FirstQuarter, DrainSchedule::Envoy140] {
        for drain_time in [Duration::ZERO, SECOND, Duration::MAX] {
            let (trigger, signal) = channel();
            let mut wait = PhaseWait::new(signal.watch().expect("no drain is on"));
            let mut cx = Context::from_waker(Waker::noop());
            assert!(wait.poll_phase(&mut cx, Phase::Open).is_pending());
            let event = event(drain_time).with_schedule(schedule);
            let start = event.start;
            let draining = trigger.start(event);
            for shift in [0, 20, 40, 60, 62] {
                let Some(now) = start.checked_add(Duration::from_secs(1 << shift)) else {
                    continue;
                };
                let step = draining.advance(now);
                assert!(step.more || step.next.is_none_or(|next| next >= now));
            }
        }
    }
}

proptest! {
    #[test]
    fn every_slot_lies_in_the_first_quarter_and_not_before_the_connection(
        drain_ms in 0_u64..1_000_000_000,
        place: u16,
        opened in proptest::option::of(0_u64..1_000_000_000)
    ) {
        let event = event(Duration::from_millis(drain_ms));
        let opened = opened.map(Duration::from_millis);
        if let Some(slot) = push_slot(&event, Place::new(place), opened, SECOND) {
            prop_assert!(slot <= event.drain_time / 4);
            prop_assert!(slot >= opened.unwrap_or_default());
        }
    }

    #[test]
    fn an_earlier_place_is_never_signaled_later(drain_ms in 0_u64..1_000_000_000, a: u16, b: u16) {
        let window = Duration::from_millis(drain_ms);
        prop_assert!(Place::new(a.min(b)).of(window) <= Place::new(a.max(b)).of(window));
    }
}
