//! What the wrapper costs while nothing drains: no allocation, whatever passes.

use proto_drain_h2::{CLIENT_PREFACE, GoawayIo, H2Drain, WireProtocol};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A transport that gives the same bytes again and again and takes everything.
struct Endless {
    first: &'static [u8],
    again: &'static [u8],
}

impl AsyncRead for Endless {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let next = if self.first.is_empty() {
            self.again
        } else {
            std::mem::take(&mut self.first)
        };
        buf.put_slice(next);
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

/// A HEADERS frame of four bytes, a PING, and a DATA frame of three.
const FRAMES: &[u8] =
    b"\0\0\x04\x01\x05\0\0\0\x01abcd\0\0\x08\x06\0\0\0\0\0pingpong\0\0\x03\0\x01\0\0\0\x01xyz";

#[test]
fn frames_in_both_directions_allocate_nothing_while_nothing_drains() {
    let inner = Endless {
        first: CLIENT_PREFACE,
        again: FRAMES,
    };
    let (mut io, handle) = GoawayIo::new(inner, &H2Drain::default());
    let mut cx = Context::from_waker(Waker::noop());
    let mut bytes = [0; 256];
    let mut read = |io: &mut GoawayIo<Endless>, cx: &mut Context<'_>| {
        let mut buf = ReadBuf::new(&mut bytes);
        assert!(Pin::new(io).poll_read(cx, &mut buf).is_ready());
        buf.filled().len()
    };
    assert_eq!(read(&mut io, &mut cx), CLIENT_PREFACE.len());
    assert_eq!(handle.protocol(), WireProtocol::Http2);
    let counted = allocation_counter::measure(|| {
        for _ in 0..1000 {
            assert_eq!(read(&mut io, &mut cx), FRAMES.len());
            assert!(Pin::new(&mut io).poll_write(&mut cx, FRAMES).is_ready());
        }
    });
    assert_eq!(counted.count_total, 0);
}

#[cfg(feature = "hyper")]
mod served {
    use bytes::Bytes;
    use drain_signal::{DrainTrigger, drive};
    use http_body_util::Full;
    use hyper::server::conn::http2;
    use hyper::service::service_fn;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use proto_drain_h2::{CLIENT_PREFACE, H2Drain, NoticeFirst};
    use std::convert::Infallible;
    use std::ops::Range;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    /// A hyper connection whose handler waits before it answers, so that each stream registers for
    /// a reset.
    fn serve(wrapped: bool) -> (DuplexStream, DrainTrigger) {
        let (client, io) = tokio::io::duplex(1 << 16);
        let (trigger, signal) = drain_signal::channel();
        let watch = signal.watch().unwrap();
        let service = service_fn(|_request| async {
            tokio::task::yield_now().await;
            Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from_static(b"ok"))))
        });
        let mut builder = http2::Builder::new(TokioExecutor::new());
        // A date is rendered anew in each second that the requests take.
        builder.auto_date_header(false);
        if wrapped {
            let connection = H2Drain::default().connection(io, |io, parts| {
                let (service, handle) = (parts.service(service), parts.handle().clone());
                let service = NoticeFirst::new(service, watch.handle(), watch.handle(), handle);
                builder.serve_connection(TokioIo::new(io), service)
            });
            tokio::spawn(drive(connection, watch));
        } else {
            tokio::spawn(builder.serve_connection(TokioIo::new(io), service));
        }
        (client, trigger)
    }

    /// Requests one after the other; the client itself allocates nothing.
    async fn requests(client: &mut DuplexStream, numbers: Range<u32>) {
        let mut bytes = [0; 1024];
        for number in numbers {
            let mut request = *b"\0\0\x04\x01\x05\0\0\0\0\x82\x86\x84\xbe";
            request[5..9].copy_from_slice(&(2 * number + 3).to_be_bytes());
            client.write_all(&request).await.unwrap();
            answer(client, &mut bytes).await;
        }
    }

    /// Reads frames up to the end of a stream.
    async fn answer(client: &mut DuplexStream, bytes: &mut [u8]) {
        loop {
            let mut head = [0; 9];
            client.read_exact(&mut head).await.unwrap();
            let length = usize::from(head[2]);
            client.read_exact(&mut bytes[..length]).await.unwrap();
            if head[3] <= 1 && head[4] & 1 != 0 {
                break;
            }
        }
    }

    /// What a thousand requests allocate on a connection that has already carried some.
    fn allocated(wrapped: bool) -> u64 {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (mut client, _trigger) = runtime.block_on(async {
            let (mut client, trigger) = serve(wrapped);
            client.write_all(CLIENT_PREFACE).await.unwrap();
            client
                .write_all(
                    b"\0\0\0\x04\0\0\0\0\0\0\0\x0e\x01\x05\0\0\0\x01\x82\x86\x84\x41\x09localhost",
                )
                .await
                .unwrap();
            answer(&mut client, &mut [0; 1024]).await;
            requests(&mut client, 0..100).await;
            (client, trigger)
        });
        allocation_counter::measure(|| runtime.block_on(requests(&mut client, 100..1100)))
            .count_total
    }

    #[test]
    fn a_thousand_requests_allocate_no_more_with_the_whole_wrapper_than_without() {
        let (with, without) = (allocated(true), allocated(false));
        assert!(without > 1000, "{without}: hyper itself allocates");
        assert!(
            with <= without,
            "{with} with the wrapper, {without} without"
        );
    }
}
