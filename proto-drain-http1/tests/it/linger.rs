//! The transport wrapper alone: what passes through, how it closes, what its drop does.

use crate::settle::settle;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use proto_drain_http1::{
    CloseCode, CloseCounters, CloseCounts, Exchanges, LingerIo, LingerSettings, Lingering,
    WebSocketClientIo, WebSocketIo,
};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufStream, DuplexStream, ReadBuf, duplex,
};
use tokio::time::Instant;
use tokio_test::{assert_pending, assert_ready_ok, task};

const SECOND: Duration = Duration::from_secs(1);

fn pair(settings: LingerSettings) -> (LingerIo<DuplexStream>, DuplexStream, CloseCounters) {
    let (server, client) = duplex(64 * 1024);
    let counters = CloseCounters::new();
    (
        LingerIo::new(server, settings, counters.clone()),
        client,
        counters,
    )
}

fn counts(counters: &CloseCounters) -> [u64; 4] {
    let CloseCounts {
        staged,
        timed_out,
        byte_bounded,
        aborted,
        ..
    } = counters.counts();
    [staged, timed_out, byte_bounded, aborted]
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_sends_fin_first_and_ends_with_the_peers_own() {
    let (mut server, mut client, counters) = pair(LingerSettings::default());
    server.write_all(b"response").await.unwrap();
    let mut shutdown = task::spawn(async { server.shutdown().await });
    assert_pending!(shutdown.poll());

    let mut response = String::new();
    client.read_to_string(&mut response).await.unwrap();
    assert_eq!(response, "response");
    client.write_all(b"still talking").await.unwrap();
    assert_pending!(shutdown.poll());
    drop(client);
    assert!(shutdown.is_woken());
    assert_ready_ok!(shutdown.poll());
    drop(shutdown);
    drop(server);
    assert_eq!(counts(&counters), [1, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stays_is_left_after_delayed_close_timeout() {
    let (mut server, client, counters) = pair(LingerSettings::default());
    server.write_all(b"response").await.unwrap();
    let start = Instant::now();
    server.shutdown().await.unwrap();
    assert_eq!(start.elapsed(), SECOND);
    assert_eq!(counts(&counters), [0, 1, 0, 0]);
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_read_into_no_room_is_no_end() {
    let (mut server, client, counters) = pair(LingerSettings::default());
    server.write_all(b"response").await.unwrap();
    assert_eq!(server.read(&mut []).await.unwrap(), 0);
    let start = Instant::now();
    server.shutdown().await.unwrap();
    assert_eq!((start.elapsed(), counts(&counters)), (SECOND, [0, 1, 0, 0]));
    drop(client);
}

#[tokio::test]
async fn a_flush_reaches_the_transport() {
    async fn reaches<IO: AsyncWrite + Unpin>(wrap: impl FnOnce(BufStream<DuplexStream>) -> IO) {
        let (near, mut far) = duplex(64);
        let mut io = wrap(BufStream::new(near));
        io.write_all(b"response").await.unwrap();
        assert!(far.read_u8().now_or_never().is_none(), "it is buffered");
        io.flush().await.unwrap();
        far.read_exact(&mut [0; 8]).now_or_never().unwrap().unwrap();
    }
    reaches(|io| LingerIo::new(io, LingerSettings::default(), CloseCounters::new())).await;
    reaches(WebSocketClientIo::new).await;
    let (_trigger, signal) = drain_signal::channel();
    let handle = signal.watch().unwrap().handle();
    reaches(|io| WebSocketIo::new(io, handle, CloseCode::GoingAway)).await;
}

#[tokio::test(start_paused = true)]
async fn talking_does_not_stretch_the_timeout() {
    let (mut server, mut client, counters) = pair(LingerSettings::default());
    server.write_all(b"response").await.unwrap();
    let talker = tokio::spawn(async move {
        while client.write_all(b"more").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let start = Instant::now();
    server.shutdown().await.unwrap();
    assert_eq!(start.elapsed(), SECOND);
    drop(server);
    talker.await.unwrap();
    assert_eq!(counts(&counters), [0, 1, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_left_at_the_byte_bound() {
    let (mut server, mut client, counters) =
        pair(LingerSettings::default().with_discard_limit(1024 * 1024));
    server.write_all(b"response").await.unwrap();
    let flood = tokio::spawn(async move {
        let mut sent = 0_usize;
        while let Ok(bytes) = client.write(&[0; 16 * 1024]).await {
            sent += bytes;
        }
        sent
    });
    let start = Instant::now();
    server.shutdown().await.unwrap();
    drop(server);
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(counts(&counters), [0, 0, 1, 0]);
    assert!(flood.await.unwrap() <= 1024 * 1024 + 2 * 64 * 1024);
}

#[tokio::test(start_paused = true)]
async fn a_flood_lets_other_tasks_run() {
    /// A transport that always has bytes.
    #[derive(Debug)]
    struct Endless(usize);
    impl AsyncRead for Endless {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.0 += 1;
            buf.initialize_unfilled();
            buf.advance(buf.remaining());
            Poll::Ready(Ok(()))
        }
    }
    impl AsyncWrite for Endless {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(buf.len()))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }
    let mut io = LingerIo::new(Endless(0), LingerSettings::default(), CloseCounters::new());
    io.write_all(b"response").await.unwrap();
    let mut shutdown = task::spawn(async { io.shutdown().await });
    assert_pending!(shutdown.poll());
    assert!(shutdown.is_woken());
    drop(shutdown);
    assert!(io.get_ref().0 <= 32);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_of_zero_half_closes_and_reads_nothing() {
    let settings = LingerSettings::default().with_delayed_close_timeout(Duration::ZERO);
    let (mut server, client, counters) = pair(settings);
    server.write_all(b"response").await.unwrap();
    let start = Instant::now();
    server.shutdown().await.unwrap();
    drop(server);
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(counts(&counters), [0, 0, 0, 0]);
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn nothing_written_is_nothing_to_wait_for() {
    let (mut server, client, counters) = pair(LingerSettings::default());
    let start = Instant::now();
    server.shutdown().await.unwrap();
    drop(server);
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(counts(&counters), [0, 0, 0, 0]);
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_behind_which_nothing_follows_ends_with_the_half_close() {
    type Say = fn(&Exchanges);
    let said: [(&str, Say, bool, u64); 4] = [
        ("a request may follow", |_| {}, true, 1),
        ("the client ends", Exchanges::client_ends, true, 0),
        ("the same, over TLS", Exchanges::client_ends, false, 1),
        ("the owner waits", Exchanges::owner_waits, false, 0),
    ];
    for (what, say, plain, seconds) in said {
        let (server, mut client) = duplex(64);
        // Not known as plain by itself.
        let server = BufStream::new(server);
        let settings = LingerSettings::default();
        let mut server = LingerIo::new(server, settings, CloseCounters::new());
        if plain {
            server = server.with_plain_shutdown();
        }
        server.write_all(b"response").await.unwrap();
        say(server.exchanges());
        let start = Instant::now();
        server.shutdown().await.unwrap();
        assert_eq!(start.elapsed().as_secs(), seconds, "{what}");
        let mut response = String::new();
        client.read_to_string(&mut response).await.unwrap();
        assert_eq!(response, "response", "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_a_write_waits_is_discarded_only_if_the_response_says_so() {
    for discards in [false, true] {
        let (server, mut client) = duplex(8);
        let settings = LingerSettings::default();
        let mut server = LingerIo::new(server, settings, CloseCounters::new());
        if discards {
            server.exchanges().discard_rest();
        }
        client.write_all(b"behind").await.unwrap();
        let writing = async {
            server.write_all(b"a response").await.unwrap();
            server
        };
        let reading = async {
            tokio::task::yield_now().await;
            client.read_exact(&mut [0; 10]).await.unwrap();
            client.shutdown().await.unwrap();
        };
        let (mut server, ()) = tokio::join!(writing, reading);
        let mut behind = String::new();
        server.read_to_string(&mut behind).await.unwrap();
        assert_eq!(behind, if discards { "" } else { "behind" });
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_a_write_waits_is_discarded_up_to_the_limit() {
    let (server, mut client) = duplex(16);
    let settings = LingerSettings::default().with_discard_limit(10);
    let mut server = LingerIo::new(server, settings, CloseCounters::new());
    server.exchanges().discard_rest();
    let mut writing = task::spawn(server.write_all(&[b'r'; 32]));
    for came in ["behind", "rest", "kept"] {
        assert_pending!(writing.poll());
        client.write_all(came.as_bytes()).await.unwrap();
    }
    assert_pending!(writing.poll());
    client.read_exact(&mut [0; 16]).await.unwrap();
    assert_ready_ok!(writing.poll());
    drop(writing);
    client.shutdown().await.unwrap();
    let mut kept = String::new();
    server.read_to_string(&mut kept).await.unwrap();
    assert_eq!(kept, "kept");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_ends_while_a_write_waits_is_not_waited_for_again() {
    let (server, mut client) = duplex(16);
    let counters = CloseCounters::new();
    let mut server = LingerIo::new(server, LingerSettings::default(), counters.clone());
    server.exchanges().discard_rest();
    client.write_all(b"the last").await.unwrap();
    client.shutdown().await.unwrap();
    let mut writing = task::spawn(server.write_all(&[b'r'; 32]));
    assert_pending!(writing.poll());
    settle().await;
    assert!(!writing.is_woken(), "there is nothing more to discard");
    client.read_exact(&mut [0; 16]).await.unwrap();
    assert_ready_ok!(writing.poll());
    drop(writing);
    let start = Instant::now();
    server.shutdown().await.unwrap();
    assert_eq!(
        (start.elapsed(), counts(&counters)),
        (Duration::ZERO, [1, 0, 0, 0])
    );
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_half_closes_and_goes_on_reading() {
    let (mut server, mut client, counters) = pair(LingerSettings::default());
    server.exchanges().switch_to_tunnel();
    server.write_all(b"last words").await.unwrap();
    server.shutdown().await.unwrap();
    client.write_all(b"reply").await.unwrap();
    client.shutdown().await.unwrap();
    let mut reply = String::new();
    server.read_to_string(&mut reply).await.unwrap();
    assert_eq!(reply, "reply");
    drop(server);
    assert_eq!(counts(&counters), [0, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_drop_with_the_peer_there_is_an_abort() {
    let (mut server, client, counters) = pair(LingerSettings::default());
    server.write_all(b"response").await.unwrap();
    drop(server);
    assert_eq!(counts(&counters), [0, 0, 0, 1]);
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_drop_in_the_middle_of_a_staged_close_is_an_abort() {
    let (mut server, client, counters) = pair(LingerSettings::default());
    server.write_all(b"response").await.unwrap();
    let mut shutdown = task::spawn(async { server.shutdown().await });
    assert_pending!(shutdown.poll());
    drop(shutdown);
    drop(server);
    assert_eq!(counts(&counters), [0, 0, 0, 1]);
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_drop_after_the_peers_fin_or_before_any_byte_loses_nothing() {
    let (mut server, mut client, counters) = pair(LingerSettings::default());
    server.write_all(b"response").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
    drop(server);

    let (silent, client, silent_counters) = pair(LingerSettings::default());
    drop(silent);
    drop(client);
    assert_eq!(
        (counts(&counters), counts(&silent_counters)),
        ([0; 4], [0; 4])
    );
}

#[tokio::test(start_paused = true)]
async fn a_dropped_transport_lingers_where_the_spawner_puts_it() {
    let heirs = Arc::new(Mutex::new(Vec::<Lingering<DuplexStream>>::new()));
    let (server, mut client, counters) = pair(LingerSettings::default());
    let given = Arc::clone(&heirs);
    let mut server = server.with_spawner(move |lingering| given.lock().unwrap().push(lingering));
    server.write_all(b"response").await.unwrap();
    drop(server);
    let lingering = heirs.lock().unwrap().pop().unwrap();
    let lingering = tokio::spawn(lingering);
    let mut response = String::new();
    client.write_all(b"an upload").await.unwrap();
    client.read_to_string(&mut response).await.unwrap();
    assert_eq!(response, "response");
    drop(client);
    lingering.await.unwrap();
    assert_eq!(counts(&counters), [1, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_lingering_is_an_abort() {
    let (server, client, counters) = pair(LingerSettings::default());
    let mut server = server.with_spawner(drop);
    server.write_all(b"response").await.unwrap();
    drop(server);
    assert_eq!(counts(&counters), [0, 0, 0, 1]);
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn vectored_writes_pass_through() {
    struct Vectored(Vec<usize>);
    impl AsyncRead for Vectored {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }
    impl AsyncWrite for Vectored {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            unreachable!("the vectored write is forwarded as one")
        }
        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.0.push(bufs.len());
            Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()))
        }
        fn is_write_vectored(&self) -> bool {
            true
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }
    let mut io = LingerIo::new(
        Vectored(Vec::new()),
        LingerSettings::default(),
        CloseCounters::new(),
    );
    assert!(io.is_write_vectored());
    let written = io
        .write_vectored(&[IoSlice::new(b"head"), IoSlice::new(b"body")])
        .await
        .unwrap();
    assert_eq!((written, io.get_ref().0.as_slice()), (8, &[2][..]));
    assert!(io.exchanges().has_answered());
}

#[test]
fn a_writer_learns_whether_the_transport_takes_several_buffers_at_once() {
    fn learned(io: impl AsyncWrite + AsyncRead + Unpin + 'static) -> [bool; 2] {
        let linger = LingerIo::new(io, LingerSettings::default(), CloseCounters::new());
        let is_vectored = linger.is_write_vectored();
        [
            is_vectored,
            WebSocketClientIo::new(linger).is_write_vectored(),
        ]
    }
    let (takes, _client) = duplex(1);
    assert_eq!(learned(takes), [true; 2]);
    assert_eq!(learned(tokio_test::io::Builder::new().build()), [false; 2]);
    let (_trigger, signal) = drain_signal::channel();
    let handle = signal.watch().unwrap().handle();
    let (takes, _client) = duplex(1);
    let upstream = WebSocketIo::new(takes, handle.clone(), CloseCode::GoingAway);
    assert!(upstream.is_write_vectored());
    let takes_one = tokio_test::io::Builder::new().build();
    let upstream = WebSocketIo::new(takes_one, handle, CloseCode::GoingAway);
    assert!(!upstream.is_write_vectored());
}
