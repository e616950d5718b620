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
    /// Where there is a limit, until it is reached.
    head: Option<Box<Head>>,
}

/// The head that is awaited.
pub(super) struct Head {
    timeout: Duration,
    exchanges: Exchanges,
    goaway: GoawayHandle,
    ending: Arc<Ending>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Something is waiting to be written: the codec is in the middle of a response.
    is_writing: bool,
}

impl Head {
    pub(super) fn new(
        timeout: Duration,
        exchanges: &Exchanges,
        goaway: &GoawayHandle,
        ending: &Arc<Ending>,
    ) -> Self {
        Self {
            timeout,
            exchanges: exchanges.clone(),
            goaway: goaway.clone(),
            ending: Arc::clone(ending),
            timer: None,
            is_writing: false,
        }
    }

    /// Nothing is there to be read: ready when the head has taken too long.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // An exchange lasts until both bodies end, and a tunnel for ever: what comes meanwhile is
        // no head.
        let awaits_a_head = self.exchanges.is_receiving()
            && !self.exchanges.is_answering()
            && !self.exchanges.has_open_body()
            && !self.exchanges.is_tunnel()
            && !self.is_writing
            && !self.ending.is_in_request();
        if self.goaway.protocol() != WireProtocol::Other || !awaits_a_head {
            self.timer = None;
            return Poll::Pending;
        }
        if self.exchanges.took_head() {
            // It ran for that head.
            self.timer = None;
        }
        let timeout = self.timeout;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        timer.as_mut().poll(cx)
    }
}

impl<IO> HeadTimeoutIo<IO> {
    /// Without a `head` there is no limit.
    pub(super) fn new(io: IO, head: Option<Head>) -> Self {
        let head = head.map(Box::new);
        Self { io, head }
    }
}

impl<IO: AsyncRead + AsyncWrite> AsyncRead for HeadTimeoutIo<IO> {
    #[inline(always)]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut this = self.project();
        let read = this.io.as_mut().poll_read(cx, buf);
        let (Poll::Pending, Some(head)) = (&read, &mut *this.head) else {
            return read;
        };
        ready!(head.poll_late(cx));
        head.ending.stats().request_timed_out();
        *this.head = None;
        // A client that does not even take this answer gets none. For hyper its half of the
        // connection has ended.
        drop(this.io.poll_write(cx, TIMED_OUT));
        Poll::Ready(Ok(()))
    }
}

/// What a write returns: whether it waits.
#[inline]
fn written<T>(head: &mut Option<Box<Head>>, polled: Poll<T>) -> Poll<T> {
    if let Some(head) = head {
        head.is_writing = polled.is_pending();
    }
    polled
}

impl<IO: AsyncWrite> AsyncWrite for HeadTimeoutIo<IO> {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        written(this.head, this.io.poll_write(cx, buf))
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        written(this.head, this.io.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let flushed = this.io.poll_flush(cx);
        if let (Poll::Pending, Some(head)) = (&flushed, this.head) {
            head.is_writing = true;
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_shutdown(cx)
    }
}
