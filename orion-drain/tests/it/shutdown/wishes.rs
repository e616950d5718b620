//! Who asks again, who does not want to wait, and who comes from another process.

use std::future::Future;
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Wake, Waker};

use orion_drain::drain_signal::schedule::Place;
use orion_drain::drain_tree::{DrainReason, WatchOptions};

use super::*;

#[tokio::test(start_paused = true)]
async fn begun_twice_it_goes_on_and_ended_now_it_is_over_in_every_state() {
    for (state, connected) in [
        (ShutdownState::LeadTime, true),
        (ShutdownState::Draining, true),
        (ShutdownState::Minimum, false),
    ] {
        let process = Process::start(ShutdownSettings::default().with_lead_time(seconds(5)));
        let mut client = connected.then(|| process.connect());
        if let Some(client) = &mut client {
            client.ask("/held").await;
        }
        process.begin();
        process.shutdown.reached(state).await;
        assert_eq!(process.shutdown.state(), state);
        let asked = Instant::now();
        let progress = process.shutdown.progress();
        process.begin();
        tokio::task::yield_now().await;
        let after = process.shutdown.progress();
        assert_eq!(
            (after.state, after.deadline),
            (progress.state, progress.deadline)
        );
        assert!(!process.ended.is_finished(), "a second begin ends nothing");
        process.shutdown.end_now();
        let outcome = process.ended.await.expect("it runs");
        assert_eq!(outcome.ending, ShutdownEnding::AtOnce);
        assert_eq!(
            (asked.elapsed(), outcome.left),
            (Duration::ZERO, usize::from(connected))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn it_can_be_ended_before_anybody_asked_it_to_drain() {
    let process = Process::start(ShutdownSettings::default());
    process.shutdown.end_now();
    let outcome = process.ended.await.expect("it runs");
    assert_eq!(
        (outcome.ending, outcome.reason),
        (ShutdownEnding::AtOnce, None)
    );
    assert!(!process.root.is_draining());
}

#[tokio::test(start_paused = true)]
async fn a_replaced_process_accepts_no_more_from_the_first_moment_and_ends_with_its_last_connection()
 {
    let settings = ShutdownSettings::default().with_lead_time(seconds(30));
    let process = Process::start(settings);
    let mut client = process.connect();
    client.ask("/held").await;
    process.shutdown.begin(ShutdownReason::HotRestart);
    process.shutdown.reached(ShutdownState::Draining).await;
    tokio::task::yield_now().await;
    assert!(!process.accepts() && process.shutdown.is_ready());
    let event = process.root.event().expect("it drains");
    assert_eq!(event.reason, DrainReason::HotRestart);
    process.held.add_permits(1);
    assert!(client.is_told().await);
    drop(client);
    let outcome = process.ended.await.expect("it runs");
    assert_eq!((outcome.ending, outcome.left), (ShutdownEnding::Drained, 0));
    assert!(outcome.took < seconds(5), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_replaced_process_that_is_terminated_is_gone() {
    let process = Process::start(ShutdownSettings::default());
    let mut client = process.connect();
    client.ask("/held").await;
    process.shutdown.begin(ShutdownReason::HotRestart);
    tokio::time::sleep(seconds(20)).await;
    process.shutdown.end_now();
    let outcome = process.ended.await.expect("it runs");
    assert_eq!((outcome.ending, outcome.left), (ShutdownEnding::AtOnce, 1));
    assert_eq!(outcome.reason, Some(ShutdownReason::HotRestart));
}

#[tokio::test(start_paused = true)]
async fn a_signal_gives_a_replaced_process_the_nearer_deadline() {
    let settings = ShutdownSettings::default().with_drain_time(seconds(5));
    let process = Process::start(settings);
    let mut client = process.connect();
    client.ask("/held").await;
    process.shutdown.begin(ShutdownReason::HotRestart);
    tokio::time::sleep(seconds(10)).await;
    process.begin();
    let outcome = process.ended.await.expect("it runs");
    assert_eq!(outcome.ending, ShutdownEnding::Drained);
    assert!(
        outcome.took >= seconds(15) && outcome.took < seconds(16),
        "{outcome:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_dropped_leaves_the_drain_begun_and_unpaced() {
    let root = DrainManager::root(DrainSettings::default());
    let (shutdown, run) = Shutdown::new(&root, &ConnTracker::new(), ShutdownSettings::default());
    // Not the first in the queue: that one is told when the drain begins.
    let halfway = WatchOptions::default().with_place(Place::new(0x8000));
    let connection = root.watch_with(halfway).expect("it is not over");
    shutdown.begin(ShutdownReason::ProcessShutdown);
    {
        let mut run = pin!(run.run(|| {}));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(run.as_mut().poll(&mut cx).is_pending());
    }
    tokio::time::sleep(seconds(1_000)).await;
    assert!(root.is_draining());
    let told = tokio::time::timeout(seconds(1), connection.signaled()).await;
    assert!(told.is_err(), "nobody paces it");
}

/// Whether the drain is on, at each wake-up.
struct Woken {
    root: DrainManager,
    seen: Mutex<Vec<bool>>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        let mut seen = self.seen.lock().expect("nobody panics with it");
        seen.push(self.root.is_draining());
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_hears_that_it_drains_finds_the_drain_begun() {
    let root = DrainManager::root(DrainSettings::default());
    let settings = ShutdownSettings::default().with_lead_time(seconds(5));
    let (shutdown, run) = Shutdown::new(&root, &ConnTracker::new(), settings);
    shutdown.begin(ShutdownReason::ProcessShutdown);
    let woken = Arc::new(Woken {
        root: root.clone(),
        seen: Mutex::default(),
    });
    let waker = Waker::from(Arc::clone(&woken));
    let mut reached = pin!(shutdown.reached(ShutdownState::Draining));
    let mut cx = Context::from_waker(&waker);
    assert!(reached.as_mut().poll(&mut cx).is_pending());
    let mut run = pin!(run.run(|| {}));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(run.as_mut().poll(&mut cx).is_pending());
    assert!(woken.seen.lock().expect("nobody panics with it").is_empty());
    tokio::time::advance(seconds(5)).await;
    assert!(run.as_mut().poll(&mut cx).is_pending());
    assert_eq!(*woken.seen.lock().expect("nobody panics with it"), [true]);
}
