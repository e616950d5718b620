//! No value that a user can pass panics or hangs: durations up to the longest, instants before the
//! start and at the end of time, any place.

use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use drain_signal::schedule::{Place, push_slot, signal_window};
use drain_signal::{
    CloseSteps, DrainDecision, DrainDirection, DrainEnd, DrainEvent, DrainReason, DrainSchedule,
    DrainSignal, DrainStrategy, DrainWatch, DrainedBy, Phase, PhaseWait, WatchOptions, channel,
};

const DURATIONS: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_nanos(1),
    Duration::from_secs(60),
    Duration::from_millis(u64::MAX),
    Duration::from_secs(u64::MAX),
    Duration::MAX,
];
const PLACES: [u16; 3] = [0, 0x8000, u16::MAX];

#[expect(clippy::disallowed_methods, reason = "any instant will do as a start")]
fn now() -> Instant {
    Instant::now()
}

/// The last instant there is.
fn end_of_time(now: Instant) -> Instant {
    (0..64).rev().fold(now, |at, bit| {
        at.checked_add(Duration::from_secs(1 << bit)).unwrap_or(at)
    })
}

fn events(start: Instant) -> impl Iterator<Item = DrainEvent> {
    let kinds = [
        (DrainSchedule::FirstQuarter, DrainStrategy::Gradual),
        (DrainSchedule::FirstQuarter, DrainStrategy::Immediate),
        (DrainSchedule::Envoy140, DrainStrategy::Gradual),
        (DrainSchedule::Envoy140, DrainStrategy::Immediate),
    ];
    let ends = [DrainEnd::Close, DrainEnd::Leave];
    DURATIONS.into_iter().flat_map(move |drain_time| {
        DURATIONS.into_iter().flat_map(move |step| {
            kinds.into_iter().flat_map(move |(schedule, strategy)| {
                ends.map(|end| {
                    DrainEvent::new(start, drain_time, DrainReason::Other("any value"))
                        .with_schedule(schedule)
                        .with_strategy(strategy)
                        .with_direction(DrainDirection::InboundOnly)
                        .with_end(end)
                        .with_close_steps(
                            CloseSteps::default()
                                .with_finish_before(step)
                                .with_drop_after(step),
                        )
                })
            })
        })
    })
}

/// Watches of all kinds, each with a wait that has been polled.
fn open(signal: &DrainSignal, waits: &mut Vec<PhaseWait<DrainWatch>>) {
    for drain_timeout in DURATIONS {
        for place in PLACES {
            for by in [DrainedBy::Any, DrainedBy::Full] {
                let options = WatchOptions::default()
                    .with_drain_timeout(drain_timeout)
                    .with_place(Place::new(place))
                    .with_drained_by(by);
                waits.extend(signal.watch_with(options).map(PhaseWait::new));
            }
        }
    }
}

#[test]
fn any_drain_of_any_connections_at_any_instant() {
    let start = now();
    let last = end_of_time(start);
    for event in events(start) {
        let (trigger, signal) = channel();
        let mut waits = vec![];
        open(&signal, &mut waits);
        let draining = trigger.start(event.clone());
        let hour = Duration::from_secs(3600);
        let earlier = start.checked_sub(hour).unwrap_or(start);
        let mut cx = Context::from_waker(Waker::noop());
        for at in [earlier, start, start + hour, last, start] {
            let calls = (0..1000).take_while(|_| draining.advance(at).more).count();
            assert!(calls < 1000, "it never ends at {at:?} of {event:?}");
            open(&signal, &mut waits);
            for wait in &mut waits {
                let mut after = Phase::Open;
                while let std::task::Poll::Ready(phase) = wait.poll_phase(&mut cx, after) {
                    assert!(phase > after, "it goes on at {at:?} of {event:?}");
                    after = phase;
                }
                let watch = wait.handle();
                watch.is_due();
                watch.leave_if_due();
                watch.progress();
                watch.deadline();
            }
            waits.truncate(40);
            draining.bring_forward(last);
            draining.widen();
        }
        draining.bring_forward(earlier);
        draining.advance(start);
        assert_eq!(waits[0].handle().phase(), Phase::Overdue, "{event:?}");
        drop(waits);
        assert!(draining.complete_if_empty());
    }
}

#[test]
fn a_drain_without_a_deadline_has_none_at_the_end_of_time() {
    let start = now();
    for strategy in [DrainStrategy::Gradual, DrainStrategy::Immediate] {
        let (trigger, signal) = channel();
        let watch = signal.watch().unwrap();
        let event = DrainEvent::new(start, Duration::ZERO, DrainReason::Admin)
            .with_end(DrainEnd::Leave)
            .with_strategy(strategy);
        let draining = trigger.start(event);
        while draining.advance(end_of_time(start)).more {}
        assert_eq!(watch.phase(), Phase::Signaled);
    }
}

#[test]
fn any_slot_of_any_drain() {
    for event in events(now()) {
        let window = signal_window(&event);
        for place in PLACES.map(Place::new) {
            assert!(place.of(window) <= window);
            for opened in DURATIONS.into_iter().map(Some).chain([None]) {
                for drain_timeout in DURATIONS {
                    let slot = push_slot(&event, place, opened, drain_timeout);
                    assert!(slot.is_none_or(|slot| slot <= event.drain_time));
                }
            }
        }
        assert!(event.finish_before() <= event.drain_time);
        event.deadline();
    }
}
