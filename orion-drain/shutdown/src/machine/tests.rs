//! The machine against time in steps of any size, wishes in any order, and any number of
//! connections.

use std::time::{Duration, Instant};

use drain_tree::DrainSettings;
use proptest::prelude::*;

use super::{Action, Left, Machine};
use crate::{ShutdownHealth, ShutdownReason, ShutdownSettings, ShutdownState, ShutdownStep};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn start() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn left(connections: usize) -> Left {
    Left {
        is_empty: connections == 0,
        held: connections,
        total: connections,
    }
}

fn actions(machine: &mut Machine, now: Instant) -> Vec<Action> {
    std::iter::from_fn(|| machine.action(now)).collect()
}

fn begun(settings: ShutdownSettings, now: Instant) -> Machine {
    let mut machine = Machine::new(settings, DrainSettings::default());
    machine.begin(ShutdownReason::ProcessShutdown, now);
    machine
}

#[test]
fn every_step_comes_at_its_time() {
    let start = start();
    let settings = ShutdownSettings::default()
        .with_deadline(seconds(30))
        .with_health(ShutdownHealth::Failed)
        .with_health_delay(seconds(2))
        .with_accepting(seconds(3))
        .with_minimum(seconds(4));
    let mut machine = begun(settings, start);
    let mut now = start;
    let mut told = vec![];
    while let Some(next) = machine.next(now) {
        told.push((next.step, next.at - start));
        now = next.at;
        actions(&mut machine, now);
    }
    let expected = [
        (ShutdownStep::Health, 2),
        (ShutdownStep::Drain, 5),
        (ShutdownStep::StopAccepting, 8),
        (ShutdownStep::Minimum, 9),
        (ShutdownStep::Deadline, 27),
    ];
    assert_eq!(told, expected.map(|(step, at)| (step, seconds(at))));
}

#[test]
fn it_is_ready_until_the_health_delay_is_over() {
    let start = start();
    let settings = ShutdownSettings::default()
        .with_lead_time(seconds(5))
        .with_health_delay(seconds(7));
    let mut machine = begun(settings, start);
    actions(&mut machine, start + seconds(6));
    assert!(machine.is_ready() && machine.state() == ShutdownState::Draining);
    assert_eq!(actions(&mut machine, start + seconds(7)), []);
    assert!(!machine.is_ready());
}

#[test]
fn a_drain_that_begins_late_still_ends_by_the_deadline() {
    let start = start();
    let mut machine = begun(
        ShutdownSettings::default().with_deadline(seconds(30)),
        start,
    );
    // The process had no processor for a while.
    let deadline = start + seconds(27);
    assert_eq!(
        actions(&mut machine, start + seconds(20))[0],
        Action::Drain { deadline }
    );
}

#[test]
fn nobody_left_is_a_state_of_its_own_until_the_minimum_is_over() {
    let start = start();
    let mut machine = begun(ShutdownSettings::default(), start);
    actions(&mut machine, start);
    for (connections, state) in [
        (0, ShutdownState::Minimum),
        (1, ShutdownState::Draining),
        (0, ShutdownState::Minimum),
    ] {
        machine.count(left(connections), start + seconds(1));
        assert_eq!(machine.state(), state);
    }
}

#[test]
fn few_enough_connections_end_the_drain_time_after_the_minimum() {
    let start = start();
    let settings = ShutdownSettings::default()
        .with_minimum(seconds(5))
        .with_exit_at_connections(2);
    let mut machine = begun(settings, start);
    actions(&mut machine, start);
    machine.count(left(2), start + seconds(4));
    machine.count(left(3), start + seconds(6));
    let stop = Action::StopAccepting;
    assert_eq!(actions(&mut machine, start + seconds(6)), [stop]);
    let now = start + seconds(7);
    machine.count(left(2), now);
    assert_eq!(actions(&mut machine, now), [Action::BringForward(now)]);
}

#[test]
fn a_replaced_process_that_is_asked_to_end_gets_the_nearer_deadline_once() {
    let start = start();
    let settings = ShutdownSettings::default().with_drain_time(seconds(20));
    let mut machine = Machine::new(settings, DrainSettings::default());
    machine.begin(ShutdownReason::HotRestart, start);
    let deadline = start + seconds(600);
    assert_eq!(
        actions(&mut machine, start),
        [Action::Drain { deadline }, Action::StopAccepting]
    );
    let now = start + seconds(10);
    machine.begin(ShutdownReason::ProcessShutdown, now);
    let nearer = Action::BringForward(now + seconds(20));
    assert_eq!(actions(&mut machine, now), [nearer]);
    let later = now + seconds(1);
    machine.begin(ShutdownReason::ProcessShutdown, later);
    assert_eq!(actions(&mut machine, later), []);
    assert_ne!(machine.state(), ShutdownState::Done);
    machine.end(later);
    machine.begin(ShutdownReason::ProcessShutdown, later);
    assert_eq!(machine.state(), ShutdownState::Done);
}

