//! The staged close of RFC 9112 section 9.6, as a transport wrapper: half-close, read and discard, close.
//!
//! A close with unread data in the socket makes the kernel answer with RST, and an RST makes the peer's kernel throw
//! away what it has received and not yet handed out: the response. hyper (1.12) offers no staged close; it awaits the
//! transport's `poll_shutdown`, so that is where this one happens. Where hyper does not await it (service error, header
//! timeout, cancelled connection) the wrapper is dropped: then the transport goes to a [`Lingering`] task if the caller
//! gave a way to spawn one, or the abort is counted.

use std::fmt;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::counters::{CloseCounters, End};
use crate::exchange::Exchanges;
use crate::lingering::Lingering;

/// Bounds of the staged close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LingerSettings {
    /// How long the peer may take to close after our half-close. Default 1 s, as Envoy's `delayed_close_timeout`; zero
    /// disables the reading, as in Envoy.
    pub delayed_close_timeout: Duration,
    /// How many bytes are read and discarded at most. Default 16 MiB.
    ///
    /// It has to cover what an honest peer may have under way when it is told to stop: its send buffer and our receive
    /// buffer, 4 MiB and 6 MiB where Linux tunes them to the most. With less, an upload in flight turns into the RST
    /// that the staged close is there to avoid; 64 KiB would already destroy the response to a client with 200 kB
    /// behind it. The bound stops a peer that sends without end from using the whole time.
    pub discard_limit: u64,
}

impl Default for LingerSettings {
    fn default() -> Self {
        Self {
            delayed_close_timeout: Duration::from_secs(1),
            discard_limit: 16 * 1024 * 1024,
        }
    }
}

impl LingerSettings {
    /// Sets [`delayed_close_timeout`](Self::delayed_close_timeout).
    #[must_use]
    pub fn with_delayed_close_timeout(mut self, timeout: Duration) -> Self {
        self.delayed_close_timeout = timeout;
        self
    }

    /// Sets [`discard_limit`](Self::discard_limit).
    #[must_use]
    pub fn with_discard_limit(mut self, bytes: u64) -> Self {
        self.discard_limit = bytes;
        self
    }
}

/// Takes the transport of a connection that was dropped without a shutdown.
type Heir<IO> = Arc<dyn Fn(Lingering<IO>) + Send + Sync>;

/// A transport whose shutdown is the staged close.
///
/// Reading, writing and flushing pass through (vectored writes too), for HTTP/1 and for HTTP/2 alike; the one addition
/// is a note in [`Exchanges`] of whether bytes came or went. `poll_shutdown` flushes, half-closes, then reads and
/// discards until the peer closes or a bound of [`LingerSettings`] is reached. Flush and half-close have no bound
/// here: a slow reader is entitled to its response, and the drain's deadline cuts it. A connection on which nothing was
/// ever written has nothing to protect and is shut down at once.
///
/// On a tunnel ([`Exchanges::switch_to_tunnel`]) the wrapper steps aside: there `poll_shutdown` is a plain half-close.
///
/// # Dropping
///
/// | dropped | what happens |
/// | --- | --- |
/// | after `poll_shutdown` completed, or as a tunnel | nothing more |
/// | nothing ever came or went, or the transport failed, or the peer closed with no request open | nothing to protect |
/// | the peer closed its side, a request is unanswered | counted as aborted |
/// | at the deadline, with [`AtDeadline::Cut`](crate::AtDeadline::Cut) | counted as aborted |
/// | otherwise, with [`with_spawner`](Self::with_spawner) | goes to a [`Lingering`] task |
/// | otherwise | counted as aborted; unread data makes it an RST |
///
/// # Examples
///
/// ```
/// use proto_drain_http1::{CloseCounters, LingerIo, LingerSettings};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let counters = CloseCounters::new();
/// let (server, mut client) = tokio::io::duplex(1024);
/// let mut server = LingerIo::new(server, LingerSettings::default(), counters.clone());
///
/// client.write_all(b"an upload nobody reads").await?;
/// server.write_all(b"the response").await?;
/// let reader = tokio::spawn(async move {
///     let mut response = String::new();
///     client.read_to_string(&mut response).await.map(|_| response)
/// });
/// server.shutdown().await?;
/// assert_eq!(reader.await??, "the response");
/// assert_eq!(counters.counts().staged, 1);
/// # Ok(())
/// # }
/// ```
pub struct LingerIo<IO> {
    /// `None` only once it was handed on or taken out.
    io: Option<IO>,
    settings: LingerSettings,
    counters: CloseCounters,
    exchanges: Exchanges,
    heir: Option<Heir<IO>>,
    stage: Stage,
    peer: Peer,
}

