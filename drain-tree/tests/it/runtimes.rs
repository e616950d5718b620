//! Several runtimes, tasks aborted in the middle, wakers that panic: a drain goes on with
//! the tasks that are left.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use drain_tree::drain_signal::schedule::Place;
use drain_tree::drain_signal::{Phase, PhaseWait};
use drain_tree::{
    ChildOptions, DrainDirection, DrainEnding, DrainManager, DrainOutcome, DrainReason,
    DrainSequence, DrainSettings, DrainStart, DrainStrategy, WatchOptions,
};
use tokio::runtime::{Builder, Runtime};

const T: Duration = Duration::from_secs(60);
const MODIFY: DrainStart = DrainStart::new(DrainReason::ListenerModify);

fn listener() -> DrainManager {
    DrainManager::root(DrainSettings::default().with_drain_time(T)).child(ChildOptions::default())
}

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}

#[test]
fn a_sequence_dropped_on_one_runtime_goes_on_on_another() {
    let listener = listener();
    let watches: Vec<_> = (0..40).map(|_| listener.watch().unwrap()).collect();
    let first = runtime();
    first.block_on(async {
        let sequence = tokio::spawn(listener.start_drain_sequence(MODIFY));
        tokio::time::sleep(T / 8).await;
        sequence.abort();
        assert!(sequence.await.unwrap_err().is_cancelled());
    });
    drop(first);
    let signaled = watches
        .iter()
        .filter(|watch| watch.phase() > Phase::Open)
        .count();
    assert!(
        (10..30).contains(&signaled),
        "{signaled} of 40 at half of the window"
    );
    let outcome = thread::spawn(move || {
        runtime().block_on(async {
            for watch in watches {
                tokio::spawn(async move { watch.signaled().await });
            }
            listener.start_drain_sequence(MODIFY).await
        })
    });
    let outcome = outcome.join().unwrap();
    assert_eq!((outcome.ending, outcome.left), (DrainEnding::Empty, 0));
}

#[test]
fn a_sequence_polled_on_one_runtime_may_be_moved_to_another() {
    let listener = listener();
    let watch = listener.watch().unwrap();
    let mut sequence = Box::pin(listener.start_drain_sequence(MODIFY));
    let first = runtime();
    first.block_on(async {
        assert!(poll_once(sequence.as_mut()).await.is_none());
    });
    drop(first);
    let outcome = runtime().block_on(async {
        tokio::spawn(async move { watch.signaled().await });
        sequence.await
    });
    assert_eq!(outcome.ending, DrainEnding::Empty);
}

async fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

#[test]
fn a_joined_sequence_takes_over_when_the_one_that_paced_is_dropped() {
    let runtime = runtime();
    runtime.block_on(async {
        let listener = listener();
        let signaled = tokio::spawn({
            let watch = listener.watch().unwrap();
            async move { watch.signaled().await }
        });
        let first = tokio::spawn(listener.start_drain_sequence(MODIFY));
        let second = tokio::spawn(listener.start_drain_sequence(MODIFY));
        tokio::task::yield_now().await;
        first.abort();
        signaled.await.unwrap();
        assert_eq!(second.await.unwrap().ending, DrainEnding::Empty);
    });
}

/// Aborted after its n-th poll, for every n there is: rejoining ends the drain as if nothing had
/// happened.
#[test]
fn a_sequence_aborted_at_any_poll_can_be_rejoined() {
    for polls in 0..40 {
        runtime().block_on(async {
            let root = DrainManager::root(DrainSettings::default().with_drain_time(T));
            let tasks: Vec<_> = (0..5)
                .map(|_| root.child(ChildOptions::default()))
                .map(|listener| (listener.watch().unwrap(), listener))
                .map(|(watch, listener)| {
                    tokio::spawn(async move {
                        watch.signaled().await;
                        drop((watch, listener));
                    })
                })
                .collect();
            tokio::task::yield_now().await;
            let mut sequence = Box::pin(root.start_drain_sequence(MODIFY));
            for _ in 0..polls {
                if poll_once(sequence.as_mut()).await.is_some() {
                    break;
                }
                tokio::time::sleep(T / 100).await;
            }
            drop(sequence);
            let outcome = root.start_drain_sequence(MODIFY).await;
            assert_eq!(
                (outcome.ending, outcome.left),
                (DrainEnding::Empty, 0),
                "after {polls} polls"
            );
            for task in tasks {
                task.await.unwrap();
            }
        });
    }
}