#[test]
fn a_process_that_is_replaced_in_its_lead_time_drains_at_once() {
    let start = start();
    let mut machine = begun(
        ShutdownSettings::default().with_lead_time(seconds(60)),
        start,
    );
    actions(&mut machine, start);
    let now = start + seconds(1);
    machine.begin(ShutdownReason::HotRestart, now);
    let deadline = now + seconds(600);
    assert_eq!(
        actions(&mut machine, now),
        [Action::Drain { deadline }, Action::StopAccepting]
    );
}

/// What happens to a process.
#[derive(Debug, Clone)]
enum Event {
    Time(Duration),
    Connections(usize),
    Begin(ShutdownReason),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => (0_u64..20_000).prop_map(|millis| Event::Time(Duration::from_millis(millis))),
        3 => (0_usize..4).prop_map(Event::Connections),
        1 => prop_oneof![Just(ShutdownReason::ProcessShutdown), Just(ShutdownReason::HotRestart)].prop_map(Event::Begin),
    ];
    prop::collection::vec(event, 0..40)
}

fn millis() -> impl Strategy<Value = Option<Duration>> {
    prop::option::of((0_u64..60_000).prop_map(Duration::from_millis))
}

fn settings() -> impl Strategy<Value = ShutdownSettings> {
    let health = prop_oneof![
        Just(ShutdownHealth::Unchanged),
        Just(ShutdownHealth::NotReady),
        Just(ShutdownHealth::Failed)
    ];
    let times = (millis(), millis(), millis(), millis(), millis());
    (times, health, 0_u64..30_000, 0_usize..3).prop_map(|(times, health, delay, exit)| {
        ShutdownSettings {
            deadline: times.0,
            lead_time: times.1,
            drain_time: times.2,
            minimum: times.3,
            accepting: times.4,
            health,
            health_delay: Duration::from_millis(delay),
            exit_at_connections: exit,
        }
    })
}

proptest! {
    /// States go on and not back, each action comes once, nothing that is due is left, and the
    /// deadline only comes nearer.
    #[test]
    fn whatever_happens_it_goes_on_towards_its_end(settings in settings(), events in events()) {
        let start = start();
        let mut now = start;
        let mut machine = Machine::new(settings.clone(), DrainSettings::default());
        let (mut health, mut drain, mut stop) = (0, 0, 0);
        let mut deadline = None;
        let mut first = None;
        for event in events {
            let before = machine.state();
            match event {
                Event::Time(time) => now += time,
                Event::Connections(connections) => machine.count(left(connections), now),
                Event::Begin(reason) => {
                    first = first.or(Some(reason));
                    machine.begin(reason, now);
                }
            }
            for action in actions(&mut machine, now) {
                match action {
                    Action::FailHealth => health += 1,
                    Action::Drain { deadline: until } => {
                        drain += 1;
                        deadline = Some(until);
                    }
                    Action::StopAccepting => {
                        stop += 1;
                        prop_assert!(drain == 1, "sockets close in the drain, not before");
                    }
                    Action::BringForward(until) => {
                        prop_assert!(deadline.is_some_and(|deadline| until < deadline));
                        deadline = Some(until);
                    }
                }
            }
            prop_assert!(health <= 1 && drain <= 1 && stop <= 1);
            let after = machine.state();
            let is_back = (before, after) == (ShutdownState::Minimum, ShutdownState::Draining);
            prop_assert!(after >= before || is_back, "{before:?} -> {after:?}");
            if let Some(next) = machine.next(now) {
                prop_assert!(next.at > now);
            }
            // What is read is what the drain got.
            let progress = machine.progress(now, 0);
            if let (Some(told), true) = (deadline, after != ShutdownState::Done) {
                prop_assert_eq!(progress.deadline, Some(told));
            }
            // Whichever reason came first: the kill comes after the deadline, unless a replaced
            // process had its own.
            if let (Some(limit), Some(begun), Some(ShutdownReason::ProcessShutdown)) = (settings.deadline, machine.begun(), first) {
                prop_assert!(progress.deadline <= Some(begun + limit));
            }
        }
    }
}
