//! A drain on tokio's paused clock, and small peers.
#![allow(dead_code, reason = "each test file uses its own part")]

use drain_signal::{CloseSteps, DrainEvent, DrainReason, DrainSignal, DrainStrategy, DrainTrigger};
use socket2::SockRef;
use std::time::Duration;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep_until},
};

/// A drain that has not begun.
pub(crate) fn drain() -> (DrainTrigger, DrainSignal) {
    drain_signal::channel()
}

/// Begins a drain that tells everyone at once, and paces it from a task of its own.
pub(crate) fn begin(trigger: DrainTrigger, drain_time: Duration) -> Instant {
    begin_with(trigger, drain_time, CloseSteps::default())
}

/// The same with close steps of its own.
pub(crate) fn begin_with(
    trigger: DrainTrigger,
    drain_time: Duration,
    steps: CloseSteps,
) -> Instant {
    let start = Instant::now();
    let event = DrainEvent::new(start.into_std(), drain_time, DrainReason::ListenerModify)
        .with_strategy(DrainStrategy::Immediate)
        .with_close_steps(steps);
    let draining = trigger.start(event);
    tokio::spawn(async move {
        loop {
            let advance = draining.advance(Instant::now().into_std());
            match advance.next {
                _ if advance.more => tokio::task::yield_now().await,
                Some(next) => sleep_until(next.into()).await,
                None => return,
            }
        }
    });
    start
}

/// Everything until the peer's end; panics on a reset.
pub(crate) async fn read_all(mut from: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut all = Vec::new();
    from.read_to_end(&mut all).await.expect("ends in FIN");
    all
}

/// The two ends of one TCP connection.
pub(crate) async fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let (outer, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    (outer.expect("connected"), accepted.expect("accepted").0)
}

/// The peer resets its connection.
#[expect(clippy::disallowed_methods, reason = "zero does not block")]
pub(crate) fn reset(peer: TcpStream) {
    SockRef::from(&peer)
        .set_linger(Some(Duration::ZERO))
        .expect("a socket");
}
