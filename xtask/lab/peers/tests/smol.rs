//! No runtime of ours: smol's executor and timers drive the drain and the connections.

use std::time::{Duration, Instant};

use drain_signal::{DrainEvent, DrainReason, channel};

#[expect(clippy::disallowed_methods, reason = "any instant will do as a start")]
#[test]
fn a_whole_drain_under_smol() {
    let (trigger, signal) = channel();
    let executor = smol::Executor::new();
    for _ in 0..100 {
        let watch = signal.watch().unwrap();
        executor
            .spawn(async move { drop(watch.signaled().await) })
            .detach();
    }
    let start = Instant::now();
    let draining = trigger.start(DrainEvent::new(
        start,
        Duration::from_millis(40),
        DrainReason::HotRestart,
    ));
    smol::block_on(executor.run(async {
        let pace = async {
            let mut now = start;
            loop {
                let step = draining.advance(now);
                match step.next {
                    _ if step.more => smol::future::yield_now().await,
                    Some(next) => {
                        smol::Timer::at(next).await;
                        now = next;
                    }
                    None => std::future::pending().await,
                }
            }
        };
        smol::future::or(draining.drained(), pace).await;
    }));
    assert!(signal.watch().is_err());
}