/// How far the close has come.
enum Stage {
    Open,
    HalfClosed(Pin<Box<Sleep>>, u64),
    Done,
}

/// What reading has told of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    There,
    Closed,
    Failed,
}

impl<IO> LingerIo<IO> {
    /// Wraps `io`.
    #[must_use]
    pub fn new(io: IO, settings: LingerSettings, counters: CloseCounters) -> Self {
        Self {
            io: Some(io),
            settings,
            counters,
            exchanges: Exchanges::new(),
            heir: None,
            stage: Stage::Open,
            peer: Peer::There,
        }
    }

    /// Shares this knowledge of the connection instead of one of its own (for one with an observer).
    #[must_use]
    pub fn with_exchanges(mut self, exchanges: Exchanges) -> Self {
        self.exchanges = exchanges;
        self
    }

    /// Where the transport goes if this wrapper is dropped without a shutdown while the peer is still there.
    ///
    /// The function is called from `drop`; it spawns the future it is given, or drops it, which counts as an abort:
    /// so it decides how many may linger. It must not panic, also not outside a runtime.
    #[must_use]
    pub fn with_spawner(mut self, spawn: impl Fn(Lingering<IO>) + Send + Sync + 'static) -> Self {
        self.heir = Some(Arc::new(spawn));
        self
    }

    /// What this wrapper and the others of the connection know; clones share it.
    #[must_use]
    pub fn exchanges(&self) -> &Exchanges {
        &self.exchanges
    }

    /// The transport.
    ///
    /// `None` never for a caller: it is moved out only by [`into_inner`](Self::into_inner) and by `drop`.
    #[must_use]
    pub fn io(&self) -> Option<&IO> {
        self.io.as_ref()
    }

    /// Takes the transport out: its close is the caller's business from here on.
    #[must_use]
    pub fn into_inner(mut self) -> Option<IO> {
        self.io.take()
    }

    fn end(&mut self, end: End) {
        self.stage = Stage::Done;
        self.counters.count(end);
    }

    /// Whether a drop now would leave something behind.
    fn remains(&self) -> Remains {
        match (&self.stage, self.peer) {
            (Stage::Done, _) | (_, Peer::Failed) => Remains::Nothing,
            _ if self.exchanges.is_tunnel() => Remains::Nothing,
            (_, Peer::Closed) if self.exchanges.is_answering() => Remains::Request,
            (_, Peer::Closed) => Remains::Nothing,
            _ if self.exchanges.is_cut() => Remains::Request,
            _ if self.exchanges.has_answered() || self.exchanges.has_spoken() => Remains::Peer,
            _ => Remains::Nothing,
        }
    }
}

/// What a drop would leave behind.
enum Remains {
    Nothing,
    /// Something that no lingering can help.
    Request,
    Peer,
}

