//! The debug text of every handle is short, however many connections there are, and is written with
//! nothing locked: what it is written to may use the drain.

use std::fmt::{self, Write};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use drain_signal::{DrainEvent, DrainReason, Phase, PhaseWait, channel};

/// Calls back whenever something is written to it.
struct Writer<F> {
    use_all: F,
    length: usize,
}

impl<F: FnMut()> Write for Writer<F> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.length += text.len();
        assert!(self.length < 10_000, "it grows with the connections");
        (self.use_all)();
        Ok(())
    }
}

#[test]
fn a_debug_text_is_short_and_its_writer_may_use_the_drain() {
    let (trigger, signal) = channel();
    let mut cx = Context::from_waker(Waker::noop());
    let mut park = || {
        let mut wait = PhaseWait::new(signal.watch().unwrap());
        assert!(wait.poll_phase(&mut cx, Phase::Open).is_pending());
        wait
    };
    let waits: Vec<_> = (0..1000).map(|_| park()).collect();
    let watch = signal.watch().unwrap();
    let mut drained = pin!(signal.drained());
    assert!(
        drained
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    );
    let trigger_text = format!("{trigger:?}");
    assert!(trigger_text.len() < 1000, "{trigger_text}");
    #[expect(clippy::disallowed_methods, reason = "any instant will do as a start")]
    let event = DrainEvent::new(Instant::now(), Duration::from_secs(60), DrainReason::Admin);
    let draining = trigger.start(event);
    let use_all = || {
        draining.wake_on_change(Waker::noop());
        draining.deadline();
        draining.advance(draining.event().unwrap().start);
        watch.start_now();
        drop(signal.watch());
    };
    let mut writer = Writer { use_all, length: 0 };
    write!(
        writer,
        "{draining:?} {signal:?} {drained:?} {watch:?} {:?}",
        watch.signaled()
    )
    .unwrap();
    write!(writer, "{:?}", waits[500]).unwrap();
}
