//! The hand-written server of the example `hand_written`, under a drain and with traffic.

use crate::settle;

#[path = "../../examples/hand_written/server.rs"]
mod server;

use std::io;
use std::time::Duration;

use drain_signal::{
    CloseCause, Closed, DrainEvent, DrainReason, DrainStrategy, DrainTrigger, drive,
};
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
        let event = DrainEvent::new(
            Instant::now().into_std(),
            DRAIN_TIME,
            DrainReason::ListenerModify,
        );
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
async fn a_hand_written_server_leaves_an_idle_connection_alone_until_the_deadline() {
    let mut rig = Rig::new();
    rig.send(GET).await;
    rig.response().await;
    rig.drain().await;
    let start = Instant::now();
    assert_eq!(rig.rest().await, "");
    assert_eq!(start.elapsed(), DRAIN_TIME);
    assert_eq!(rig.end().await.0, CloseCause::Aborted);
}

/// What the server answers to these bytes and the end of the client's side, and how it closes.
async fn answers(bytes: &[u8]) -> String {
    let mut rig = Rig::new();
    rig.client.write_all(bytes).await.unwrap();
    rig.client.shutdown().await.unwrap();
    let mut all = Vec::new();
    rig.client.read_to_end(&mut all).await.unwrap();
    String::from_utf8(all).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_body_that_can_be_read_is_read_and_is_not_the_next_request() {
    let inner = "GET /smuggled HTTP/1.1\r\nhost: evil\r\n\r\n";
    let length = inner.len();
    let post =
        format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{inner}{GET}");
    let all = answers(post.as_bytes()).await;
    assert_eq!(
        all.matches("HTTP/1.1 200").count(),
        2,
        "the POST and the GET behind it: {all}"
    );
    assert!(!all.contains("connection: close"), "{all}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_not_read_ends_the_connection_with_its_response() {
    let long = format!("content-length: {}\r\n", 64 * 1024 + 1);
    for field in [
        "transfer-encoding: chunked\r\n",
        "content-length: 0\r\ncontent-length: 36\r\n",
        "content-length: nonsense\r\n",
        "content-length: 36\r\nexpect: 100-continue\r\n",
        "content-length: 36\r\ntransfer-encoding: chunked\r\n",
        &long,
    ] {
        let post = format!("POST / HTTP/1.1\r\nhost: a\r\n{field}\r\n{GET}{GET}");
        let all = answers(post.as_bytes()).await;
        assert_eq!(all.matches("HTTP/1.1 200").count(), 1, "{field}: {all}");
        assert!(all.contains("connection: close\r\n"), "{field}: {all}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for_without_end() {
    let mut rig = Rig::new();
    rig.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 36\r\n\r\nGET /")
        .await;
    let start = Instant::now();
    let all = rig.rest().await;
    assert!(all.contains("connection: close\r\n"), "{all}");
    assert_eq!(start.elapsed(), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_head_without_end_ends_the_connection() {
    let lines = "x: y\r\n".repeat(4000);
    for head in [format!("GET / HTTP/1.1\r\n{lines}"), "x".repeat(20_000)] {
        let mut rig = Rig::new();
        rig.client.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(rig.rest().await, "");
        drop(rig.client);
        let closed = rig.served.await.unwrap();
        assert!(
            matches!(closed.output, Some(Outcome::Ended(Err(_)))),
            "{closed:?}"
        );
    }
}
