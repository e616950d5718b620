//! Facts about the signal, proved through its public face. Time is whatever the test says it is.

use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use drain_signal::schedule::Place;
use drain_signal::{
    DrainDecision, DrainEnd, DrainEvent, DrainReason, DrainSchedule, DrainSignal, DrainState,
    DrainStrategy, DrainTrigger, DrainWatch, Phase, WatchOptions, channel,
};
use tokio_test::{assert_pending, assert_ready, task};

const T: Duration = Duration::from_secs(60);

#[expect(clippy::disallowed_methods, reason = "any instant will do as a start")]
fn instant() -> Instant {
    Instant::now()
}

fn event(start: Instant) -> DrainEvent {
    DrainEvent::new(start, T, DrainReason::ListenerModify)
}

fn watch_at(signal: &DrainSignal, place: u16) -> DrainWatch {
    signal
        .watch_with(WatchOptions::default().with_place(Place::new(place)))
        .expect("the drain is not completed")
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        std::panic::resume_unwind(Box::new(())); // a panic without a message on stderr
    }
}

#[test]
fn a_watcher_is_woken_at_its_slot_and_not_before() {
    let (trigger, signal) = channel();
    let watch = watch_at(&signal, 0x8000);
    let mut waiting = task::spawn(watch.signaled());
    assert_pending!(waiting.poll());
    let start = instant();
    let draining = trigger.start(event(start));
    draining.advance(start + Duration::from_millis(7_499));
    assert!(!waiting.is_woken());
    assert!(!watch.leave_if_due());
    draining.advance(start + Duration::from_millis(7_500));
    assert!(waiting.is_woken());
    assert!(watch.leave_if_due());
    let goodbye = assert_ready!(waiting.poll());
    assert_eq!(goodbye.deadline, Some(start + T));
}

#[test]
fn slots_come_in_order_of_place() {
    let (trigger, signal) = channel();
    let watches: Vec<_> = (0..64).map(|n| watch_at(&signal, n * 1024)).collect();
    let mut waiting: Vec<_> = watches
        .iter()
        .map(|watch| task::spawn(watch.signaled()))
        .collect();
    waiting
        .iter_mut()
        .for_each(|waiting| assert_pending!(waiting.poll()));
    let start = instant();
    let draining = trigger.start(event(start));
    for ms in (0..15_000).step_by(100) {
        while draining.advance(start + Duration::from_millis(ms)).more {}
        let woken: Vec<_> = waiting.iter().map(task::Spawn::is_woken).collect();
        let first_asleep = woken.iter().position(|woken| !woken).unwrap_or(64);
        assert!(
            woken[first_asleep..].iter().all(|woken| !woken),
            "at {ms} ms: {woken:?}"
        );
    }
    assert!(waiting.iter().all(task::Spawn::is_woken));
}

#[test]
fn a_batch_wakes_at_most_32_and_says_that_more_are_due() {
    let (trigger, signal) = channel();
    let watches: Vec<_> = (0..100).map(|_| signal.watch().unwrap()).collect();
    let mut waiting: Vec<_> = watches
        .iter()
        .map(|watch| task::spawn(watch.signaled()))
        .collect();
    waiting
        .iter_mut()
        .for_each(|waiting| assert_pending!(waiting.poll()));
    let start = instant();
    let draining = trigger.start(event(start).with_strategy(DrainStrategy::Immediate));
    let mut signaled = 0;
    for expected in [32, 64, 96, 100] {
        let more = draining.advance(start).more;
        signaled = waiting.iter().filter(|waiting| waiting.is_woken()).count();
        assert_eq!((signaled, more), (expected, expected < 100));
    }
    assert_eq!(signaled, 100);
}

#[test]
fn a_waker_that_panics_keeps_no_other_connection_from_its_slot() {
    let (trigger, signal) = channel();
    let watches: Vec<_> = (0..8).map(|_| signal.watch().unwrap()).collect();
    let mut panicking = Box::pin(watches[0].signaled());
    let panics = Waker::from(Arc::new(Panics));
    assert_pending!(panicking.as_mut().poll(&mut Context::from_waker(&panics)));
    let mut waiting: Vec<_> = watches[1..]
        .iter()
        .map(|watch| task::spawn(watch.signaled()))
        .collect();
    waiting
        .iter_mut()
        .for_each(|waiting| assert_pending!(waiting.poll()));
    let start = instant();
    let draining = trigger.start(event(start).with_strategy(DrainStrategy::Immediate));
    draining.advance(start);
    assert!(waiting.iter().all(task::Spawn::is_woken));
}

