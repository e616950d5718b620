//! The client's side of a WebSocket tunnel: once FIN was sent to it, it has a while to end its own.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// The client of a WebSocket tunnel, which is left a while after it was sent FIN, whether it ends
/// its own side or not.
///
/// A WebSocket has no half-closed state: the server's side closes first, and then the client's does
/// ([RFC 6455, section 7.1.1](https://www.rfc-editor.org/rfc/rfc6455#section-7.1.1)). A client that
/// answers the Close frame of [`WebSocketIo`](super::WebSocketIo) and keeps its TCP connection open
/// would otherwise stay until the deadline; without a drain, for ever.
///
/// Put it around the client's side of the same two-way copy. Everything passes through; after a
/// shutdown the end of the stream is read when the client ends its side, or
/// [`with_close_timeout`](Self::with_close_timeout) later, so that the copy ends.
///
/// # Examples
///
/// ```no_run
/// use drain_signal::DrainWatch;
/// use proto_drain_http1::{CloseCode, WebSocketClientIo, WebSocketIo};
/// use tokio::net::TcpStream;
///
/// # async fn f(client: TcpStream, upstream: TcpStream, watch: DrainWatch) -> std::io::Result<()> {
/// let mut client = WebSocketClientIo::new(client);
/// let mut upstream = WebSocketIo::new(upstream, watch.handle(), CloseCode::GoingAway);
/// tokio::io::copy_bidirectional(&mut client, &mut upstream).await?;
/// # Ok(()) }
/// ```
pub struct WebSocketClientIo<IO> {
    client: IO,
    close_timeout: Duration,
    /// The task that reads, while there is no timeout: it is woken when there is one.
    reader: Option<Waker>,
    /// Since FIN was sent.
    timeout: Option<Pin<Box<Sleep>>>,
}

impl<IO> WebSocketClientIo<IO> {
    /// Wraps the client of a tunnel.
    #[must_use]
    pub const fn new(client: IO) -> Self {
        Self {
            client,
            close_timeout: Duration::from_secs(1),
            reader: None,
            timeout: None,
        }
    }

    /// How long the client may take to end its side. Default 1 s, as Envoy's
    /// `delayed_close_timeout`.
    #[must_use]
    pub const fn with_close_timeout(mut self, timeout: Duration) -> Self {
        self.close_timeout = timeout;
        self
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for WebSocketClientIo<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.timeout {
            Some(timeout) => {
                if timeout.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Ok(()));
                }
            }
            None => match &mut self.reader {
                Some(reader) => reader.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            },
        }
        Pin::new(&mut self.client).poll_read(cx, buf)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for WebSocketClientIo<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.client).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.client).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.client.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.client).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.client).poll_shutdown(cx))?;
        if self.timeout.is_none() {
            self.timeout = Some(Box::pin(tokio::time::sleep(self.close_timeout)));
            // It is to wait for the timeout as well.
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO> fmt::Debug for WebSocketClientIo<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketClientIo")
            .field("ended", &self.timeout.is_some())
            .finish_non_exhaustive()
    }
}
