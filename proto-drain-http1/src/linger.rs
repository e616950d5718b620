//! A transport whose shutdown is the staged close of RFC 9112 section 9.6: half-close, read and
//! discard, close.
//!
//! [`LingerIo`] waits for the client after the last response: until the client closes, for
//! `delayed_close_timeout` (1 s) after the half-close at most, whatever the client still sends, and
//! for no more bytes than [`LingerSettings::discard_limit`].
//!
//! A close with unread data in the socket makes the kernel answer with RST, and an RST makes the
//! peer's kernel throw away what it has received and not yet handed out: the response. hyper (1.12)
//! offers no staged close; it awaits the transport's `poll_shutdown`, so that is where this one
//! happens. Where hyper does not await it (service error, header timeout, cancelled connection) the
//! wrapper is dropped: then the transport goes to a [`Lingering`] task if the caller gave a way to
//! spawn one, or the abort is counted.

use std::fmt;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::counters::{CloseCounters, End, Place};
use crate::exchange::Exchanges;
use crate::linger_settings::LingerSettings;
use crate::lingering::Lingering;
use crate::socket;
use crate::staged::{Discarded, Staged};

/// Takes the transport of a connection that was dropped without a shutdown.
type Heir<IO> = Box<dyn FnOnce(Lingering<IO>) + Send + Sync>;

/// A transport whose shutdown is the staged close.
///
/// Reading, writing and flushing pass through (vectored writes too), for HTTP/1 and for HTTP/2
/// alike; the one addition is a note in [`Exchanges`] of whether bytes came or went.
/// `poll_shutdown` flushes, half-closes, then reads and discards until the peer closes. Each step
/// is bounded by the one rule of
/// [`LingerSettings::delayed_close_timeout`]: no progress for that long. A peer that takes nothing of what is flushed gets
/// RST then, where the [TCP connection](Self::with_tcp) is known. A connection on which nothing was
/// ever written has nothing to protect and is shut down at once.
///
/// On a tunnel ([`Exchanges::switch_to_tunnel`]) the wrapper steps aside: there `poll_shutdown` is
/// a plain half-close.
///
/// # Dropping
///
/// | dropped | what happens |
/// | --- | --- |
/// | after `poll_shutdown` completed, or as a tunnel | nothing more |
/// | inside a response [framed by the close](Exchanges::frame_by_close) | RST, counted as aborted: FIN would make a part look whole |
/// | as a tunnel that [broke off](Exchanges::break_off_tunnel) | RST |
/// | nothing ever came or went, or the transport failed, or the peer closed with no request open | nothing to protect |
/// | the peer closed its side, a request is unanswered | counted as aborted |
/// | at the deadline, with [`AtDeadline::Cut`](crate::AtDeadline::Cut) | counted as aborted |
/// | otherwise, with [`with_spawner`](Self::with_spawner) | goes to a [`Lingering`] task; `max_lingering` others: closed, counted as refused |
/// | otherwise | counted as aborted; unread data makes it an RST |
///
/// Before its owner has shut it down a transport never ends in its own protocol's words
/// (close_notify): what was cut must not look whole.
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
/// client.write_all(b"an upload that is not read").await?;
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
    /// `None` only in `drop`.
    io: Option<IO>,
    settings: Arc<LingerSettings>,
    counters: CloseCounters,
    exchanges: Exchanges,
    heir: Option<Heir<IO>>,
    tcp: fn(&IO) -> Option<&TcpStream>,
    /// While a close is under way that has to wait.
    staged: Option<Box<Staged>>,
    /// Held while it counts as lingering.
    place: Option<Place>,
    step: Step,
    /// The owner has called `poll_shutdown`: what it has written is whole.
    ended_by_owner: bool,
    /// A shutdown says nothing but FIN: there is no end of TLS in it.
    says_only_fin: bool,
    peer: Peer,
    /// Of a request that was not read, while its response was written.
    discarded: u32,
}

/// How far the close has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Open, or flushing.
    Flushing,
    HalfClosed,
    Done,
}

/// What reading has shown of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    There,
    Closed,
    Failed,
}

impl<IO: 'static> LingerIo<IO> {
    /// Wraps `io`. Connections can share their settings, by an `Arc`.
    #[must_use]
    pub fn new(io: IO, settings: impl Into<Arc<LingerSettings>>, counters: CloseCounters) -> Self {
        Self {
            says_only_fin: socket::says_only_fin(&io),
            io: Some(io),
            settings: settings.into(),
            counters,
            exchanges: Exchanges::new(),
            heir: None,
            tcp: socket::if_tcp,
            staged: None,
            place: None,
            step: Step::Flushing,
            ended_by_owner: false,
            peer: Peer::There,
            discarded: 0,
        }
    }
}

impl<IO> LingerIo<IO> {
    /// Shares this knowledge of the connection instead of one of its own (for one with an
    /// observer).
    #[must_use]
    pub fn with_exchanges(mut self, exchanges: Exchanges) -> Self {
        self.exchanges = exchanges;
        self
    }

