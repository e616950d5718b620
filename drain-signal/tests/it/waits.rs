//! Any number of waits on one connection, from any tasks and under any combinator: each is woken,
//! and each takes what it has with it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use drain_signal::{
    CloseCause, DrainDecision, DrainDirection, DrainEnd, DrainEvent, DrainReason, DrainSchedule,
    DrainStrategy, DrainTrigger, DrainWatch, DrainedBy, Draining, Goodbye, GracefulClose, Phase,
    PhaseWait, WatchOptions, channel, drive, schedule::Place,
};
use futures_util::future::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::select;
use tokio_test::{assert_pending, assert_ready, task};

const T: Duration = Duration::from_secs(60);

/// All slots are at the start.
fn start(trigger: DrainTrigger, end: DrainEnd) -> Draining {
    #[expect(clippy::disallowed_methods, reason = "any instant will do as a start")]
    let event = DrainEvent::new(Instant::now(), T, DrainReason::ListenerModify)
        .with_end(end)
        .with_strategy(DrainStrategy::Immediate);
    let now = event.start;
    let draining = trigger.start(event);
    while draining.advance(now).more {}
    draining
}

async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(Duration::from_secs(30), future).await {
        Ok(output) => output,
        Err(_) => panic!("{what} did not come"),
    }
}

/// Never ends by itself.
struct Never;

impl Future for Never {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl GracefulClose for Never {
    fn start(self: Pin<&mut Self>, _: &Goodbye) {}
    fn finish(self: Pin<&mut Self>) {}
    fn abort(self: Pin<&mut Self>) {}
}

/// A task of its own: how often it was woken, and whether anybody still knows it.
#[derive(Default)]
struct Count(AtomicUsize);

impl Count {
    fn task() -> (Arc<Self>, Waker) {
        let count = Arc::new(Self::default());
        (Arc::clone(&count), Waker::from(count))
    }

