//! Watchers of all kinds through drains of all kinds, against a naive model that asks the pure
//! functions anew each time.

use std::time::{Duration, Instant};

use drain_signal::schedule::{Place, push_slot};
use drain_signal::{
    DrainDirection, DrainEnd, DrainEvent, DrainReason, DrainSchedule, DrainStrategy, DrainWatch,
    DrainedBy, Draining, Phase, PhaseWait, WatchOptions, channel,
};
use proptest::prelude::*;
use tokio_test::task;

#[derive(Debug, Clone, Copy)]
enum Step {
    Open {
        place: u16,
        outside: bool,
        timeout_10ms: u16,
    },
    Advance {
        ms: u32,
    },
    BringForward {
        in_ms: u32,
    },
    Widen,
    Drop {
        nth: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<u16>(), any::<bool>(), 0_u16..900)
            .prop_map(|(place, outside, timeout_10ms)| Step::Open { place, outside, timeout_10ms }),
        6 => (0_u32..20_000).prop_map(|ms| Step::Advance { ms }),
        1 => (0_u32..40_000).prop_map(|in_ms| Step::BringForward { in_ms }),
        1 => Just(Step::Widen),
        1 => any::<usize>().prop_map(|nth| Step::Drop { nth }),
    ]
}

fn event(start: Instant) -> impl Strategy<Value = DrainEvent> {
    (1_u64..120_000, any::<[bool; 4]>()).prop_map(move |(ms, [immediate, envoy, narrow, leave])| {
        let event = DrainEvent::new(
            start,
            Duration::from_millis(ms),
            DrainReason::ListenerModify,
        );
        event
            .with_strategy(if immediate {
                DrainStrategy::Immediate
            } else {
                DrainStrategy::Gradual
            })
            .with_schedule(if envoy {
                DrainSchedule::Envoy140
            } else {
                DrainSchedule::FirstQuarter
            })
            .with_direction(if narrow {
                DrainDirection::InboundOnly
            } else {
                DrainDirection::All
            })
            .with_end(if leave {
                DrainEnd::Leave
            } else {
                DrainEnd::Close
            })
    })
}

/// A watcher, and what the model knows of it.
struct Watched {
    watch: PhaseWait<DrainWatch>,
    place: Place,
    outside: bool,
    timeout: Duration,
    opened: Option<Duration>,
    /// The phase at which its waker was last parked; woken when it has moved on.
    parked: Phase,
    task: task::Spawn<()>,
}

impl Watched {
    fn park(&mut self) -> Phase {
        let watch = &mut self.watch;
        let mut after = watch.handle().phase();
        self.task.enter(|cx, _| {
            while let std::task::Poll::Ready(phase) = watch.poll_phase(cx, after) {
                after = phase;
            }
        });
        self.parked = after;
        after
    }

    /// The naive answer, at any instant between `pace` less and plus the width of a place.
    fn may_be(&self, event: &DrainEvent, deadline: Option<Duration>, pace: Duration) -> [Phase; 2] {
        let width = event.drain_time / 4 / 65536 + Duration::from_micros(2);
        [pace.saturating_sub(width), pace + width].map(|slot_pace| {
            if self.outside && event.direction == DrainDirection::InboundOnly {
                return Phase::Open;
            }
            let finish_before = event.finish_before();
            match deadline {
                Some(deadline) if pace >= deadline + event.close_steps.drop_after => {
                    return Phase::Overdue;
                }
                Some(deadline) if pace >= deadline => return Phase::Expired,
                Some(deadline) if pace >= deadline.saturating_sub(finish_before) => {
                    return Phase::Finishing;
                }
                _ => {}
            }
            match push_slot(event, self.place, self.opened, self.timeout) {
                Some(slot) if slot <= slot_pace => Phase::Signaled,
                _ => Phase::Open,
            }
        })
    }
}

proptest! {
    #[test]
    fn watchers_are_where_the_pure_functions_say_and_woken_when_they_move(
        event in event(instant()), before in 0_usize..20, steps in prop::collection::vec(step(), 1..40)
    ) {
        let (trigger, signal) = channel();
        let start = event.start;
        let mut watched: Vec<Watched> = vec![];
        let open = |watched: &mut Vec<Watched>, options: WatchOptions, opened: Option<Duration>| {
            if let Ok(watch) = signal.watch_with(options) {
                watched.push(Watched {
                    watch: PhaseWait::new(watch),
                    place: options.place.unwrap_or(Place::new(0)),
                    outside: options.drained_by == DrainedBy::Full,
                    timeout: options.drain_timeout,
                    opened,
                    parked: Phase::Open,
                    task: task::spawn(()),
                });
            }
        };
        for nth in 0..before {
            let options = WatchOptions::default().with_place(Place::new((nth * 3000) as u16));
            open(&mut watched, options, None);
        }
        watched.iter_mut().for_each(|one| { one.park(); });
        let draining = trigger.start(event.clone());
        let mut event = event;
        let mut deadline = event.deadline().map(|at| at - start);
        let mut pace = Duration::ZERO;
        for step in steps {
            match step {
                Step::Open { place, outside, timeout_10ms } => {
                    let by = if outside { DrainedBy::Full } else { DrainedBy::Any };
                    let options = WatchOptions::default()
                        .with_place(Place::new(place))
                        .with_drained_by(by)
                        .with_drain_timeout(Duration::from_millis(10 * u64::from(timeout_10ms)));
                    // Whom the drain does not concern has been there before it.
                    let concerned = !(outside && event.direction == DrainDirection::InboundOnly);
                    open(&mut watched, options, concerned.then_some(pace));
                    if let Some(one) = watched.last_mut() {
                        one.park();
                    }
                }
                Step::Advance { ms } => pace += Duration::from_millis(ms.into()),
                Step::BringForward { in_ms } => {
                    let at = pace + Duration::from_millis(in_ms.into());
                    draining.bring_forward(start + at);
                    deadline = Some(deadline.map_or(at, |deadline| deadline.min(at)));
                }
                Step::Widen => {
                    draining.widen();
                    event = event.with_direction(DrainDirection::All);
                }
                Step::Drop { nth } => {
                    if !watched.is_empty() {
                        drop(watched.swap_remove(nth % watched.len()));
                    }
                }
            }
            advance(&draining, start + pace);
            for one in &mut watched {
                let phase = one.watch.handle().phase();
                let expected = one.may_be(&event, deadline, pace);
                prop_assert!(expected.contains(&phase), "{phase:?}, not {expected:?} at {pace:?} of {event:?}");
                prop_assert_eq!(one.task.is_woken(), phase > one.parked, "at {:?}", pace);
                prop_assert!(phase >= one.parked, "it moved back");
                if one.task.is_woken() {
                    one.park();
                }
            }
            prop_assert_eq!(signal.open_watches(), watched.len());
        }
    }
}

fn advance(draining: &Draining, now: Instant) {
    while draining.advance(now).more {}
}

#[expect(clippy::disallowed_methods, reason = "any instant will do as a start")]
fn instant() -> Instant {
    Instant::now()
}