#[test]
fn a_waker_that_panics_keeps_no_other_wait_of_a_forced_connection() {
    let (_trigger, signal) = channel();
    let watch = signal.watch().unwrap();
    let panics = Waker::from(Arc::new(Panics));
    let mut waits = [(); 3].map(|()| task::spawn(watch.signaled()));
    assert_pending!(waits[0].poll());
    let mut panicking = Box::pin(watch.signaled());
    assert_pending!(panicking.as_mut().poll(&mut Context::from_waker(&panics)));
    assert_pending!(waits[1].poll());
    assert_pending!(waits[2].poll());
    assert!(watch.force());
    assert!(waits.iter().all(task::Spawn::is_woken));
}

#[test]
fn the_next_call_is_asked_for_at_the_next_slot() {
    let (trigger, signal) = channel();
    let watch = watch_at(&signal, 0x8000);
    let mut waiting = task::spawn(watch.signaled());
    assert_pending!(waiting.poll());
    let start = instant();
    let draining = trigger.start(event(start));
    let mut now = start;
    let mut calls = 0;
    while !waiting.is_woken() {
        now = draining.advance(now).next.unwrap();
        calls += 1;
        assert!(calls <= 300, "no polling");
    }
    assert!(
        now >= start + Duration::from_millis(7_500) && now < start + Duration::from_millis(7_600)
    );
}

#[test]
fn a_connection_that_opens_under_an_empty_drain_leaves_at_its_slot() {
    let (trigger, signal) = channel();
    let start = instant();
    let draining = trigger.start(event(start));
    let mut next = draining.advance(start).next;
    let watch = watch_at(&signal, 0x8000);
    while let Some(now) = next.filter(|&now| now <= start + T / 4) {
        next = draining.advance(now).next;
    }
    assert!(watch.leave_if_due(), "it waits for nothing and only asks");
}

#[test]
fn the_close_steps_come_step_by_step() {
    let (trigger, signal) = channel();
    let watch = watch_at(&signal, 0);
    let start = instant();
    let draining = trigger.start(event(start));
    let mut phases = vec![];
    for ms in [0, 58_999, 59_000, 59_999, 60_000, 60_249, 60_250] {
        draining.advance(start + Duration::from_millis(ms));
        phases.push(watch.phase());
    }
    use Phase::{Expired, Finishing, Overdue, Signaled};
    assert_eq!(
        phases,
        [
            Signaled, Signaled, Finishing, Finishing, Expired, Expired, Overdue
        ]
    );
}

#[test]
fn a_deadline_comes_nearer_and_never_moves_away() {
    let (trigger, signal) = channel();
    let watch = signal.watch().unwrap();
    let mut waiting = task::spawn(watch.expired());
    assert_pending!(waiting.poll());
    let start = instant();
    let draining = trigger.start(event(start));
    draining.advance(start);
    draining.bring_forward(start + Duration::from_secs(5));
    draining.bring_forward(start + Duration::from_secs(50));
    assert_eq!(watch.deadline(), Some(start + Duration::from_secs(5)));
    draining.advance(start + Duration::from_secs(5));
    assert!(waiting.is_woken());
    assert_ready!(waiting.poll());
}

#[test]
fn an_operators_drain_has_no_deadline() {
    let (trigger, signal) = channel();
    let watch = signal.watch().unwrap();
    let start = instant();
    let draining =
        trigger.start(DrainEvent::new(start, T, DrainReason::Admin).with_end(DrainEnd::Leave));
    draining.advance(start + 10 * T);
    assert_eq!((watch.deadline(), watch.phase()), (None, Phase::Signaled));
    assert_eq!(draining.event().unwrap().end, DrainEnd::Leave);
}

#[test]
fn a_connection_opened_after_the_window_is_told_with_its_first_response_only() {
    let (trigger, signal) = channel();
    let start = instant();
    let draining = trigger.start(event(start));
    draining.advance(start + Duration::from_secs(20));
    let late = signal.watch().unwrap();
    let mut waiting = task::spawn(late.signaled());
    assert_pending!(waiting.poll());
    draining.advance(start + Duration::from_secs(30));
    assert_pending!(waiting.poll());
    assert!(late.leave_if_due());
    assert!(waiting.is_woken(), "the answer starts the goodbye too");
    assert_ready!(waiting.poll());
}

