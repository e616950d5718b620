//! What a handle orders takes effect at once, in every state of the transport.
#![cfg(all(feature = "hyper-util", feature = "h2"))]

use crate::support;
use crate::tls;

use hyper_util::rt::{TokioExecutor, TokioIo};
use proto_drain_h2::{CLIENT_PREFACE, GoawayHandle, GoawayIo, H2Drain, H2DrainSettings, H2Phase};
use std::sync::{Arc, Weak};
use std::task::{Context, Wake, Waker};
use std::time::Duration;
use support::*;
use tls::secured;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_rustls::{client, server};

/// Where a connection of a server with one shutdown signal is when its handle cuts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// No byte came yet.
    BeforeThePreface,
    /// A stream is open, and nothing drains.
    Serving,
    /// The server has written its first GOAWAY.
    InTheGap,
    /// The wrapper has.
    InAGapOfOurs,
    /// The peer has begun a frame that it does not end.
    BehindTheGapInsideAFrame,
    /// The peer has ended its side.
    PeerEnded,
    /// Both GOAWAYs are written, a stream is open.
    GoingAway,
    /// The last stream has ended.
    DelayedClose,
}

const CUTS: [Cut; 8] = [
    Cut::BeforeThePreface,
    Cut::Serving,
    Cut::InTheGap,
    Cut::InAGapOfOurs,
    Cut::BehindTheGapInsideAFrame,
    Cut::PeerEnded,
    Cut::GoingAway,
    Cut::DelayedClose,
];

/// What the listener has ordered before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    Finish,
    End,
}

/// A drain whose waits are longer than any test.
fn patient() -> H2Drain {
    H2Drain::new(
        H2DrainSettings::default()
            .with_drain_timeout(secs(600))
            .with_delayed_close_timeout(secs(600)),
    )
}