impl<IO: AsyncRead + Unpin> LingerIo<IO> {
    /// Reads and discards until the peer closes or a bound is reached.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        /// Reads of one poll; a busy peer must not hold the worker.
        const ROUNDS: usize = 16;
        let mut space = [MaybeUninit::<u8>::uninit(); 16 * 1024];
        for _ in 0..ROUNDS {
            let (Stage::HalfClosed(timeout, discarded), Some(io)) = (&mut self.stage, &mut self.io) else {
                return Poll::Ready(Ok(()));
            };
            if timeout.as_mut().poll(cx).is_ready() {
                self.end(End::TimedOut);
                return Poll::Ready(Ok(()));
            }
            let mut buf = ReadBuf::uninit(&mut space);
            match ready!(Pin::new(io).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {
                    *discarded = discarded.saturating_add(buf.filled().len() as u64);
                    if *discarded >= self.settings.discard_limit {
                        self.end(End::ByteBounded);
                        return Poll::Ready(Ok(()));
                    }
                }
                // The peer ended it, by FIN or by RST: what it has not taken by now, it does not want.
                Ok(()) | Err(_) => {
                    self.end(End::Staged);
                    return Poll::Ready(Ok(()));
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for LingerIo<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some(io) = &mut this.io else {
            return Poll::Ready(Err(taken()));
        };
        let before = buf.filled().len();
        let read = ready!(Pin::new(io).poll_read(cx, buf));
        match buf.filled().get(before..) {
            Some(new) if !new.is_empty() => this.exchanges.came(new),
            _ => this.came_nothing(read.is_err(), buf.remaining()),
        }
        Poll::Ready(read)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for LingerIo<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let Some(io) = &mut this.io else {
            return Poll::Ready(Err(taken()));
        };
        let written = ready!(Pin::new(io).poll_write(cx, buf));
        this.wrote(&written);
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let Some(io) = &mut this.io else {
            return Poll::Ready(Err(taken()));
        };
        let written = ready!(Pin::new(io).poll_write_vectored(cx, bufs));
        this.wrote(&written);
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Some(io) => Pin::new(io).poll_flush(cx),
            None => Poll::Ready(Err(taken())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some(io) = &mut this.io else {
            return Poll::Ready(Err(taken()));
        };
        match this.stage {
            Stage::Open => {
                if let Err(error) = ready!(half_close(io, cx)) {
                    if !this.exchanges.is_tunnel() {
                        this.end(End::Aborted);
                    }
                    return Poll::Ready(Err(error));
                }
                if this.exchanges.is_tunnel() {
                    return Poll::Ready(Ok(()));
                }
                if this.peer == Peer::Closed {
                    this.end(End::Staged);
                    return Poll::Ready(Ok(()));
                }
                if !this.exchanges.has_answered() || this.settings.delayed_close_timeout.is_zero() {
                    this.stage = Stage::Done;
                    return Poll::Ready(Ok(()));
                }
                let timeout = tokio::time::sleep(this.settings.delayed_close_timeout);
                this.stage = Stage::HalfClosed(Box::pin(timeout), 0);
                this.poll_discard(cx)
            }
            Stage::HalfClosed(..) => this.poll_discard(cx),
            Stage::Done => Poll::Ready(Ok(())),
        }
    }
}

impl<IO> LingerIo<IO> {
    #[cold]
    fn came_nothing(&mut self, failed: bool, room: usize) {
        if failed {
            self.peer = Peer::Failed;
        } else if room > 0 {
            self.peer = Peer::Closed;
        }
    }

    fn wrote(&mut self, written: &io::Result<usize>) {
        match written {
            Ok(0) => {}
            Ok(_) => self.exchanges.wrote(),
            Err(_) => self.peer = Peer::Failed,
        }
    }
}

impl<IO> Drop for LingerIo<IO> {
    fn drop(&mut self) {
        let Some(io) = self.io.take() else { return };
        match (self.remains(), self.heir.take()) {
            (Remains::Nothing, _) => {}
            (Remains::Peer, Some(heir)) => heir(Lingering::new(Self {
                io: Some(io),
                settings: self.settings,
                counters: self.counters.clone(),
                exchanges: self.exchanges.clone(),
                heir: None,
                stage: std::mem::replace(&mut self.stage, Stage::Done),
                peer: self.peer,
            })),
            (Remains::Request | Remains::Peer, _) => self.counters.count(End::Aborted),
        }
    }
}

impl<IO> fmt::Debug for LingerIo<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.stage {
            Stage::Open => "open",
            Stage::HalfClosed(..) => "half-closed",
            Stage::Done => "done",
        };
        f.debug_struct("LingerIo")
            .field("stage", &stage)
            .field("peer", &self.peer)
            .field("exchanges", &self.exchanges)
            .finish_non_exhaustive()
    }
}

/// Flushes, then ends our direction.
fn half_close<IO: AsyncWrite + Unpin>(io: &mut IO, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    ready!(Pin::new(&mut *io).poll_flush(cx))?;
    Pin::new(io).poll_shutdown(cx)
}

fn taken() -> io::Error {
    io::ErrorKind::NotConnected.into()
}