#[test]
fn every_response_leaves_near_a_deadline_that_came_forward_before_envoys_ramp_was_over() {
    let (trigger, signal) = channel();
    let watch = signal.watch().unwrap();
    let start = instant();
    let draining = trigger.start(event(start).with_schedule(DrainSchedule::Envoy140));
    draining.bring_forward(start + T / 10);
    draining.advance(start + T / 10 - Duration::from_secs(1));
    assert_eq!(watch.phase(), Phase::Finishing);
    assert!((0..100).all(|_| watch.is_due()));
}

#[test]
fn envoys_ramp_is_flat_in_the_first_second_and_certain_from_half_time() {
    let (trigger, signal) = channel();
    let start = instant();
    let draining = trigger.start(event(start).with_schedule(DrainSchedule::Envoy140));
    let signaled = |at| {
        draining.advance(start + Duration::from_millis(at));
        (0..2_000)
            .filter(|_| signal.watch().unwrap().leave_if_due())
            .count()
    };
    assert_eq!(signaled(950), 0);
    let half_way = signaled(15_500);
    assert!(
        (900..1_100).contains(&half_way),
        "{half_way} of 2000 is not about half"
    );
    assert_eq!(signaled(30_100), 2_000);
}

#[test]
fn an_immediate_drain_leaves_no_response_to_chance() {
    for schedule in [DrainSchedule::FirstQuarter, DrainSchedule::Envoy140] {
        let (trigger, signal) = channel();
        let watches: Vec<_> = (0..100).map(|_| signal.watch().unwrap()).collect();
        let event = event(instant()).with_schedule(schedule);
        let _draining = trigger.start(event.with_strategy(DrainStrategy::Immediate));
        assert!(watches.iter().all(DrainDecision::is_due), "{schedule:?}");
        assert!(signal.watch().unwrap().leave_if_due());
    }
}

#[test]
fn a_look_changes_nothing_and_the_act_is_seen_by_every_handle() {
    let (trigger, signal) = channel();
    let watch = signal.watch().unwrap();
    let handle = watch.handle();
    let draining = trigger.start(event(instant()).with_strategy(DrainStrategy::Immediate));
    let decisions: [&dyn DrainDecision; 4] = [&watch, &handle, &&watch, &Arc::new(&handle)];
    for decision in decisions {
        assert!(decision.is_due() && decision.progress().is_some());
        assert!(draining.event().is_some() && watch.deadline().is_some());
        assert!(!watch.is_started() && !handle.is_started());
    }
    assert!(watch.leave_if_due());
    assert!(handle.is_started() && !handle.start_now());
}

#[test]
fn start_now_and_force_reach_every_handle_of_one_connection_and_no_other() {
    let (_trigger, signal) = channel();
    let (watch, other) = (signal.watch().unwrap(), signal.watch().unwrap());
    let mut parked_before = task::spawn(watch.signaled());
    assert_pending!(parked_before.poll());
    let tunnel = watch.clone();
    let mut tunnel_forced = task::spawn(tunnel.expired());
    assert_pending!(tunnel_forced.poll());
    assert_pending!(parked_before.poll());
    assert!(watch.handle().start_now());
    assert!(!watch.start_now(), "only the first says so");
    assert!(parked_before.is_woken());
    assert_ready!(parked_before.poll());
    assert_pending!(tunnel_forced.poll());
    watch.handle().force();
    assert!(tunnel_forced.is_woken());
    assert_ready!(tunnel_forced.poll());
    assert_eq!((other.phase(), other.is_forced()), (Phase::Open, false));
}

#[test]
fn drained_resolves_when_the_last_guard_is_gone() {
    let (trigger, signal) = channel();
    let (a, b) = (signal.watch().unwrap(), signal.watch().unwrap());
    let tunnel = a.clone();
    let handle = a.handle();
    let mut drained = task::spawn(signal.drained());
    assert_pending!(drained.poll());
    drop(b);
    let draining = trigger.start(event(instant()));
    drop(a);
    assert_pending!(drained.poll());
    drop(tunnel);
    assert!(drained.is_woken(), "a handle does not count");
    assert_ready!(drained.poll());
    assert_eq!(draining.state(), DrainState::Completed);
    assert!(signal.watch().is_err());
    assert!(handle.is_draining());
}

