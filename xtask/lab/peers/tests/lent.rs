//! A set of futures that lends wakers: what it polls with points into its own stack, and only the
//! clone belongs to one future. Two futures polled one after the other get the same address.
#![expect(clippy::disallowed_methods, reason = "any instant will do as a start")]

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use drain_signal::{DrainEvent, DrainReason, DrainStrategy, Phase, PhaseWait, channel};
use futures_util::FutureExt;
use unicycle::FuturesUnordered;

type Set = FuturesUnordered<Pin<Box<dyn Future<Output = Phase>>>>;

/// Polls those of the set that were woken. Never inlined, so that each poll finds the same stack.
#[inline(never)]
fn poll(set: &mut Set) -> Option<Phase> {
    set.next().now_or_never().flatten()
}

#[test]
fn a_wait_that_moves_between_futures_with_lent_wakers_wakes_the_last_one() {
    let (trigger, signal) = channel();
    let wait = PhaseWait::new(signal.watch().expect("no drain is on"));
    let wait = Rc::new(RefCell::new(wait));
    let addresses = Rc::new(RefCell::new(vec![]));
    let mut sets = [(); 2].map(|()| {
        let (wait, addresses) = (Rc::clone(&wait), Rc::clone(&addresses));
        let mut set: Set = FuturesUnordered::new();
        set.push(Box::pin(poll_fn(move |cx| {
            addresses.borrow_mut().push(cx.waker().data().addr());
            wait.borrow_mut().poll_phase(cx, Phase::Open)
        })));
        set
    });
    for set in &mut sets {
        assert_eq!(poll(set), None);
    }
    let polled = addresses.borrow().clone();
    assert!(
        polled.len() == 2 && polled[0] == polled[1],
        "it does not lend: {polled:x?}"
    );
    let event = DrainEvent::new(Instant::now(), Duration::from_secs(60), DrainReason::Admin)
        .with_strategy(DrainStrategy::Immediate);
    let start = event.start;
    let draining = trigger.start(event);
    while draining.advance(start).more {}
    assert_eq!(sets.each_mut().map(poll), [None, Some(Phase::Signaled)]);
}
