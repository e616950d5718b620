//! No value that a user can pass panics or hangs: durations up to the longest, instants in the far
//! future, nothing at all.

use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use drain_tree::{
    ChildOptions, CloseSteps, DrainDecision, DrainDirection, DrainLength, DrainManager,
    DrainReason, DrainSchedule, DrainSettings, DrainStart, DrainStrategy, Rounding, WatchOptions,
};

fn durations() -> [Duration; 5] {
    [
        Duration::ZERO,
        Duration::from_nanos(1),
        Duration::from_secs(60),
        Duration::from_secs(u64::MAX),
        Duration::MAX,
    ]
}

/// Now, and as far ahead as can be expressed.
fn instants() -> Vec<Instant> {
    let now = tokio::time::Instant::now().into_std();
    let far = [1 << 40, u64::MAX / 4, i64::MAX as u64 - (1 << 20)];
    let mut instants = vec![now];
    instants.extend(
        far.iter()
            .filter_map(|&secs| now.checked_add(Duration::from_secs(secs))),
    );
    let mut last = now;
    for bit in (0..63).rev() {
        last = last
            .checked_add(Duration::from_secs(1 << bit))
            .unwrap_or(last);
    }
    instants.push(last);
    instants
}

/// Everything that can be done with a listener, at the edges of time. It ends, or says when to come
/// back.
fn exercise(settings: DrainSettings, start: DrainStart, now: Instant, others: &[Instant]) {
    let root = DrainManager::root(settings);
    let listener = root.child(ChildOptions::default());
    let early =
        listener.watch_with(WatchOptions::default().with_drain_timeout(settings_time(&root)));
    let mut sequence = listener.start_drain_sequence_at(start, now);
    let late = listener.watch();
    root.fail_health();
    let mut cx = Context::from_waker(Waker::noop());
    for &at in std::iter::once(&now).chain(others) {
        let mut next = None;
        for _ in 0..1000 {
            if sequence.poll_at(at, &mut cx, &mut next).is_ready() || next.is_some() {
                break;
            }
        }
        for sample in [0, 1, u64::MAX] {
            listener.is_due_at(DrainDirection::All, at, || sample);
            drop(listener.on_drain_at(DrainDirection::All, at, || sample, |_| ()));
        }
        for watch in [&early, &late].into_iter().flatten() {
            watch.phase();
            listener.decision(watch).leave_if_due();
        }
        listener.bring_forward(at);
        root.settings().parent_shutdown_at(at);
    }
    drop((early, late));
    let mut next = None;
    for _ in 0..1000 {
        if sequence.poll_at(now, &mut cx, &mut next).is_ready() {
            return;
        }
    }
}

fn settings_time(root: &DrainManager) -> Duration {
    root.settings().drain_time
}

#[test]
fn any_duration_and_any_instant() {
    let others = instants();
    let close_steps = |at| {
        CloseSteps::default()
            .with_finish_before(at)
            .with_drop_after(at)
    };
    for schedule in [DrainSchedule::FirstQuarter, DrainSchedule::Envoy140] {
        for strategy in [DrainStrategy::Gradual, DrainStrategy::Immediate] {
            for reason in [
                DrainReason::ListenerModify,
                DrainReason::Admin,
                DrainReason::ProcessShutdown,
            ] {
                for long in durations() {
                    for minimum in durations() {
                        let settings = DrainSettings::default()
                            .with_schedule(schedule)
                            .with_drain_time(long)
                            .with_parent_shutdown_time(long)
                            .with_shutdown_minimum(minimum)
                            .with_health_ramp(minimum)
                            .with_close_steps(close_steps(minimum))
                            .with_rounding(Rounding::Ceil);
                        let start = DrainStart::new(reason).with_strategy(strategy);
                        let full = settings.clone().with_length(DrainLength::Full);
                        for &now in &others {
                            exercise(settings.clone(), start, now, &others);
                            exercise(full.clone(), start.with_drain_time(minimum), now, &others);
                        }
                    }
                }
            }
        }
    }
}

/// tokio's own timer ends before the longest drain does.
#[tokio::test(start_paused = true)]
async fn a_drain_of_the_longest_duration_can_be_awaited() {
    for long in [Duration::MAX, Duration::from_secs(u64::MAX / 2)] {
        let settings = DrainSettings::default()
            .with_drain_time(long)
            .with_parent_shutdown_time(long);
        let listener = DrainManager::root(settings);
        let watch = listener.watch().expect("nothing drains yet");
        let sequence = tokio::spawn(
            listener.start_drain_sequence(DrainStart::new(DrainReason::ListenerModify)),
        );
        let parent = tokio::spawn(listener.start_parent_shutdown_sequence());
        tokio::time::sleep(Duration::from_secs(1 << 20)).await;
        assert!(!sequence.is_finished() && !parent.is_finished());
        drop(watch);
        sequence.await.expect("it ends with its last connection");
        parent.abort();
    }
}