    /// Where the transport goes if this wrapper is dropped without a shutdown while the peer is
    /// still there.
    ///
    /// The function is called from `drop`; it spawns the future it is given, or drops it, which
    /// counts as an abort. [`LingerSettings::max_lingering`] bounds how often it is called. It must
    /// not panic, also not outside a runtime.
    #[must_use]
    pub fn with_spawner(
        mut self,
        spawn: impl FnOnce(Lingering<IO>) + Send + Sync + 'static,
    ) -> Self {
        self.heir = Some(Box::new(spawn));
        self
    }

    /// How the TCP connection under the transport is found, which can say what a wrapper cannot:
    /// FIN without close_notify, and RST. Over TLS `|tls| Some(tls.get_ref().0)`. A [`TcpStream`]
    /// is found by itself.
    ///
    /// Without it a wrapper that is dropped in the middle of a response is closed at the end of its
    /// lingering, not before.
    #[must_use]
    pub fn with_tcp(mut self, tcp: fn(&IO) -> Option<&TcpStream>) -> Self {
        self.tcp = tcp;
        self
    }

    /// A shutdown of the transport says nothing but that our direction ends: it is a wrapper around
    /// a socket, without TLS. Then it is half-closed at once, also when it is dropped in the middle
    /// of a response. Sockets themselves are known.
    #[must_use]
    pub fn with_plain_shutdown(mut self) -> Self {
        self.says_only_fin = true;
        self
    }

    /// What this wrapper and the others of the connection know; clones share it.
    #[must_use]
    pub fn exchanges(&self) -> &Exchanges {
        &self.exchanges
    }

    /// The transport.
    ///
    /// # Panics
    ///
    /// Never.
    #[must_use]
    pub fn get_ref(&self) -> &IO {
        // Only `drop` takes it.
        self.io.as_ref().expect("there until it is dropped")
    }

    fn io_mut(&mut self) -> &mut IO {
        // Only `drop` takes it.
        self.io.as_mut().expect("there until it is dropped")
    }

    fn tcp(&self) -> Option<&TcpStream> {
        (self.tcp)(self.get_ref())
    }

    fn end(&mut self, end: End) {
        self.over();
        self.counters.count(end);
    }

    fn over(&mut self) {
        self.step = Step::Done;
        self.staged = None;
        self.place = None;
    }

    /// Whether FIN would make a part of a response look whole.
    fn truncates(&self) -> bool {
        let flushed = self.step != Step::Flushing && self.ended_by_owner;
        !flushed && self.exchanges.is_framed_by_close()
    }

    /// What a drop now leaves behind.
    fn remains(&self) -> Remains {
        match (self.step, self.peer) {
            (Step::Done, _) => Remains::Nothing,
            _ if self.exchanges.is_tunnel() && self.exchanges.has_broken_off() => {
                Remains::BrokenOff
            }
            _ if self.exchanges.is_tunnel() => Remains::Nothing,
            (_, Peer::Failed) if self.truncates() => Remains::BrokenOff,
            (_, Peer::Failed) => Remains::Nothing,
            _ if self.truncates() && !self.ended_by_owner => Remains::Part,
            (_, Peer::Closed) if self.truncates() => Remains::Part,
            (_, Peer::Closed) if self.exchanges.is_answering() => Remains::Request,
            (_, Peer::Closed) => Remains::Nothing,
            _ if self.exchanges.is_cut() && self.truncates() => Remains::Part,
            _ if self.exchanges.is_cut() => Remains::Request,
            _ if self.exchanges.has_answered() || self.exchanges.has_spoken() => Remains::Peer,
            _ => Remains::Nothing,
        }
    }
}

/// What a drop leaves behind.
enum Remains {
    Nothing,
    /// A tunnel that broke off, or a cut response of a connection that has failed.
    BrokenOff,
    /// A response that only RST shows to be cut.
    Part,
    /// Something that no lingering can help.
    Request,
    Peer,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> LingerIo<IO> {
    /// The staged close, to its end.
    pub(crate) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.step == Step::Flushing {
            if let Err(error) = ready!(self.poll_half_close(cx)) {
                if error.kind() == io::ErrorKind::TimedOut {
                    // What it has not taken lies in our memory and in the kernel's; nothing of it
                    // can be delivered.
                    socket::reset(self.tcp());
                    self.end(End::Stalled);
                } else {
                    self.end(End::Aborted);
                }
                return Poll::Ready(Err(error));
            }
            self.step = Step::HalfClosed;
            if self.peer == Peer::Closed {
                self.end(End::Staged);
            } else if !self.exchanges.has_answered()
                || self.settings.delayed_close_timeout.is_zero()
                || self.ended_by_owner && self.exchanges.nothing_follows(self.says_only_fin)
            {
                self.over();
            } else if !self.takes_place() {
                self.end(End::Refused);
            } else {
                let timeout = self.settings.delayed_close_timeout;
                match &mut self.staged {
                    Some(staged) => staged.restart(timeout),
                    none => *none = Some(Box::new(Staged::new(cx, timeout))),
                }
            }
        }
        let limit = self.settings.discard_limit;
        let (Some(staged), Some(io), Step::HalfClosed) =
            (&mut self.staged, &mut self.io, self.step)
        else {
            return Poll::Ready(Ok(()));
        };
        let end = match ready!(staged.poll_discard(cx, io, limit)) {
            Discarded::PeerEnded => End::Staged,
            Discarded::TimedOut => End::TimedOut,
            Discarded::LimitReached => End::ByteBounded,
        };
        self.end(end);
        Poll::Ready(Ok(()))
    }