/// A connection's task aborted at any await says that its connection is gone.
#[test]
fn a_connection_aborted_at_any_await_is_gone() {
    for aborted_after in [Duration::ZERO, T / 16, T / 8, T / 4, T / 2, T] {
        runtime().block_on(async {
            let listener = listener();
            let watch = listener.watch().unwrap();
            let connection = tokio::spawn(async move {
                watch.signaled().await;
                watch.finishing().await;
                watch.expired().await;
                std::future::pending::<()>().await;
                drop(watch);
            });
            let sequence = tokio::spawn(listener.start_drain_sequence(MODIFY));
            tokio::time::sleep(aborted_after).await;
            connection.abort();
            let outcome = sequence.await.unwrap();
            assert!(
                outcome.took <= aborted_after + Duration::from_millis(1),
                "{outcome:?}"
            );
        });
    }
}

#[test]
fn a_task_that_panics_leaves_and_delays_no_other() {
    runtime().block_on(async {
        let listener = listener();
        let (panicking, calm) = (listener.watch().unwrap(), listener.watch().unwrap());
        let panicking = tokio::spawn(async move {
            panicking.signaled().await;
            panic!("a connection that panics");
        });
        let calm = tokio::spawn(async move { calm.signaled().await });
        let outcome = listener.start_drain_sequence(MODIFY).await;
        assert_eq!(outcome.ending, DrainEnding::Empty);
        assert!(panicking.await.unwrap_err().is_panic());
        calm.await.unwrap();
    });
}

#[test]
fn a_runtime_shut_down_with_connections_parked_leaves_the_drain_to_others() {
    let listener = listener();
    let parked = runtime();
    for _ in 0..10 {
        let watch = listener.watch().unwrap();
        parked.spawn(async move { watch.signaled().await });
    }
    parked.block_on(tokio::task::yield_now());
    let (draining, mut sequence) = (runtime(), Box::pin(listener.start_drain_sequence(MODIFY)));
    draining.block_on(async {
        assert!(poll_once(sequence.as_mut()).await.is_none());
    });
    drop(parked);
    assert_eq!(draining.block_on(sequence).ending, DrainEnding::Empty);
}

/// Three runtimes poll sequences of one drain while a fourth opens and closes connections. Their
/// clocks are real: slots at the beginning of the window, and a deadline that no machine is too slow
/// for, under valgrind neither.
#[test]
fn many_runtimes_drive_one_drain() {
    let time = Duration::from_secs(600);
    let root = DrainManager::root(DrainSettings::default().with_drain_time(time));
    let listeners: Vec<_> = (0..50)
        .map(|_| root.child(ChildOptions::default()))
        .collect();
    let real = || Builder::new_current_thread().enable_time().build().unwrap();
    let early = |at: u16| WatchOptions::default().with_place(Place::new(4 * at));
    let watches: Vec<_> = (0..)
        .zip(&listeners)
        .map(|(at, listener)| listener.watch_with(early(at)).unwrap())
        .collect();
    let start = MODIFY.with_strategy(DrainStrategy::Gradual);
    let drivers: Vec<_> = (0..3)
        .map(|_| root.clone())
        .map(|root| thread::spawn(move || real().block_on(root.start_drain_sequence(start))))
        .collect();
    let connections = thread::spawn(move || {
        real().block_on(async {
            for (watch, listener) in watches.into_iter().zip(listeners) {
                watch.signaled().await;
                let late = listener.watch();
                drop(watch);
                drop(late);
            }
        });
    });
    let outcomes: Vec<_> = drivers
        .into_iter()
        .map(|driver| driver.join().unwrap())
        .collect();
    connections.join().unwrap();
    assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]));
    assert_eq!(
        (outcomes[0].ending, outcomes[0].left),
        (DrainEnding::Empty, 0)
    );
}

