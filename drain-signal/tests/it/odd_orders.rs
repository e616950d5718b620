//! Wakers that let connections, waits and the drain go while they are woken: nothing hangs, no wake
//! is lost, and nothing stays.

use std::any::Any;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use drain_signal::{
    DrainEvent, DrainHandle, DrainReason, DrainStrategy, DrainTrigger, DrainWatch, Draining, Phase,
    PhaseWait, channel,
};
use tokio_test::{assert_pending, assert_ready, task};

/// All slots are at the start; no connection has been woken yet.
fn begin(trigger: DrainTrigger) -> Draining {
    #[expect(clippy::disallowed_methods, reason = "any instant will do as a start")]
    let event = DrainEvent::new(Instant::now(), Duration::from_secs(60), DrainReason::Admin);
    trigger.start(event.with_strategy(DrainStrategy::Immediate))
}

fn advance(draining: &Draining) {
    let now = draining.event().unwrap().start;
    while draining.advance(now).more {}
}

/// Drops what it has when it is woken.
#[derive(Default)]
struct LetsGo {
    kept: Mutex<Vec<Box<dyn Any + Send>>>,
    woken: AtomicUsize,
}

impl LetsGo {
    fn keep(&self, what: impl Any + Send) {
        self.kept.lock().unwrap().push(Box::new(what));
    }
}

impl Wake for LetsGo {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, Ordering::Relaxed);
        let kept = std::mem::take(&mut *self.kept.lock().unwrap());
        drop(kept);
    }
}

fn park<H: AsRef<DrainHandle>>(handle: H, lets_go: &Arc<LetsGo>) -> PhaseWait<H> {
    let mut wait = PhaseWait::new(handle);
    let waker = Waker::from(Arc::clone(lets_go));
    assert_pending!(wait.poll_phase(&mut Context::from_waker(&waker), Phase::Open));
    wait
}

#[test]
fn the_last_guard_may_go_in_the_waker_that_a_slot_or_an_operator_wakes() {
    let ways: [fn(&Draining, &DrainHandle); 3] = [
        |draining, _| advance(draining),
        |_, operator| assert!(operator.force()),
        |_, operator| assert!(operator.start_now()),
    ];
    for wake in ways {
        let (trigger, signal) = channel();
        let watch = signal.watch().unwrap();
        let operator = watch.handle();
        let lets_go = Arc::new(LetsGo::default());
        let wait = park(watch.handle(), &lets_go);
        lets_go.keep(watch);
        let draining = begin(trigger);
        let mut drained = task::spawn(signal.drained());
        assert_pending!(drained.poll());
        wake(&draining, &operator);
        assert!(drained.is_woken());
        assert_ready!(drained.poll());
        assert!(signal.watch().is_err());
        drop(wait);
        assert_eq!(Arc::strong_count(&lets_go), 1);
    }
}

#[test]
fn the_first_that_is_woken_may_drop_the_waits_of_all_others() {
    let (trigger, signal) = channel();
    let first = Arc::new(LetsGo::default());
    let others = Arc::new(LetsGo::default());
    let _first = park(signal.watch().unwrap(), &first);
    for _ in 0..100 {
        first.keep(park(signal.watch().unwrap(), &others));
    }
    let draining = begin(trigger);
    advance(&draining);
    assert_eq!(first.woken.load(Ordering::Relaxed), 1);
    // Those of the first call had been taken out already; the others went with their waits.
    assert!(others.woken.load(Ordering::Relaxed) < 32);
    assert_eq!((signal.open_watches(), Arc::strong_count(&others)), (1, 1));
}

#[test]
fn the_waker_that_hears_of_the_end_may_drop_the_drain() {
    let (trigger, signal) = channel();
    let watch = signal.watch().unwrap();
    let handle = watch.handle();
    let (lets_go, other) = (Arc::new(LetsGo::default()), Arc::new(LetsGo::default()));
    let draining = begin(trigger);
    draining.wake_on_change(&Waker::from(Arc::clone(&lets_go)));
    let second = draining.clone();
    second.wake_on_change(&Waker::from(Arc::clone(&other)));
    lets_go.keep((draining, second, signal));
    drop(watch);
    assert_eq!(Arc::strong_count(&lets_go), 1);
    assert_eq!(other.woken.load(Ordering::Relaxed), 1);
    assert!(handle.is_draining());
}

/// A driver of each other: the task that is woken moves the drain on itself.
#[test]
fn the_waker_may_move_the_drain_on_itself() {
    struct MovesOn(Mutex<Option<Draining>>, AtomicUsize);
    impl Wake for MovesOn {
        fn wake(self: Arc<Self>) {
            self.1.fetch_add(1, Ordering::Relaxed);
            let draining = self.0.lock().unwrap().clone();
            if let Some(draining) = draining {
                draining.advance(draining.event().unwrap().start);
            }
        }
    }
    let (trigger, signal) = channel();
    let moves_on = Arc::new(MovesOn(Mutex::new(None), AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&moves_on));
    let mut cx = Context::from_waker(&waker);
    let mut waits: Vec<PhaseWait<DrainWatch>> = vec![];
    for _ in 0..300 {
        let mut wait = PhaseWait::new(signal.watch().unwrap());
        assert_pending!(wait.poll_phase(&mut cx, Phase::Open));
        waits.push(wait);
    }
    let draining = begin(trigger);
    *moves_on.0.lock().unwrap() = Some(draining.clone());
    advance(&draining);
    assert_eq!(moves_on.1.load(Ordering::Relaxed), 300);
    *moves_on.0.lock().unwrap() = None;
}