    /// Flushes, then ends our direction.
    fn poll_half_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let in_its_words = self.ended_by_owner || self.says_only_fin;
        let (io, tcp) = (
            self.io.as_mut().expect("there until it is dropped"),
            self.tcp,
        );
        let mut step = |cx: &mut Context<'_>| {
            ready!(Pin::new(&mut *io).poll_flush(cx))?;
            if in_its_words {
                return Pin::new(&mut *io).poll_shutdown(cx);
            }
            socket::fin(tcp(io));
            Poll::Ready(Ok(()))
        };
        let timeout = self.settings.flush_timeout();
        let staged = match &mut self.staged {
            Some(staged) => staged,
            none => {
                // A transport that takes everything at once costs neither a timer nor an
                // allocation.
                let polled = step(cx);
                if polled.is_ready() {
                    return polled;
                }
                none.insert(Box::new(Staged::new(cx, timeout)))
            }
        };
        staged.poll_step(cx, timeout, step)
    }
}

impl<IO: AsyncRead + Unpin> LingerIo<IO> {
    /// A write, or a flush, that waits for a client whose request is not read any more: what comes
    /// is discarded meanwhile.
    #[inline]
    fn or_discard<T>(&mut self, cx: &mut Context<'_>, polled: Poll<T>) -> Poll<T> {
        if polled.is_pending() && self.exchanges.discards_rest() {
            self.discard_rest(cx);
        }
        polled
    }

    #[cold]
    fn discard_rest(&mut self, cx: &mut Context<'_>) {
        let mut bytes = [MaybeUninit::<u8>::uninit(); 4096];
        while self.peer == Peer::There && u64::from(self.discarded) < self.settings.discard_limit {
            let mut buf = ReadBuf::uninit(&mut bytes);
            match Pin::new(self.io_mut()).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                    // 4096 at most.
                    self.discarded = self.discarded.saturating_add(buf.filled().len() as u32);
                }
                Poll::Ready(read) => self.came_nothing(read.is_err(), buf.remaining()),
                Poll::Pending => return,
            }
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for LingerIo<IO> {
    #[inline(always)]
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let io = this.io_mut();
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
    #[inline]
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = Pin::new(this.io_mut()).poll_write(cx, buf);
        let written = ready!(this.or_discard(cx, written));
        this.wrote(&written);
        Poll::Ready(written)
    }

    #[inline]
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = Pin::new(this.io_mut()).poll_write_vectored(cx, bufs);
        let written = ready!(this.or_discard(cx, written));
        this.wrote(&written);
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.get_ref().is_write_vectored()
    }

    #[inline]
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let flushed = Pin::new(this.io_mut()).poll_flush(cx);
        this.or_discard(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.exchanges.is_tunnel() {
            let io = self.io_mut();
            ready!(Pin::new(&mut *io).poll_flush(cx))?;
            return Pin::new(io).poll_shutdown(cx);
        }
        self.ended_by_owner = true;
        self.exchanges.shut_down();
        self.poll_close(cx)
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

    #[inline]
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
        let end = match self.remains() {
            Remains::Nothing => return,
            Remains::BrokenOff => return socket::reset(self.tcp()),
            Remains::Part => {
                socket::reset(self.tcp());
                End::Aborted
            }
            Remains::Request => End::Aborted,
            Remains::Peer => {
                let heir = self.heir.take();
                let end = if heir.is_some() {
                    End::Refused
                } else {
                    End::Aborted
                };
                if let Some(heir) = heir.filter(|_| self.takes_place()) {
                    return self.hand_on(heir);
                }
                if self.truncates() {
                    socket::reset(self.tcp());
                }
                end
            }
        };
        self.counters.count(end);
    }
}

impl<IO> LingerIo<IO> {
    /// Whether it may linger.
    fn takes_place(&mut self) -> bool {
        if self.place.is_none() {
            self.place = self.counters.place(self.settings.max_lingering);
        }
        self.place.is_some()
    }

    fn hand_on(&mut self, heir: Heir<IO>) {
        heir(Lingering::new(Self {
            io: self.io.take(),
            settings: Arc::clone(&self.settings),
            counters: self.counters.clone(),
            exchanges: self.exchanges.clone(),
            heir: None,
            tcp: self.tcp,
            staged: self.staged.take(),
            place: self.place.take(),
            step: self.step,
            ended_by_owner: self.ended_by_owner,
            says_only_fin: self.says_only_fin,
            peer: self.peer,
            discarded: self.discarded,
        }));
    }
}

impl<IO> fmt::Debug for LingerIo<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LingerIo")
            .field("step", &self.step)
            .field("peer", &self.peer)
            .field("exchanges", &self.exchanges)
            .finish_non_exhaustive()
    }
}