/// By hand, without a runtime.
/// Drops what it has when it is woken.
struct LetsGo(Mutex<Option<DrainSequence>>);

impl Wake for LetsGo {
    fn wake(self: Arc<Self>) {
        let kept = self.0.lock().unwrap().take();
        drop(kept);
    }
}

#[test]
fn a_sequence_may_be_dropped_by_the_waker_that_it_wakes() {
    let listener = listener();
    let watch = listener.watch().unwrap();
    let mut sequence = listener.start_drain_sequence(MODIFY);
    let mut other = listener.start_drain_sequence(MODIFY);
    let now = sequence.event().start;
    let lets_go = Arc::new(LetsGo(Mutex::new(None)));
    let waker = Waker::from(Arc::clone(&lets_go));
    let mut next = None;
    while next.is_none() {
        let polled = sequence.poll_at(now, &mut Context::from_waker(&waker), &mut next);
        assert!(polled.is_pending());
    }
    *lets_go.0.lock().unwrap() = Some(sequence);
    drop(watch);
    assert!(lets_go.0.lock().unwrap().is_none());
    let mut cx = Context::from_waker(Waker::noop());
    let mut polls = (0..10).map(|_| other.poll_at(now, &mut cx, &mut next));
    assert!(polls.any(|polled| polled.is_ready()));
}

#[test]
fn a_sequence_can_be_driven_without_a_runtime() {
    let listener = listener();
    let watch = listener.watch().unwrap();
    let mut sequence = listener.start_drain_sequence(MODIFY);
    let (mut cx, mut now) = (Context::from_waker(Waker::noop()), sequence.event().start);
    let mut next = None;
    let outcome = loop {
        match sequence.poll_at(now, &mut cx, &mut next) {
            Poll::Ready(outcome) => break outcome,
            Poll::Pending => now = next.unwrap_or(now),
        }
    };
    assert_eq!((outcome.ending, outcome.left), (DrainEnding::Deadline, 1));
    assert_eq!(watch.phase(), Phase::Overdue);
}

/// Polls a sequence long after its end, from inside the wake-up of a connection that another one is
/// telling.
struct FarAhead {
    sequence: Mutex<DrainSequence>,
    outcome: Mutex<Option<DrainOutcome>>,
}

impl Wake for FarAhead {
    fn wake(self: Arc<Self>) {
        let mut sequence = self.sequence.lock().unwrap();
        let now = sequence.event().start + 2 * T;
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..100 {
            if let Poll::Ready(outcome) = sequence.poll_at(now, &mut cx, &mut None) {
                *self.outcome.lock().unwrap() = Some(outcome);
            }
        }
    }
}

