//! What a drain takes, and that nothing stays when its connections have gone.

use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use allocation_counter::measure;
use drain_signal::{DrainEvent, DrainReason, DrainSignal, Phase, PhaseWait, channel};

const MANY: usize = 500_000;

/// Opens many connections, each with a closer and a parked wait, all at once; and lets them go.
fn crowd(signal: &DrainSignal, size: usize) {
    let mut cx = Context::from_waker(Waker::noop());
    let crowd: Vec<_> = (0..size)
        .map(|_| {
            let watch = signal.watch().unwrap();
            let closer = watch.handle();
            let mut wait = PhaseWait::new(watch);
            assert!(wait.poll_phase(&mut cx, Phase::Open).is_pending());
            (wait, closer)
        })
        .collect();
    drop(crowd);
}

#[test]
fn half_a_million_connections_leave_next_to_nothing_behind() {
    let (_trigger, signal) = channel();
    let left = measure(|| crowd(&signal, MANY)).bytes_current;
    assert!(
        left < 15 << 20,
        "{left} bytes stay while the drain is there"
    );
    let more = measure(|| crowd(&signal, MANY)).bytes_current;
    assert_eq!(more, 0, "as many again");
    for _ in 0..3 {
        let left = measure(|| {
            let (trigger, signal) = channel();
            crowd(&signal, 10_000);
            #[expect(clippy::disallowed_methods, reason = "any instant will do as a start")]
            let event =
                DrainEvent::new(Instant::now(), Duration::from_secs(60), DrainReason::Admin);
            let draining = trigger.start(event);
            crowd(&signal, 10_000);
            assert!(draining.complete_if_empty());
        });
        assert_eq!(left.bytes_current, 0, "a drain that is gone leaves nothing");
    }
}

#[test]
fn a_parked_connection_takes_seventy_two_bytes_and_no_allocation_of_its_own() {
    let (_trigger, signal) = channel();
    let mut cx = Context::from_waker(Waker::noop());
    let mut parked = Vec::with_capacity(MANY);
    let info = measure(|| {
        for _ in 0..MANY {
            let mut wait = PhaseWait::new(signal.watch().unwrap());
            assert!(wait.poll_phase(&mut cx, Phase::Open).is_pending());
            parked.push(wait);
        }
    });
    let bytes = info.bytes_current as f64 / MANY as f64 + size_of_val(&parked[0]) as f64;
    assert!(bytes <= 72.0, "{bytes} bytes");
    assert!(
        info.count_total < MANY as u64 / 16,
        "{} allocations",
        info.count_total
    );
}

#[test]
fn a_connection_that_comes_after_another_allocates_nothing() {
    let (_trigger, signal) = channel();
    crowd(&signal, 1);
    let info = measure(|| {
        let watch = signal.watch().unwrap();
        let closer = watch.handle();
        let mut wait = PhaseWait::new(watch);
        assert!(
            wait.poll_phase(&mut Context::from_waker(Waker::noop()), Phase::Open)
                .is_pending()
        );
        drop((wait, closer));
    });
    assert_eq!(info.count_total, 0);
}

#[test]
fn a_drain_without_connections_takes_less_than_a_kilobyte_on_64_cores() {
    let mut kept = None;
    let info = measure(|| kept = Some(channel()));
    // Eight bytes for a shard that no thread has used.
    let here = 8 * drain_sync::shards() as i64;
    let there = info.bytes_current - here + 8 * 64;
    assert!(there < 1024, "{there} bytes");
    drop(kept);
}

#[test]
fn pages_of_parked_waits_are_given_back_when_the_waits_have_gone() {
    let (_trigger, signal) = channel();
    let watch = signal.watch().unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let mut park = |count: usize| {
        let waits: Vec<_> = (0..count)
            .map(|_| {
                let mut wait = PhaseWait::new(&*watch);
                assert!(wait.poll_phase(&mut cx, Phase::Open).is_pending());
                wait
            })
            .collect();
        drop(waits);
    };
    park(1);
    let left = measure(|| park(100_000)).bytes_current;
    assert!(left < 64 << 10, "{left} bytes, of 100 000 waits");
    assert_eq!(measure(|| park(100_000)).bytes_current, 0, "as many again");
}
