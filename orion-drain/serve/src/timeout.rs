//! `request_timeout` for the head of an HTTP/1 request: how long it may take to arrive. Then 408.
//! The body's is in [`Responding`](super::responding::Responding).

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project::pin_project;
use proto_drain_h2::{GoawayHandle, WireProtocol};
use proto_drain_http1::Exchanges;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::ending::Ending;

const TIMED_OUT: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// A transport on which the head of an HTTP/1 request must arrive in time, from its first byte on.
/// It is the transport's business, since hyper's own timer also runs while a connection is idle.
#[pin_project]
pub(super) struct HeadTimeoutIo<IO> {
    #[pin]
    io: IO,
    timeout: Option<Duration>,
    exchanges: Exchanges,
    goaway: GoawayHandle,
    ending: Arc<Ending>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Something is waiting to be written: the codec is in the middle of a response.
    is_writing: bool,
}

impl<IO> HeadTimeoutIo<IO> {
    pub(super) const fn new(
        io: IO,
        timeout: Option<Duration>,
        exchanges: Exchanges,
        goaway: GoawayHandle,
        ending: Arc<Ending>,
    ) -> Self {
        Self {
            io,
            timeout,
            exchanges,
            goaway,
            ending,
            timer: None,
            is_writing: false,
        }
    }
}

impl<IO: AsyncRead + AsyncWrite> AsyncRead for HeadTimeoutIo<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut this = self.project();
        let read = this.io.as_mut().poll_read(cx, buf);
        let Some(timeout) = *this.timeout else {
            return read;
        };
        if read.is_ready() {
            return read;
        }
        // An exchange lasts until both bodies end, and a tunnel for ever: what comes meanwhile is
        // no head.
        let awaits_a_head = this.exchanges.is_receiving()
            && !this.exchanges.is_answering()
            && !this.exchanges.has_open_body()
            && !this.exchanges.is_tunnel()
            && !*this.is_writing
            && !this.ending.is_in_request();
        if this.goaway.protocol() != WireProtocol::Other || !awaits_a_head {
            *this.timer = None;
            return Poll::Pending;
        }
        if this.exchanges.took_head() {
            // It ran for that head.
            *this.timer = None;
        }
        let timer = this
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(timer.as_mut().poll(cx));
        *this.timeout = None;
        this.ending.stats().request_timed_out();
        // A client that does not even take this answer gets none. For hyper its half of the
        // connection has ended.
        drop(this.io.poll_write(cx, TIMED_OUT));
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite> AsyncWrite for HeadTimeoutIo<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let wrote = this.io.poll_write(cx, buf);
        *this.is_writing = wrote.is_pending();
        wrote
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let wrote = this.io.poll_write_vectored(cx, bufs);
        *this.is_writing = wrote.is_pending();
        wrote
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let flushed = this.io.poll_flush(cx);
        *this.is_writing |= flushed.is_pending();
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_shutdown(cx)
    }
}