#[test]
fn a_drain_does_not_end_while_another_sequence_is_still_waking() {
    let listener = listener();
    let watch = listener.watch().unwrap();
    let immediate = MODIFY.with_strategy(DrainStrategy::Immediate);
    let runtime = runtime();
    let _inside = runtime.enter();
    let far_ahead = Arc::new(FarAhead {
        outcome: Mutex::new(None),
        sequence: Mutex::new(listener.start_drain_sequence(immediate)),
    });
    let mut telling = listener.start_drain_sequence(immediate);
    let waker = Waker::from(Arc::clone(&far_ahead));
    let mut wait = PhaseWait::new(&watch);
    assert!(
        wait.poll_phase(&mut Context::from_waker(&waker), Phase::Signaled)
            .is_pending()
    );
    let start = telling.event().start;
    let mut cx = Context::from_waker(Waker::noop());
    let mut next = None;
    while telling.poll_at(start + T, &mut cx, &mut next).is_pending() && next.is_none() {}
    assert_eq!(
        *far_ahead.outcome.lock().unwrap(),
        None,
        "a connection was in hand"
    );
    while telling
        .poll_at(start + 2 * T, &mut cx, &mut next)
        .is_pending()
    {}
    assert_eq!(watch.phase(), Phase::Overdue);
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// An operator's drain, which leaves its connections alone when its time is over: each of them has
/// been asked to leave by then.
#[test]
fn a_drain_that_leaves_connections_open_ends_when_all_of_them_were_asked() {
    let listener = listener();
    let start = DrainStart::new(DrainReason::Admin);
    let far_ahead = Arc::new(FarAhead {
        outcome: Mutex::new(None),
        sequence: Mutex::new(listener.start_drain_sequence(start)),
    });
    let mut telling = listener.start_drain_sequence(start);
    let halfway = WatchOptions::default().with_place(Place::new(0x8000));
    let woken = Arc::new(Woken::default());
    let wakers = std::iter::once(Waker::from(Arc::clone(&far_ahead)))
        .chain(std::iter::repeat(Waker::from(Arc::clone(&woken))));
    let waits: Vec<_> = wakers
        .take(200)
        .map(|waker| {
            let mut wait = PhaseWait::new(listener.watch_with(halfway).unwrap());
            let polled = wait.poll_phase(&mut Context::from_waker(&waker), Phase::Open);
            assert!(polled.is_pending());
            wait
        })
        .collect();
    let (end, mut next) = (telling.event().start + T, None);
    let mut cx = Context::from_waker(Waker::noop());
    while telling.poll_at(end, &mut cx, &mut next).is_pending() {}
    assert_eq!(woken.0.load(Ordering::Relaxed), 199);
    drop(waits);
}

/// A waker that panics, without a message on stderr.
struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        std::panic::resume_unwind(Box::new("woken"));
    }
}

/// An operator's drain, paced by a task whose executor panics, gets a deadline from a start above.
#[test]
fn a_waker_that_panics_keeps_no_node_from_a_drain_or_its_deadline() {
    let root = DrainManager::root(DrainSettings::default().with_drain_time(T));
    let listeners = [(); 3].map(|()| root.child(ChildOptions::default()));
    let watches = [0, 1, 2].map(|listener: usize| listeners[listener].watch().unwrap());
    let calls = Arc::new(AtomicUsize::new(0));
    let _callbacks = [&root, &listeners[0], &listeners[2]].map(|node| {
        let calls = Arc::clone(&calls);
        let call = move |_| {
            calls.fetch_add(1, Ordering::Relaxed);
        };
        node.on_drain(DrainDirection::All, call)
    });
    let panics = Waker::from(Arc::new(Panics));
    let now = tokio::time::Instant::now().into_std();
    let admin = DrainStart::new(DrainReason::Admin);
    let mut operators = listeners[1].start_drain_sequence_at(admin, now);
    let mut pace = || {
        // A poll that has more to do wakes its own task.
        for waker in [Waker::noop(), Waker::noop(), Waker::noop(), &panics] {
            let mut cx = Context::from_waker(waker);
            assert!(operators.poll_at(now, &mut cx, &mut None).is_pending());
        }
    };
    pace();
    let mut sequence = root.start_drain_sequence_at(MODIFY, now);
    assert!(listeners.iter().all(DrainManager::is_draining));
    assert_eq!(calls.load(Ordering::Relaxed), 3);
    pace();
    root.bring_forward(now + T / 2);
    let deadlines = listeners.each_ref().map(DrainManager::deadline);
    assert_eq!(deadlines, [Some(now + T / 2); 3]);
    let (mut cx, mut next) = (Context::from_waker(Waker::noop()), None);
    while sequence.poll_at(now + T, &mut cx, &mut next).is_pending() {}
    assert!(watches.iter().all(|watch| watch.phase() == Phase::Overdue));
}
