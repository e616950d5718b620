//! The hand-written server of the example `hand_written`, under a drain and with traffic.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod settle;

#[path = "../examples/hand_written/server.rs"]
mod server;

use std::io;
use std::time::Duration;

use drain_signal::{CloseCause, Closed, DrainEvent, DrainReason, DrainStrategy, DrainTrigger, drive};
use proto_drain_http1::{
    CloseCounters, CloseCounts, Http1Connection, Http1Settings, LingerIo, LingerSettings, Outcome,
};
use server::Connection;
use settle::settle;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::Instant;

const DRAIN_TIME: Duration = Duration::from_secs(60);
const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

struct Rig {
    client: DuplexStream,
    served: JoinHandle<Closed<Outcome<io::Result<()>>>>,
    counters: CloseCounters,
    trigger: Option<DrainTrigger>,
}

impl Rig {
    fn new() -> Self {
        let (client, transport) = duplex(64 * 1024);
        let (trigger, signal) = drain_signal::channel();
        let watch = signal.watch().unwrap();
        let counters = CloseCounters::new();
        let io = LingerIo::new(transport, LingerSettings::default(), counters.clone());
        let exchanges = io.exchanges().clone();
        let connection = Connection::new(io, watch.handle());
        let connection = Http1Connection::new(connection, exchanges, Http1Settings::default());
        Self {
            client,
            served: tokio::spawn(drive(connection, watch)),
            counters,
            trigger: Some(trigger),
        }
    }

    async fn send(&mut self, bytes: &str) {
        self.client.write_all(bytes.as_bytes()).await.unwrap();
        settle().await;
    }

    /// One response, which must come.
    async fn response(&mut self) -> String {
        let mut got = Vec::new();
        while !got.ends_with(b"hello\n") {
            got.push(self.client.read_u8().await.unwrap());
        }
        String::from_utf8(got).unwrap()
    }

    /// Everything up to FIN.
    async fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.client.read_to_string(&mut rest).await.unwrap();
        rest
    }

    /// A drain whose slots are all now.
    async fn drain(&mut self) {
        settle().await;
        let event = DrainEvent::new(Instant::now().into_std(), DRAIN_TIME, DrainReason::ListenerModify);
        let event = event.with_strategy(DrainStrategy::Immediate);
        let draining = self.trigger.take().unwrap().start(event);
        tokio::spawn(async move {
            while let Some(next) = draining.advance(Instant::now().into_std()).next {
                tokio::time::sleep_until(next.into()).await;
            }
        });
        settle().await;
    }

    /// The client closes; how the connection ended.
    async fn end(self) -> (CloseCause, CloseCounts) {
        drop(self.client);
        let closed = self.served.await.unwrap();
        assert!(
            matches!(closed.output, Some(Outcome::Ended(Ok(())))),
            "{closed:?}"
        );
        (closed.cause, self.counters.counts())
    }
}

#[tokio::test(start_paused = true)]
async fn a_hand_written_server_says_close_on_its_next_response_and_closes_in_stages() {
    let mut rig = Rig::new();
    for _ in 0..3 {
        rig.send(GET).await;
        assert!(!rig.response().await.contains("connection"));
    }
    rig.drain().await;
    // The second one stands behind the close, and is not processed.
    rig.send(&GET.repeat(2)).await;
    assert!(rig.response().await.contains("connection: close\r\n"));
    assert_eq!(rig.rest().await, "");
    let (cause, counts) = rig.end().await;
    assert_eq!(cause, CloseCause::Drained);
    assert_eq!((counts.staged, counts.aborted), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_hand_written_server_answers_half_a_request_that_is_there_at_the_slot() {
    let mut rig = Rig::new();
    rig.send(&GET[..20]).await;
    rig.drain().await;
    rig.send(&GET[20..]).await;
    assert!(rig.rest().await.contains("connection: close\r\n"));
    assert_eq!(rig.end().await.0, CloseCause::Drained);
}

#[tokio::test(start_paused = true)]
async fn a_hand_written_server_leaves_an_idle_connection_alone_until_the_last_word() {
    let mut rig = Rig::new();
    rig.send(GET).await;
    rig.response().await;
    rig.drain().await;
    let start = Instant::now();
    assert_eq!(rig.rest().await, "");
    assert_eq!(start.elapsed(), DRAIN_TIME - Duration::from_secs(1));
    assert_eq!(rig.end().await.0, CloseCause::Finished);
}
