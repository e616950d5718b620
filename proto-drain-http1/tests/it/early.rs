//! Which connections leave before their slots: those that speak rarely.
#![cfg(feature = "hyper")]

use crate::rig;

use std::time::Duration;

use drain_signal::schedule::Place;
use drain_signal::{DrainDecision, DrainEvent, DrainReason, DrainSchedule, WatchOptions};
use hyper::service::service_fn;
use proto_drain_http1::{DrainService, Exchanges, Leaving};
use tokio::time::Instant;

/// What a connection with the last slot of all says at these sixteenths of its drain.
fn said_at(schedule: DrainSchedule, sixteenths: &[f64]) -> Vec<Leaving> {
    const T: Duration = Duration::from_secs(160);
    let (trigger, signal) = drain_signal::channel();
    let last = WatchOptions::default().with_place(Place::new(u16::MAX));
    let watch = signal.watch_with(last).unwrap();
    let exchanges = Exchanges::new();
    assert_eq!(exchanges.leaving(&watch), Leaving::No, "nothing drains");
    let start = Instant::now().into_std();
    let draining = trigger
        .start(DrainEvent::new(start, T, DrainReason::ListenerModify).with_schedule(schedule));
    let said = sixteenths.iter().map(|sixteenths| {
        draining.advance(start + T.mul_f64(sixteenths / 16.0));
        exchanges.leaving(&watch)
    });
    said.collect()
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_speaks_rarely_leaves_before_its_slot() {
    use Leaving::{No, Yes};
    let quarter = DrainSchedule::FirstQuarter;
    // The first response of the connection, counted from the start: a sixteenth is not yet rare.
    assert_eq!(said_at(quarter, &[1.0]), [No]);
    assert_eq!(said_at(quarter, &[1.1]), [Yes]);
    // A busy one waits for its slot, however long the drain goes on.
    assert_eq!(said_at(quarter, &[0.5, 1.4, 2.3, 3.2, 3.9]), [No; 5]);
    assert_eq!(said_at(quarter, &[0.5, 1.4, 2.6]), [No, No, Yes]);
    assert_eq!(said_at(quarter, &[0.9, 2.0]), [No, Yes]);
    // Under Envoy's own schedule no connection leaves before its turn.
    assert_eq!(said_at(DrainSchedule::Envoy140, &[0.01]), [No]);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_opens_during_the_drain_is_not_rare_by_that() {
    const T: Duration = Duration::from_secs(160);
    let (trigger, signal) = drain_signal::channel();
    let start = Instant::now().into_std();
    let draining = trigger.start(DrainEvent::new(start, T, DrainReason::ListenerModify));
    draining.advance(start + T.mul_f64(2.0 / 16.0));
    let last = WatchOptions::default().with_place(Place::new(u16::MAX));
    let watch = signal.watch_with(last).unwrap();
    let exchanges = Exchanges::new();
    let _service = DrainService::new(service_fn(rig::ok), watch.handle(), exchanges.clone());
    draining.advance(start + T.mul_f64(2.5 / 16.0));
    assert_eq!(exchanges.leaving(&watch), Leaving::No);
    draining.advance(start + T.mul_f64(3.7 / 16.0));
    assert_eq!(exchanges.leaving(&watch), Leaving::Yes);
}

/// A decision that answers no and knows how far a drain has come, but not how to leave early.
struct Stays;

impl DrainDecision for Stays {
    fn is_due(&self) -> bool {
        false
    }
    fn progress(&self) -> Option<u16> {
        Some(u16::MAX)
    }
}

#[test]
fn a_decision_that_lets_no_connection_leave_early_is_obeyed() {
    assert_eq!(Exchanges::new().leaving(&Stays), Leaving::No);
}
