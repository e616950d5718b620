//! On real sockets: a peer that resets has not ended its data, and the other side must not read a
//! good end.

use crate::support;

use drain_signal::{CloseSteps, drive};
use proto_drain_tcp::{
    CloseMode, CopyError, CopyOptions, CopyReport, DrainCopy, Ended, Side, reset_on_drop,
};
use socket2::SockRef;
use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use support::{begin_with, connection, drain, read_all, reset};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_test::{assert_pending, task};

const MODES: [CloseMode; 2] = [CloseMode::Fin, CloseMode::Reset];

/// What the peer's kernel says behind the last byte.
async fn end(peer: &mut TcpStream) -> io::Result<usize> {
    peer.read(&mut [0]).await
}

fn assert_reset(end: &io::Result<usize>) {
    let kind = end.as_ref().map_err(io::Error::kind);
    assert_eq!(kind, Err(io::ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn a_reset_of_the_upstream_reaches_the_client_behind_what_was_delivered() {
    for mode in MODES {
        let (mut client, near) = connection().await;
        let (far, mut upstream) = connection().await;
        let copy = tokio::spawn(DrainCopy::new(near, far).with_close_mode(mode));
        upstream.write_all(b"half of an answer").await.unwrap();
        let mut got = vec![0; 17];
        client.read_exact(&mut got).await.unwrap();
        reset(upstream);
        assert_reset(&end(&mut client).await);
        let report = copy.await.unwrap();
        let Ended::Failed(error) = report.ended else {
            panic!("{report:?}")
        };
        assert!(
            matches!(
                error,
                CopyError::Read {
                    side: Side::Upstream,
                    ..
                }
            ),
            "{error:?}"
        );
        assert_eq!(error.io().kind(), io::ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn a_reset_of_the_client_reaches_the_upstream_behind_what_was_delivered() {
    for mode in MODES {
        let (mut client, near) = connection().await;
        let (far, mut upstream) = connection().await;
        let copy = tokio::spawn(DrainCopy::new(near, far).with_close_mode(mode));
        client.write_all(b"half of an upload").await.unwrap();
        let mut got = vec![0; 17];
        upstream.read_exact(&mut got).await.unwrap();
        reset(client);
        assert_reset(&end(&mut upstream).await);
        assert!(matches!(copy.await.unwrap().ended, Ended::Failed(_)));
    }
}

#[tokio::test]
async fn a_reset_after_the_other_half_has_ended_is_passed_on_too() {
    let (mut client, near) = connection().await;
    let (far, mut upstream) = connection().await;
    let copy = tokio::spawn(DrainCopy::new(near, far));
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut question = Vec::new();
    upstream.read_to_end(&mut question).await.unwrap();
    reset(upstream);
    assert_reset(&end(&mut client).await);
    assert!(matches!(copy.await.unwrap().ended, Ended::Failed(_)));
}

#[tokio::test]
async fn a_reset_that_a_write_learns_of_first_is_passed_on_too() {
    let (mut client, near) = connection().await;
    let (far, upstream) = connection().await;
    let mut copy = task::spawn(DrainCopy::new(near, far));
    assert_pending!(copy.poll());
    client.write_all(b"more of an upload").await.unwrap();
    reset(upstream);
    // The copy has not run meanwhile: it takes the client's bytes first, and writes them to a
    // socket that was reset.
    let report = copy.await;
    let Ended::Failed(CopyError::Write {
        side: Side::Upstream,
        ..
    }) = report.ended
    else {
        panic!("{report:?}")
    };
    assert_reset(&end(&mut client).await);
}

#[tokio::test]
async fn an_answer_that_ended_before_the_reset_ends_in_fin() {
    let (mut client, near) = connection().await;
    let (far, mut upstream) = connection().await;
    let mut copy = task::spawn(DrainCopy::new(near, far));
    assert_pending!(copy.poll());
    upstream.write_all(b"413 too large").await.unwrap();
    upstream.shutdown().await.unwrap();
    let copy = tokio::spawn(copy.into_inner());
    let mut answer = vec![0; 13];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(end(&mut client).await.unwrap(), 0, "FIN");
    // The upload goes on, the upstream is gone: its RST comes behind its FIN, and takes nothing
    // from the answer.
    client.write_all(b"the rest of an upload").await.unwrap();
    reset(upstream);
    let mut client = client;
    while client.write_all(b"more").await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(matches!(copy.await.unwrap().ended, Ended::Failed(_)));
}

#[tokio::test]
async fn an_answer_that_had_ended_when_a_write_finds_the_upstream_gone_ends_in_fin() {
    let (mut client, near) = connection().await;
    let (far, mut upstream) = connection().await;
    client.write_all(b"a large body").await.unwrap();
    upstream.write_all(b"413 too large").await.unwrap();
    upstream.shutdown().await.unwrap();
    reset(upstream);
    // The copy has not run meanwhile: it writes first, and reads the answer and its end behind
    // that.
    let report = DrainCopy::new(near, far).await;
    let Ended::Failed(CopyError::Write { source, .. }) = report.ended else {
        panic!("{report:?}")
    };
    assert_eq!(source.kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(read_all(client).await, b"413 too large");
}

#[tokio::test]
async fn a_reset_is_passed_on_at_once_however_long_the_linger() {
    let (mut client, near) = connection().await;
    let (far, upstream) = connection().await;
    let options = CopyOptions::new().with_linger(Duration::MAX, u64::MAX);
    let copy = tokio::spawn(DrainCopy::new(near, far).with_options(options));
    reset(upstream);
    // The client does not end its side.
    let end = tokio::time::timeout(Duration::from_secs(20), end(&mut client)).await;
    assert_reset(&end.expect("the copy waits for the client"));
    assert!(matches!(copy.await.unwrap().ended, Ended::Failed(_)));
}

/// At the deadline the copy has bytes that the slow side never took.
async fn is_too_slow(slow: &mut TcpStream, source: TcpStream, ending: JoinHandle<CopyReport>) {
    let flood = vec![7; 64 * 1024];
    // Until the copy ends: what is in the kernel's buffers by then is a part of what was sent.
    let sent = async move {
        let mut source = source;
        while source.write_all(&flood).await.is_ok() {}
    };
    let (report, ()) = tokio::join!(ending, sent);
    let report = report.unwrap();
    assert!(!report.is_lossless(), "{report:?}");
    let read = slow.read_to_end(&mut Vec::new()).await;
    assert_eq!(
        read.map_err(|error| error.kind()),
        Err(io::ErrorKind::ConnectionReset)
    );
}

#[tokio::test]
async fn a_side_that_is_too_slow_for_the_deadline_reads_rst_and_not_fin() {
    for client_is_slow in [true, false] {
        let (mut client, near) = connection().await;
        let (far, mut upstream) = connection().await;
        // Few chunks fill them, and without such small segments that the copy has a quiet moment.
        for (one, other) in [(&client, &near), (&far, &upstream)] {
            for socket in [SockRef::from(one), SockRef::from(other)] {
                socket.set_send_buffer_size(64 * 1024).unwrap();
                socket.set_recv_buffer_size(64 * 1024).unwrap();
            }
        }
        let (trigger, signal) = drain();
        let watch = signal.watch().unwrap();
        let ending = tokio::spawn(async move {
            let closed = drive(DrainCopy::new(near, far), watch).await;
            closed.output.expect("a report")
        });
        // The copy ends by itself after half of it: a machine may be late by the other half.
        let steps = CloseSteps::default().with_drop_after(Duration::from_secs(3));
        begin_with(trigger, Duration::from_millis(300), steps);
        match client_is_slow {
            true => is_too_slow(&mut client, upstream, ending).await,
            false => is_too_slow(&mut upstream, client, ending).await,
        }
    }
}

/// A transport that notes whether its end was announced, as TLS does by close_notify.
struct Noting(TcpStream, Arc<AtomicBool>);

impl AsyncRead for Noting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Noting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.1.store(true, Ordering::Relaxed);
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn a_wrapper_says_how_it_is_reset_and_never_announces_an_end_that_was_none() {
    for knows in [true, false] {
        let (mut client, near) = connection().await;
        let (far, upstream) = connection().await;
        let announced = Arc::new(AtomicBool::new(false));
        let mut copy = DrainCopy::new(Noting(near, Arc::clone(&announced)), far);
        if knows {
            copy = copy.with_resets(
                |client| reset_on_drop(&client.0),
                |_| Err(io::ErrorKind::Unsupported.into()),
            );
        }
        let copy = tokio::spawn(copy);
        reset(upstream);
        let end = end(&mut client).await;
        if knows {
            assert_reset(&end);
        } else {
            assert_eq!(end.unwrap(), 0, "nobody said how to reset it");
        }
        assert!(matches!(copy.await.unwrap().ended, Ended::Failed(_)));
        assert!(!announced.load(Ordering::Relaxed));
    }
}

#[tokio::test]
async fn a_good_end_behind_a_good_end_is_fin_both_ways() {
    let (mut client, near) = connection().await;
    let (far, mut upstream) = connection().await;
    let copy = tokio::spawn(DrainCopy::new(near, far).with_close_mode(CloseMode::Reset));
    upstream.write_all(b"all of it").await.unwrap();
    upstream.shutdown().await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(read_all(client).await, b"all of it");
    assert_eq!(read_all(upstream).await, b"");
    assert!(matches!(copy.await.unwrap().ended, Ended::ByPeers));
}