#[test]
fn drained_does_not_resolve_before_the_drain_begins() {
    let (trigger, signal) = channel();
    let mut drained = task::spawn(signal.drained());
    assert_pending!(drained.poll());
    drop(signal.watch().unwrap());
    assert_pending!(drained.poll());
    let draining = trigger.start(event(instant()));
    draining.complete_if_empty();
    assert!(drained.is_woken());
    assert_ready!(drained.poll());
}

#[test]
fn dropping_the_trigger_never_means_drain() {
    let (trigger, signal): (DrainTrigger, _) = channel();
    let watch = signal.watch().unwrap();
    drop(trigger);
    assert!(!watch.is_draining() && !watch.leave_if_due());
    let mut waiting = task::spawn(watch.signaled());
    assert_pending!(waiting.poll());
}

#[test]
fn dropping_the_begun_drain_leaves_it_begun() {
    let (trigger, signal) = channel();
    let watch = watch_at(&signal, 0x8000);
    drop(trigger.start(event(instant())));
    assert!(watch.is_draining());
    assert!(!watch.leave_if_due(), "no slot comes without a driver");
}

#[test]
fn a_wait_may_be_dropped_and_made_anew_at_any_time() {
    let (trigger, signal) = channel();
    let watch = watch_at(&signal, 0x4000);
    for _ in 0..3 {
        let mut waiting = task::spawn(watch.signaled());
        assert_pending!(waiting.poll());
    }
    let start = instant();
    let draining = trigger.start(event(start));
    let mut waiting = task::spawn(watch.signaled());
    assert_pending!(waiting.poll());
    draining.advance(start + T / 4);
    assert!(waiting.is_woken());
    drop(waiting);
    assert_ready!(task::spawn(watch.signaled()).poll());
}

#[test]
fn both_waits_of_one_task_come_at_their_times() {
    let (trigger, signal) = channel();
    let watch = watch_at(&signal, 0);
    let start = instant();
    let mut both = task::spawn(async {
        tokio::select! { biased; _ = watch.expired() => Phase::Expired, _ = watch.signaled() => Phase::Signaled }
    });
    assert_pending!(both.poll());
    let draining = trigger.start(event(start));
    draining.advance(start);
    assert!(both.is_woken());
    assert_eq!(assert_ready!(both.poll()), Phase::Signaled);
}

#[test]
fn whoever_calls_when_asked_tells_everybody_in_the_first_quarter() {
    let (trigger, signal) = channel();
    let watches: Vec<_> = (0..1_000).map(|_| signal.watch().unwrap()).collect();
    let mut waiting: Vec<_> = watches
        .iter()
        .map(|watch| task::spawn(watch.signaled()))
        .collect();
    waiting
        .iter_mut()
        .for_each(|waiting| assert_pending!(waiting.poll()));
    let start = instant();
    let draining = trigger.start(event(start));
    let mut now = start;
    loop {
        let step = draining.advance(now);
        if !step.more {
            now = step.next.unwrap();
        }
        if now > start + T / 4 {
            break;
        }
    }
    let signaled = waiting.iter().filter(|waiting| waiting.is_woken()).count();
    assert_eq!(signaled, 1_000);
}

#[test]
fn progress_is_the_share_of_the_drain_time_that_the_pace_has_reached() {
    for schedule in [DrainSchedule::FirstQuarter, DrainSchedule::Envoy140] {
        let (trigger, signal) = channel();
        let watch = watch_at(&signal, u16::MAX);
        assert_eq!(watch.progress(), None);
        let start = instant();
        let draining = trigger.start(event(start).with_schedule(schedule));
        let shares = [
            (0, 0),
            (1, 4095),
            (4, 16_383),
            (16, u16::MAX),
            (20, u16::MAX),
        ];
        for (sixteenths, share) in shares {
            draining.advance(start + T / 16 * sixteenths);
            let known = (schedule == DrainSchedule::FirstQuarter).then_some(share);
            assert_eq!(watch.progress(), known, "after {sixteenths} sixteenths");
        }
    }
}

#[test]
fn who_leaves_early_is_signaled_and_leaves_with_every_later_response() {
    let (trigger, signal) = channel();
    let watch = watch_at(&signal, u16::MAX);
    let start = instant();
    let draining = trigger.start(event(start));
    draining.advance(start);
    assert!(!watch.leave_if_due());
    assert!(watch.leave_early());
    assert!(watch.leave_if_due());
    assert_ready!(task::spawn(watch.signaled()).poll());
    drop(draining);
}
