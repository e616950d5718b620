//! Every interleaving of a registration with an event.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p drain-sync --features __loom --test loom --release`
#![cfg(loom)]

use std::future::poll_fn;
use std::task::Poll;

use drain_sync::{AtomicBool, Ordering, PerShard, WaitList, Waiter};
use loom::sync::Arc;
use loom::{future::block_on, thread};

#[test]
fn an_event_that_happens_while_a_wait_registers_reaches_it() {
    loom::model(|| {
        let shared = Arc::new((WaitList::default(), AtomicBool::new(false)));
        let happening = Arc::clone(&shared);
        let event = thread::spawn(move || {
            happening.1.store(true, Ordering::Release);
            happening.0.wake_all();
        });
        let mut waiter = Waiter::default();
        block_on(poll_fn(|cx| {
            shared.0.register(&mut waiter, cx.waker());
            if shared.1.load(Ordering::Acquire) {
                shared.0.remove(&mut waiter);
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }));
        event.join().unwrap();
    });
}

#[test]
fn two_threads_of_one_shard_get_one_value() {
    loom::model(|| {
        let values = Arc::new(PerShard::with_len(1));
        let other = Arc::clone(&values);
        let making = thread::spawn(move || *other.mine_or_init(|| 1));
        let mine = *values.mine_or_init(|| 2);
        assert_eq!(making.join().unwrap(), mine);
    });
}
