//! A drain paced on tokio's clock, paused.

use std::sync::{Arc, OnceLock};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use drain_signal::{
    DrainEnd, DrainEvent, DrainReason, DrainStrategy, DrainedBy, Draining, Phase, PhaseWait,
    WatchOptions, channel,
};
use tokio::time::Instant;

const T: Duration = Duration::from_secs(60);

fn event() -> DrainEvent {
    DrainEvent::new(Instant::now().into_std(), T, DrainReason::Other("a test"))
}

#[tokio::test(start_paused = true)]
async fn everybody_leaves_at_a_slot_of_the_first_quarter() {
    let (trigger, signal) = channel();
    let start = Instant::now();
    let leaving: Vec<_> = (0..100)
        .map(|_| {
            let watch = signal.watch().unwrap();
            tokio::spawn(async move {
                watch.signaled().await;
                start.elapsed()
            })
        })
        .collect();
    let draining = trigger.start(event());
    assert_eq!(draining.pace().await, 0);
    assert!(start.elapsed() <= T / 4);
    let mut slots = vec![];
    for leaving in leaving {
        slots.push(leaving.await.unwrap());
    }
    slots.sort_unstable();
    assert!(slots[10] < T / 16 && slots[90] > T / 16 * 3, "{slots:?}");
}

#[tokio::test(start_paused = true)]
async fn who_stays_is_left_after_the_last_step() {
    let (trigger, signal) = channel();
    let start = Instant::now();
    let watch = signal.watch().unwrap();
    let other = signal
        .watch_with(WatchOptions::default().with_drained_by(DrainedBy::Full))
        .unwrap();
    assert_eq!(trigger.start(event()).pace().await, 2);
    assert!(start.elapsed() >= T);
    assert_eq!(
        watch.run_until_expired(std::future::pending::<()>()).await,
        None
    );
    drop((watch, other));
}

#[tokio::test(start_paused = true)]
async fn without_a_deadline_it_waits_for_the_last() {
    let (trigger, signal) = channel();
    let start = Instant::now();
    let watch = signal.watch().unwrap();
    tokio::spawn(async move {
        tokio::time::sleep(T * 3).await;
        drop(watch);
    });
    assert_eq!(
        trigger
            .start(event().with_end(DrainEnd::Leave))
            .pace()
            .await,
        0
    );
    assert_eq!(start.elapsed().as_secs(), 180);
}

#[tokio::test(start_paused = true)]
async fn a_drain_of_the_longest_duration_is_paced_until_its_last_connection_goes() {
    let (trigger, signal) = channel();
    let watch = signal.watch().unwrap();
    let start = Instant::now().into_std();
    let draining = trigger.start(DrainEvent::new(start, Duration::MAX, DrainReason::Admin));
    let paced = tokio::spawn(async move { draining.pace().await });
    tokio::time::sleep(Duration::from_secs(1 << 20)).await;
    assert!(!paced.is_finished());
    drop(watch);
    assert_eq!(paced.await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_brought_forward_is_seen_at_once() {
    let (trigger, signal) = channel();
    let start = Instant::now();
    let _watch = signal.watch().unwrap();
    let draining = trigger.start(event());
    let nearer = draining.clone();
    tokio::spawn(async move {
        tokio::time::sleep(T / 3).await;
        nearer.bring_forward(Instant::now().into_std());
    });
    assert_eq!(draining.pace().await, 1);
    assert!(start.elapsed() < T / 2);
}

/// A waker that sets a deadline: while the drain is being moved on.
struct Sets(OnceLock<Draining>, Instant);

impl Wake for Sets {
    fn wake(self: Arc<Self>) {
        if let Some(draining) = self.0.get() {
            draining.bring_forward(self.1.into_std());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_is_set_by_the_task_that_is_woken_is_paced_to_its_last_step() {
    let (trigger, signal) = channel();
    let watch = signal.watch().unwrap();
    let start = Instant::now();
    let sets = Arc::new(Sets(OnceLock::new(), start + T / 2));
    let waker = Waker::from(Arc::clone(&sets));
    let mut wait = PhaseWait::new(&watch);
    let parked = wait.poll_phase(&mut Context::from_waker(&waker), Phase::Open);
    assert!(parked.is_pending());
    let event = event().with_end(DrainEnd::Leave);
    let draining = trigger.start(event.with_strategy(DrainStrategy::Immediate));
    sets.0.set(draining.clone()).unwrap();
    assert_eq!(draining.pace().await, 1);
    assert!(start.elapsed() >= T / 2);
    assert_eq!(watch.phase(), Phase::Overdue);
}

#[tokio::test(start_paused = true)]
async fn a_pacer_that_is_dropped_at_any_await_is_taken_up_by_the_next() {
    let (trigger, signal) = channel();
    let start = Instant::now();
    for _ in 0..200 {
        let watch = signal.watch().unwrap();
        tokio::spawn(async move { watch.signaled().await });
    }
    tokio::task::yield_now().await;
    let draining = trigger.start(event());
    let mut drops = 0;
    while tokio::time::timeout(T / 1000, draining.pace())
        .await
        .is_err()
    {
        drops += 1;
    }
    assert!(
        drops > 100 && start.elapsed() <= T / 4 + T / 1000,
        "{drops}"
    );
    assert_eq!(signal.open_watches(), 0);
}

#[test]
fn a_pacer_whose_runtime_is_shut_down_is_taken_up_on_another() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().unwrap()
    };
    let (first, second) = (runtime(), runtime());
    let (trigger, signal) = channel();
    for _ in 0..50 {
        let watch = signal.watch().unwrap();
        second.spawn(async move { watch.signaled().await });
    }
    let draining = first.block_on(async {
        let draining = trigger.start(event());
        let paced = draining.clone();
        tokio::spawn(async move { paced.pace().await });
        tokio::time::sleep(T / 60).await;
        draining
    });
    drop(first);
    assert_eq!(second.block_on(draining.pace()), 0);
    assert!(signal.watch().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_future_runs_until_the_slot_and_not_longer() {
    let (trigger, signal) = channel();
    let watch = signal.watch().unwrap();
    assert_eq!(
        watch.run_until_signaled(std::future::ready(1)).await,
        Some(1)
    );
    let draining = trigger.start(event());
    let pacing = tokio::spawn(async move { draining.pace().await });
    assert_eq!(
        watch.run_until_signaled(std::future::pending::<()>()).await,
        None
    );
    let handle = watch.handle();
    handle.signaled_owned().await;
    drop(watch);
    assert_eq!(pacing.await.unwrap(), 0);
}
