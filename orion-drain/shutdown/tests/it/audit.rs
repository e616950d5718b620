//! Times that contradict each other are reported at load, by the field.

use std::time::Duration;

use drain_tree::DrainSettings;
use orion_drain_shutdown::{ShutdownHealth, ShutdownSettings};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn told(settings: &ShutdownSettings) -> Vec<String> {
    let drains = DrainSettings::default();
    settings
        .audit(&drains)
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn the_defaults_and_any_deadline_alone_contradict_nothing() {
    assert_eq!(told(&ShutdownSettings::default()), Vec::<String>::new());
    for deadline in [1, 5, 30, 300] {
        let settings = ShutdownSettings::default().with_deadline(seconds(deadline));
        assert_eq!(told(&settings), Vec::<String>::new());
    }
}

#[test]
fn what_does_not_fit_into_the_deadline_is_told_and_cut() {
    let settings = ShutdownSettings::default()
        .with_deadline(seconds(30))
        .with_lead_time(seconds(20))
        .with_drain_time(seconds(60))
        .with_minimum(seconds(40));
    assert_eq!(
        told(&settings),
        [
            "shutdown.lead_time: 20s is cut to 13.5s, half of what a deadline of 30s leaves: the drain needs the other half",
            "shutdown.drain_time: 60s after a lead time of 13.5s does not fit into a deadline of 30s, of which 3s are kept for the \
             end: it is cut to 13.5s",
            "shutdown.minimum: 40s is longer than the drain time of 13.5s, which ends the process",
        ]
    );
}

#[test]
fn times_that_never_come_are_told() {
    let settings = ShutdownSettings::default().with_drain_time(seconds(20));
    assert_eq!(
        told(&settings.clone().with_health_delay(seconds(20))),
        ["shutdown.health_delay: 20s is never reached: the drain is over after 20s"]
    );
    let unchanged = settings
        .clone()
        .with_health(ShutdownHealth::Unchanged)
        .with_health_delay(seconds(5));
    assert_eq!(
        told(&unchanged),
        ["shutdown.health_delay: health does not change, so nothing waits for it"]
    );
    assert_eq!(
        told(&settings.with_accepting(seconds(16))),
        [
            "shutdown.accepting: who is accepted after 16s of a drain time of 20s has hardly the time to finish"
        ]
    );
    assert_eq!(
        told(&ShutdownSettings::default().with_deadline(Duration::ZERO)),
        ["shutdown.deadline: 0 closes every connection at once"]
    );
}