struct OneSignal {
    client: RawClient<TcpStream>,
    handle: GoawayHandle,
    shutdown: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

/// What `axum::serve` and tonic's server do with each connection, over TCP.
async fn one_signal(drain: &H2Drain, silent: bool) -> OneSignal {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (io, handle) = GoawayIo::new(listener.accept().await.unwrap().0, drain);
    let (shutdown, signal) = oneshot::channel::<()>();
    let ended = tokio::spawn(async move {
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let mut connection = Box::pin(builder.serve_connection(TokioIo::new(io), service()));
        tokio::select! {
            ended = connection.as_mut() => return drop(ended),
            _ = signal => connection.as_mut().graceful_shutdown(),
        }
        drop(connection.await);
    });
    let client = if silent {
        RawClient { io: client }
    } else {
        RawClient::new(client).await
    };
    OneSignal {
        client,
        handle,
        shutdown,
        ended,
    }
}

async fn cuts(at: Cut, before: Before) {
    let what = format!("{at:?}, {before:?} before");
    let OneSignal {
        mut client,
        handle,
        shutdown,
        ended,
    } = one_signal(&patient(), at == Cut::BeforeThePreface).await;
    let mut shutdown = Some(shutdown);
    let mut shut_down = || shutdown.take().unwrap().send(()).unwrap();
    if !matches!(at, Cut::BeforeThePreface | Cut::DelayedClose) {
        client.send(&request(1, "/endless")).await;
        client.expect(HEADERS).await;
    }
    match at {
        Cut::BeforeThePreface | Cut::Serving => {}
        Cut::InTheGap => {
            shut_down();
            client.expect(GOAWAY).await;
        }
        Cut::InAGapOfOurs => {
            handle.notice();
            client.expect(GOAWAY).await;
        }
        Cut::BehindTheGapInsideAFrame => {
            shut_down();
            client.expect(GOAWAY).await;
            client.send(&request(3, "/")[..12]).await;
            tokio::time::sleep(millis(100)).await;
            handle.finish();
        }
        Cut::PeerEnded => {
            shut_down();
            client.expect(GOAWAY).await;
            client.io.shutdown().await.unwrap();
            client.expect(GOAWAY).await;
        }
        Cut::GoingAway | Cut::DelayedClose => {
            shut_down();
            client.expect(GOAWAY).await;
            handle.finish();
            client.expect(GOAWAY).await;
        }
    }
    let ends_by_itself = match before {
        Before::Nothing => false,
        Before::Finish => {
            handle.finish();
            at == Cut::PeerEnded
        }
        Before::End => {
            handle.end();
            matches!(at, Cut::PeerEnded | Cut::DelayedClose)
        }
    };
    tokio::time::sleep(millis(50)).await;
    assert_eq!(ended.is_finished(), ends_by_itself, "{what}");
    handle.cut();
    // Far less than any timeout here.
    tokio::time::timeout(secs(20), ended)
        .await
        .expect(&what)
        .unwrap();
    let end = async { while client.next().await.is_some() {} };
    tokio::time::timeout(secs(20), end).await.expect(&what);
    assert_eq!(handle.phase(), H2Phase::Closed, "{what}");
}

#[tokio::test]
async fn a_cut_takes_effect_at_once_in_every_state() {
    for at in CUTS {
        for before in [Before::Nothing, Before::Finish, Before::End] {
            cuts(at, before).await;
        }
    }
}

#[tokio::test]
async fn a_cut_ends_a_write_that_a_peer_holds_up() {
    for mild in [false, true] {
        let (client, io) = tokio::io::duplex(64);
        let (io, handle) = GoawayIo::new(io, &patient());
        let (mut reads, mut writes) = tokio::io::split(io);
        let mut client = client;
        client.write_all(CLIENT_PREFACE).await.unwrap();
        reads
            .read_exact(&mut [0; CLIENT_PREFACE.len()])
            .await
            .unwrap();
        let write =
            tokio::spawn(async move { writes.write_all(&frame(DATA, 0, 1, &[7; 1000])).await });
        tokio::time::sleep(millis(20)).await;
        if mild {
            handle.finish();
            tokio::time::sleep(millis(20)).await;
        }
        assert!(!write.is_finished());
        handle.cut();
        let written = tokio::time::timeout(secs(20), write)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
        assert!(handle.is_lost());
    }
}

/// A TLS transport with so much written that its flush waits for a client that does not read.
async fn full(
    drain: &H2Drain,
) -> (
    client::TlsStream<DuplexStream>,
    GoawayIo<server::TlsStream<DuplexStream>>,
    GoawayHandle,
) {
    let (client, served) = tokio::io::duplex(256);
    let (mut client, served) = secured(client, served, &[b"h2"]).await;
    let (mut io, handle) = GoawayIo::new(served, drain);
    client.write_all(CLIENT_PREFACE).await.unwrap();
    io.read_exact(&mut [0; CLIENT_PREFACE.len()]).await.unwrap();
    // The final GOAWAY, and what fits into the buffer of the TLS stream but not into the pipe.
    io.write_all(&frame(GOAWAY, 0, 0, &[0; 8])).await.unwrap();
    io.write_all(&frame(DATA, 0, 1, &[7; 10_000]))
        .await
        .unwrap();
    (client, io, handle)
}

#[tokio::test]
async fn a_cut_ends_a_flush_and_a_close_that_a_peer_holds_up() {
    for close in [false, true] {
        for mild in [false, true] {
            let (_client, mut io, handle) = full(&patient()).await;
            let ends = tokio::spawn(async move {
                if close {
                    io.shutdown().await
                } else {
                    io.flush().await
                }
            });
            tokio::time::sleep(millis(20)).await;
            if mild {
                handle.end();
                tokio::time::sleep(millis(20)).await;
            }
            assert!(!ends.is_finished(), "close: {close}");
            handle.cut();
            let ended = tokio::time::timeout(secs(20), ends).await.unwrap().unwrap();
            assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
            assert!(handle.is_lost());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_waits_for_a_peer_that_takes_nothing_as_long_as_the_delayed_close() {
    let drain = H2Drain::new(H2DrainSettings::default().with_delayed_close_timeout(secs(3)));
    let (_client, mut io, handle) = full(&drain).await;
    let start = Instant::now();
    let closed = io.shutdown().await;
    assert_eq!(closed.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    assert_took(start.elapsed(), secs(3));
    assert!(handle.is_lost());
    assert_eq!(drain.counts().stalled, 1);
}

#[tokio::test(start_paused = true)]
async fn a_close_waits_for_a_peer_that_takes_a_little_in_each_timeout() {
    let drain = H2Drain::new(H2DrainSettings::default().with_delayed_close_timeout(secs(3)));
    let (client, mut io, handle) = full(&drain).await;
    let mut client = client.into_inner().0;
    let start = Instant::now();
    let reads = tokio::spawn(async move {
        let mut bytes = Vec::new();
        loop {
            let mut some = [0; 100];
            match client.read(&mut some).await.unwrap() {
                0 => return bytes,
                n => bytes.extend_from_slice(&some[..n]),
            }
            tokio::time::sleep(millis(2900)).await;
        }
    });
    io.shutdown().await.unwrap();
    assert!(start.elapsed() > secs(100), "{:?}", start.elapsed());
    drop(io);
    assert!(reads.await.unwrap().len() > 17 + 9 + 10_000);
    assert!(!handle.is_lost());
    assert_eq!(drain.counts().stalled, 0);
}

#[tokio::test(start_paused = true)]
async fn a_half_close_that_never_comes_is_bounded_like_a_flush() {
    let drain = H2Drain::new(H2DrainSettings::default().with_delayed_close_timeout(secs(3)));
    let (mut io, handle) = GoawayIo::new(NeverCloses, &drain);
    let start = Instant::now();
    let closed = io.shutdown().await;
    assert_eq!(closed.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    assert_took(start.elapsed(), secs(3));
    assert_eq!(handle.phase(), H2Phase::Closed);
    // Zero means no delayed close, not a close without a bound.
    let drain = H2Drain::new(H2DrainSettings::default().with_delayed_close_timeout(Duration::ZERO));
    let (mut io, _) = GoawayIo::new(NeverCloses, &drain);
    let start = Instant::now();
    io.shutdown().await.unwrap_err();
    assert_took(start.elapsed(), secs(1));
}

/// Takes everything and never closes.
struct NeverCloses;

mod never_closes {
    use super::NeverCloses;
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    impl AsyncRead for NeverCloses {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for NeverCloses {
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
            Poll::Pending
        }
    }
}

/// A delayed close that runs.
async fn lingering(
    drain: &H2Drain,
) -> (DuplexStream, GoawayHandle, JoinHandle<std::io::Result<()>>) {
    let (mut client, io) = tokio::io::duplex(1024);
    let (mut io, handle) = GoawayIo::new(io, drain);
    client.write_all(CLIENT_PREFACE).await.unwrap();
    io.read_exact(&mut [0; CLIENT_PREFACE.len()]).await.unwrap();
    io.write_all(&frame(GOAWAY, 0, 0, &[0; 8])).await.unwrap();
    let ends = tokio::spawn(async move { io.shutdown().await });
    tokio::time::sleep(millis(10)).await;
    (client, handle, ends)
}

#[tokio::test(start_paused = true)]
async fn end_ends_the_delayed_close() {
    let drain = patient();
    let (_client, handle, ends) = lingering(&drain).await;
    assert_eq!((ends.is_finished(), drain.counts().lingering), (false, 1));
    let start = Instant::now();
    handle.end();
    ends.await.unwrap().unwrap();
    assert_took(start.elapsed(), secs(0));
    assert_eq!(drain.counts().lingering, 0);
}

#[tokio::test(start_paused = true)]
async fn no_more_connections_linger_than_may_and_each_end_is_counted() {
    let settings = H2DrainSettings::default().with_max_lingering(2);
    let drain = H2Drain::new(settings);
    let first = lingering(&drain).await;
    let second = lingering(&drain).await;
    let third = lingering(&drain).await;
    assert_eq!((drain.counts().lingering, drain.counts().refused), (2, 1));
    assert!(third.2.is_finished() && !second.2.is_finished());
    drop(first.0);
    first.2.await.unwrap().unwrap();
    second.2.await.unwrap().unwrap();
    let counts = drain.counts();
    assert_eq!(
        (counts.lingering, counts.peer_closed, counts.timed_out),
        (0, 1, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn finish_ends_the_wait_for_the_streams_of_a_peer_that_has_ended() {
    let (client, io) = tokio::io::duplex(1 << 16);
    let (trigger, signal) = drain_signal::channel();
    let settings = H2DrainSettings::default().with_drain_timeout(secs(50));
    let (handle, _, ended) = serve(Server::Auto, io, &settings, signal.watch().unwrap());
    let mut client = RawClient::new(client).await;
    client.send(&request(1, "/never")).await;
    begin(trigger, secs(600));
    client.expect(GOAWAY).await;
    client.io.shutdown().await.unwrap();
    client.expect(GOAWAY).await;
    tokio::time::sleep(secs(5)).await;
    assert!(!ended.is_finished());
    let start = Instant::now();
    handle.finish();
    ended.await.unwrap();
    assert_took(start.elapsed(), secs(0));
}

#[tokio::test(start_paused = true)]
async fn a_notice_before_the_signal_of_a_server_with_one_for_all_keeps_to_its_own_time() {
    let (client, io) = tokio::io::duplex(1 << 16);
    let (io, handle) = GoawayIo::new(
        io,
        &H2Drain::new(H2DrainSettings::default().with_drain_timeout(secs(2))),
    );
    let (shutdown, signal) = oneshot::channel::<()>();
    let server = tokio::spawn(async move {
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let mut connection = Box::pin(builder.serve_connection(TokioIo::new(io), service()));
        tokio::select! {
            ended = connection.as_mut() => return ended.is_ok(),
            _ = signal => connection.as_mut().graceful_shutdown(),
        }
        connection.await.is_ok()
    });
    let mut client = RawClient::new(client).await;
    handle.notice();
    let notice = client.expect(GOAWAY).await;
    assert_eq!(notice.goaway_id(), NOTICE);
    client.send(&request(1, "/")).await;
    client.expect_ok(1).await;
    // The gap is over, the signal is not there yet.
    tokio::time::sleep(secs(3)).await;
    client.send(&request(3, "/")).await;
    client.expect_ok(3).await;
    let signaled = Instant::now();
    shutdown.send(()).unwrap();
    let last = client.expect(GOAWAY).await;
    assert_eq!(last.goaway_id(), 3);
    assert_took(last.at - signaled, secs(0));
    assert_took(client.expect_end().await, secs(1));
    assert!(server.await.unwrap());
}

struct Flag;

impl Wake for Flag {
    fn wake(self: Arc<Self>) {}
}

#[test]
fn a_dropped_wait_leaves_nothing_behind() {
    let (_client, io) = tokio::io::duplex(64);
    let (_io, handle) = GoawayIo::new(io, &H2Drain::default());
    let mut kept: Vec<Weak<Flag>> = Vec::new();
    for _ in 0..1000 {
        let flag = Arc::new(Flag);
        kept.push(Arc::downgrade(&flag));
        let waker = Waker::from(flag);
        let cx = &mut Context::from_waker(&waker);
        let mut phase = Box::pin(handle.reached(H2Phase::Noticed));
        let mut protocol = Box::pin(handle.protocol_known());
        assert!(phase.as_mut().poll(cx).is_pending() && protocol.as_mut().poll(cx).is_pending());
    }
    assert!(kept.iter().all(|one| one.strong_count() == 0));
}

#[tokio::test]
async fn any_number_of_waits_is_woken() {
    let (_client, io) = tokio::io::duplex(64);
    let (io, handle) = GoawayIo::new(io, &H2Drain::default());
    let waits: Vec<_> = (0..1000)
        .map(|_| {
            let handle = handle.clone();
            tokio::spawn(async move { handle.reached(H2Phase::GoingAway).await })
        })
        .collect();
    tokio::task::yield_now().await;
    drop(io);
    for wait in waits {
        assert_eq!(wait.await.unwrap(), H2Phase::Closed);
    }
}