    fn woken(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_wait_on_one_shared_watch() {
    let (trigger, signal) = channel();
    let watch = Arc::new(signal.watch().unwrap());
    let tasks: Vec<_> = (0..100)
        .map(|nth| {
            let watch = Arc::clone(&watch);
            tokio::spawn(async move {
                if nth % 2 == 0 {
                    watch.signaled().await;
                }
                watch.expired().await;
            })
        })
        .collect();
    let draining = start(trigger, DrainEnd::Close);
    let event = draining.event().unwrap();
    while draining.advance(event.start + T).more {}
    for task in tasks {
        within("the end", task).await.unwrap();
    }
}

#[test]
fn waits_of_one_task_under_combinators_with_wakers_of_their_own() {
    let (trigger, signal) = channel();
    let watch = signal.watch().unwrap();
    let mut waits = FuturesUnordered::new();
    waits.push(watch.signaled().map(|_| "signaled").boxed());
    waits.push(watch.expired().map(|_| "expired").boxed());
    waits.push(watch.finishing().map(|_| "finishing").boxed());
    waits.push(watch.handle().signaled_twice().boxed());
    let mut next = task::spawn(async { waits.next().await });
    assert_pending!(next.poll());
    let draining = start(trigger, DrainEnd::Close);
    assert!(next.is_woken());
    drop(next);
    let mut come = vec![];
    while let Some(Some(wait)) = waits.next().now_or_never() {
        come.push(wait);
    }
    come.sort_unstable();
    assert_eq!(come, ["signaled", "twice"]);
    let end = draining.event().unwrap().start + T;
    while draining.advance(end).more {}
    assert_eq!(
        waits.next().now_or_never().flatten().map(|_| waits.len()),
        Some(1)
    );
    assert_eq!(
        waits.next().now_or_never().flatten().map(|_| waits.len()),
        Some(0)
    );
}

/// One task, two waits on one handle at once.
trait Twice {
    fn signaled_twice(self) -> impl Future<Output = &'static str> + Send;
}

impl Twice for drain_signal::DrainHandle {
    async fn signaled_twice(self) -> &'static str {
        tokio::join!(self.signaled(), self.signaled());
        "twice"
    }
}

#[test]
fn a_wait_that_moved_to_another_task_wakes_that_one_alone() {
    let (trigger, signal) = channel();
    let watch = signal.watch().unwrap();
    let ((first, one), (second, two)) = (Count::task(), Count::task());
    let mut wait = PhaseWait::new(&watch);
    for waker in [&one, &one, &two, &two, &one, &two] {
        assert_pending!(wait.poll_phase(&mut Context::from_waker(waker), Phase::Open));
    }
    let _draining = start(trigger, DrainEnd::Close);
    assert_eq!((first.woken(), second.woken()), (0, 1));
}

#[test]
fn a_wait_for_the_end_is_not_woken_at_the_slot() {
    let (trigger, signal) = channel();
    let watch = signal.watch().unwrap();
    let mut expired = task::spawn(watch.expired());
    assert_pending!(expired.poll());
    let draining = start(trigger, DrainEnd::Close);
    watch.start_now();
    assert!(!expired.is_woken());
    while draining.advance(draining.event().unwrap().start + T).more {}
    assert!(expired.is_woken());
    assert_ready!(expired.poll());
}

#[test]
fn a_force_reaches_the_driver_after_a_stream_of_its_connection_has_ended() {
    let (trigger, signal) = channel();
    let driver = signal.watch().unwrap();
    let (stream, operator) = (driver.handle(), driver.handle());
    let mut driver_wait = task::spawn(driver.signaled());
    let mut stream_wait = task::spawn(stream.signaled());
    assert_pending!(driver_wait.poll());
    assert_pending!(stream_wait.poll());
    // An operator's drain has no deadline: the force is all that ends the connection.
    let _draining = start(trigger, DrainEnd::Leave);
    assert!(driver_wait.is_woken() && stream_wait.is_woken());
    assert_ready!(driver_wait.poll());
    let mut driver_wait = task::spawn(driver.expired());
    assert_pending!(driver_wait.poll());
    assert_ready!(stream_wait.poll());
    drop(stream_wait);
    drop(stream);
    assert!(operator.force());
    assert!(driver_wait.is_woken());
    assert_ready!(driver_wait.poll());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driven_connection_is_forced_whatever_its_streams_do() {
    let (trigger, signal) = channel();
    let connections: Vec<_> = (0..200)
        .map(|_| {
            let watch = signal.watch().unwrap();
            let operator = watch.handle();
            let streams: Vec<_> = (0..3)
                .map(|_| {
                    let stream = watch.handle();
                    tokio::spawn(async move { drop(stream.signaled().await) })
                })
                .collect();
            (operator, streams, tokio::spawn(drive(Never, watch)))
        })
        .collect();
    let _draining = start(trigger, DrainEnd::Leave);
    for (operator, streams, driven) in connections {
        for stream in streams {
            within("the slot", stream).await.unwrap();
        }
        assert!(operator.force() && !operator.force());
        let closed = within("the end of a forced connection", driven)
            .await
            .unwrap();
        assert_eq!(closed.cause, CloseCause::Forced);
    }
}

#[test]
fn start_now_reaches_every_wait_of_the_connection_and_no_other() {
    let (_trigger, signal) = channel();
    let (watch, other) = (signal.watch().unwrap(), signal.watch().unwrap());
    let clone = watch.clone();
    let handle = watch.handle();
    let mut waits = [
        task::spawn(watch.signaled()),
        task::spawn(watch.signaled()),
        task::spawn(clone.signaled()),
        task::spawn(handle.signaled()),
    ];
    let mut others = task::spawn(other.signaled());
    for wait in &mut waits {
        assert_pending!(wait.poll());
    }
    assert_pending!(others.poll());
    assert!(handle.start_now() && !watch.start_now());
    for wait in &mut waits {
        assert!(wait.is_woken());
        assert_ready!(wait.poll());
    }
    assert!(!others.is_woken());
}

#[test]
fn a_wait_that_is_dropped_takes_its_waker_with_it_at_any_time() {
    let (trigger, signal) = channel();
    let watch = signal.watch().unwrap();
    let (count, waker) = Count::task();
    let park = |after: Phase| {
        let mut wait = PhaseWait::new(&watch);
        assert_pending!(wait.poll_phase(&mut Context::from_waker(&waker), after));
        wait
    };
    let before = park(Phase::Open);
    drop(park(Phase::Signaled));
    // The drain has begun and was not advanced: the slot has come, and no task was woken.
    #[expect(clippy::disallowed_methods, reason = "any instant will do as a start")]
    let event = DrainEvent::new(Instant::now(), T, DrainReason::Admin)
        .with_strategy(DrainStrategy::Immediate);
    let draining = trigger.start(event);
    drop(before);
    drop(park(Phase::Signaled));
    let after = park(Phase::Signaled);
    watch.force();
    assert_eq!(count.woken(), 1);
    drop(after);
    drop(waker);
    assert_eq!(Arc::strong_count(&count), 1);
    drop(draining);
}

#[test]
fn waits_for_the_end_of_the_drain_that_are_dropped_leave_nothing() {
    let (trigger, signal) = channel();
    let watch = signal.watch().unwrap();
    let (count, waker) = Count::task();
    let mut cx = Context::from_waker(&waker);
    let draining = start(trigger, DrainEnd::Close);
    for _ in 0..1000 {
        assert_pending!(Pin::new(&mut signal.drained()).poll(&mut cx));
        draining.clone().wake_on_change(&waker);
    }
    draining.wake_on_change(&waker);
    assert_eq!(Arc::strong_count(&count), 3);
    drop(watch);
    assert_eq!(count.woken(), 1);
    drop((waker, draining));
    assert_eq!(Arc::strong_count(&count), 1);
}

/// A waker that uses the connection whenever it is woken or dropped: under a lock it would hang.
struct Reentrant(drain_signal::DrainHandle, drain_signal::DrainSignal);

impl Reentrant {
    fn use_all(&self) {
        self.0.start_now();
        self.0.force();
        drop(self.0.goodbye_of_a_clone());
        assert!(self.1.open_watches() < 10);
        drop(self.1.watch());
    }
}

trait Clones {
    fn goodbye_of_a_clone(&self) -> Option<Goodbye>;
}

impl Clones for drain_signal::DrainHandle {
    fn goodbye_of_a_clone(&self) -> Option<Goodbye> {
        self.clone().signaled().now_or_never()
    }
}

impl Wake for Reentrant {
    fn wake(self: Arc<Self>) {
        self.use_all();
    }
}

impl Drop for Reentrant {
    fn drop(&mut self) {
        self.use_all();
    }
}

#[test]
fn a_waker_may_use_the_drain_that_wakes_or_drops_it() {
    let (trigger, signal) = channel();
    let watch = signal.watch().unwrap();
    let other = signal.watch().unwrap();
    let waker = || Waker::from(Arc::new(Reentrant(other.handle(), signal.clone())));
    let park = |waker: &Waker| {
        let mut wait = PhaseWait::new(&watch);
        assert_pending!(wait.poll_phase(&mut Context::from_waker(waker), Phase::Open));
        wait
    };
    // Replaced, dropped, woken by the drain, by a force and by the end.
    let mut replaced = park(&waker());
    assert_pending!(replaced.poll_phase(&mut Context::from_waker(Waker::noop()), Phase::Open));
    drop(park(&waker()));
    let woken = park(&waker());
    let draining = start(trigger, DrainEnd::Leave);
    drop((replaced, woken));
    let mut forced = PhaseWait::new(&watch);
    assert_pending!(forced.poll_phase(&mut Context::from_waker(&waker()), Phase::Signaled));
    watch.force();
    drop(forced);
    draining.wake_on_change(&waker());
    drop((watch, other));
    assert!(draining.complete_if_empty());
}

/// A waker that registers with the drain that drops it.
struct Again(std::sync::Weak<Draining>);

impl Wake for Again {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Again {
    fn drop(&mut self) {
        if let Some(draining) = self.0.upgrade() {
            draining.wake_on_change(Waker::noop());
        }
    }
}

#[test]
fn a_waker_may_register_with_the_drain_that_replaces_it() {
    let (trigger, signal) = channel();
    let watch = signal.watch().unwrap();
    let draining = Arc::new(start(trigger, DrainEnd::Leave));
    for _ in 0..3 {
        draining.wake_on_change(&Waker::from(Arc::new(Again(Arc::downgrade(&draining)))));
    }
    drop(watch);
    assert!(draining.complete_if_empty());
}

#[test]
fn waits_that_park_while_a_drain_walks_keep_no_other_from_its_slot() {
    // Entries are in pages of 32, and one call wakes 32: the walk is in the middle of the second
    // call's pages when further waits need pages of their own.
    for late in [0, 1, 31, 32, 33, 64, 320] {
        let (trigger, signal) = channel();
        let mut waits = vec![];
        let open = |place| {
            let options = WatchOptions::default().with_place(Place::new(place));
            (
                Count::task(),
                PhaseWait::new(signal.watch_with(options).unwrap()),
            )
        };
        let watches: Vec<_> = (0..384).map(|_| open(0x4000)).collect();
        let not_due: Vec<_> = (0..late).map(|_| open(u16::MAX)).collect();
        let mut park =
            |((count, waker), mut wait): ((Arc<Count>, Waker), PhaseWait<DrainWatch>)| {
                assert_pending!(wait.poll_phase(&mut Context::from_waker(&waker), Phase::Open));
                waits.push((count, wait));
            };
        #[expect(clippy::disallowed_methods, reason = "any instant will do as a start")]
        let event = DrainEvent::new(Instant::now(), T, DrainReason::ListenerModify);
        let begin = event.start;
        let mut watches = watches.into_iter();
        watches.by_ref().take(320).for_each(&mut park);
        let draining = trigger.start(event);
        while draining.advance(begin).more {}
        watches.for_each(&mut park);
        let quarter_of_the_window = begin + T / 4 / 4;
        assert!(draining.advance(quarter_of_the_window).more);
        not_due.into_iter().for_each(&mut park);
        while draining.advance(quarter_of_the_window).more {}
        let is_due = |wait: &PhaseWait<DrainWatch>| wait.handle().phase() > Phase::Open;
        let not_woken = waits
            .iter()
            .filter(|(count, wait)| usize::from(is_due(wait)) != count.woken());
        assert_eq!(
            not_woken.count(),
            0,
            "with {late} waits that parked meanwhile"
        );
        assert_eq!(waits.iter().filter(|(_, wait)| is_due(wait)).count(), 384);
    }
}

#[test]
fn the_connections_that_wait_are_found_and_no_others() {
    let (_trigger, signal) = channel();
    let mut cx = Context::from_waker(Waker::noop());
    let mut park = || {
        let mut wait = PhaseWait::new(signal.watch().unwrap());
        assert!(wait.poll_phase(&mut cx, Phase::Open).is_pending());
        wait
    };
    let mut waits: Vec<_> = (0..200).map(|_| park()).collect();
    waits.drain(..50);
    waits[7].handle().start_now();
    let _never_waited = signal.watch().unwrap();
    let found = signal.waiting();
    assert_eq!(found.len(), 149);
    assert_eq!(
        found.iter().filter(|handle| handle.start_now()).count(),
        149
    );
    assert!(waits.iter().all(|wait| wait.handle().is_due()));
    assert!(signal.waiting().is_empty());
    assert!(!signal.is_draining() && signal.watch().is_ok());
    drop(waits);
    assert!(signal.waiting().is_empty());
    assert!(found.iter().all(|handle| handle.phase() == Phase::Signaled));
}

/// So many connections that wait for their slots, in a drain that starts at the instant returned.
fn draining(waits: usize) -> (Vec<PhaseWait<DrainWatch>>, Draining, Instant) {
    let (trigger, signal) = channel();
    let mut cx = Context::from_waker(Waker::noop());
    let mut waits: Vec<_> = (0..waits)
        .map(|_| PhaseWait::new(signal.watch().unwrap()))
        .collect();
    for wait in &mut waits {
        assert_pending!(wait.poll_phase(&mut cx, Phase::Open));
    }
    #[expect(clippy::disallowed_methods, reason = "any instant will do as a start")]
    let event = DrainEvent::new(Instant::now(), T, DrainReason::ListenerModify);
    let start = event.start;
    (waits, trigger.start(event), start)
}

#[test]
fn a_slot_among_ten_thousand_is_found_in_one_look() {
    let (waits, draining, mut now) = draining(10_000);
    let mut looks = 0;
    for _ in 0..1000 {
        let advance = draining.advance(now);
        looks += usize::from(advance.more);
        now = advance.next.expect("it has come to no end");
    }
    // Each has to be looked at once: in portions, as the shard is locked meanwhile.
    assert!(looks < 10, "{looks} looks found no end");
    let come = waits
        .iter()
        .filter(|wait| wait.handle().phase() > Phase::Open);
    assert!((900..1000).contains(&come.count()));
}

#[test]
fn a_drain_rests_although_time_goes_on_while_it_looks() {
    let (_waits, draining, mut now) = draining(150_000);
    let mut rests = 0;
    for _ in 0..1000 {
        let advance = draining.advance(now);
        // So long it takes; several connections have their slot meanwhile.
        now += Duration::from_millis(1);
        let next = advance.next.expect("it has come to no end");
        if !advance.more && next > now {
            rests += 1;
            now = next;
        }
    }
    assert!(rests > 200, "{rests} rests");
}

/// What happens to the waits of a drain.
#[derive(Debug, Clone)]
enum Act {
    /// So many connections open and wait to pass a phase, all of one kind.
    Park(usize, Place, DrainedBy, Phase),
    /// One of them polls again, to pass another phase.
    Again(usize, Phase),
    Drop(usize),
    Force(usize),
    Widen,
    /// Milliseconds pass.
    Pass(u64),
    /// The deadline comes so many milliseconds nearer.
    Nearer(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let phase = || {
        let phases = [
            Phase::Open,
            Phase::Signaled,
            Phase::Finishing,
            Phase::Expired,
        ];
        select(phases.to_vec())
    };
    let by = select(vec![DrainedBy::Any, DrainedBy::Full]);
    let place = any::<u16>().prop_map(Place::new);
    prop_oneof![
        4 => (1..40usize, place, by, phase()).prop_map(|(n, place, by, phase)| Act::Park(n, place, by, phase)),
        3 => (any::<usize>(), phase()).prop_map(|(wait, phase)| Act::Again(wait, phase)),
        3 => any::<usize>().prop_map(Act::Drop),
        1 => any::<usize>().prop_map(Act::Force),
        1 => Just(Act::Widen),
        8 => (0..4000u64).prop_map(Act::Pass),
        1 => (0..10_000u64).prop_map(Act::Nearer),
    ]
}

proptest! {
    #[test]
    fn every_wait_is_woken_when_its_time_has_come_and_not_before(
        before in vec(act(), 0..20),
        during in vec(act(), 1..80),
        schedule in select(vec![DrainSchedule::FirstQuarter, DrainSchedule::Envoy140]),
    ) {
        let (trigger, signal) = channel();
        #[expect(clippy::disallowed_methods, reason = "any instant will do as a start")]
        let event = DrainEvent::new(Instant::now(), T, DrainReason::Admin)
            .with_direction(DrainDirection::InboundOnly)
            .with_schedule(schedule);
        let (mut now, mut deadline) = (event.start, event.start + T);
        let (mut trigger, mut event, mut draining) = (Some(trigger), Some(event), None);
        let mut waits: Vec<(Arc<Count>, PhaseWait<DrainWatch>, Phase)> = vec![];
        let start = before.len();
        for (nth, act) in before.into_iter().chain(during).enumerate() {
            if nth == start {
                draining = trigger.take().zip(event.take()).map(|(trigger, event)| trigger.start(event));
            }
            match (act, &draining) {
                (Act::Park(many, place, by, after), _) => for _ in 0..many {
                    let options = WatchOptions::default().with_place(place).with_drained_by(by);
                    let Ok(watch) = signal.watch_with(options) else { continue };
                    let ((count, waker), mut wait) = (Count::task(), PhaseWait::new(watch));
                    if wait.poll_phase(&mut Context::from_waker(&waker), after).is_pending() {
                        waits.push((count, wait, after));
                    }
                },
                (Act::Again(wait, to), _) if !waits.is_empty() => {
                    let wait = wait % waits.len();
                    let (_, mut again, _) = waits.swap_remove(wait);
                    let (count, waker) = Count::task();
                    if again.poll_phase(&mut Context::from_waker(&waker), to).is_pending() {
                        waits.push((count, again, to));
                    }
                }
                (Act::Drop(wait), _) if !waits.is_empty() => {
                    let wait = wait % waits.len();
                    drop(waits.swap_remove(wait));
                }
                (Act::Force(wait), _) if !waits.is_empty() => {
                    let wait = wait % waits.len();
                    waits[wait].1.handle().force();
                }
                (Act::Widen, Some(draining)) => { draining.widen(); }
                (Act::Pass(time), Some(_)) => now += Duration::from_millis(time),
                (Act::Nearer(by), Some(draining)) => {
                    deadline -= Duration::from_millis(by);
                    draining.bring_forward(deadline);
                }
                _ => {}
            }
            if let Some(draining) = &draining {
                while draining.advance(now).more {}
            }
            for (count, wait, after) in &waits {
                prop_assert_eq!(count.woken(), usize::from(wait.handle().phase() > *after), "{:?}", wait);
            }
        }
    }
}
