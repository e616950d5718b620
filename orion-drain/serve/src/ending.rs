//! How an HTTP connection ended, as Envoy's `downstream_cx_destroy_*` count it: which side was
//! first to end it, and whether a request was cut by that.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use conn_tracker::{ConnKind, ConnProtocol, ConnState};
use pin_project::{pin_project, pinned_drop};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::request::RequestSettings;
use super::tunnel::Tunnel;
use super::{Connection, WeakConnection};
use super::{ConnectionEnd, HttpCounts};

/// Neither side has ended it.
const OPEN: u8 = 0;
/// The client ended its direction, or reset the connection.
const BY_CLIENT: u8 = 1;
/// We ended our direction, when all was answered.
const BY_US: u8 = 2;
/// We cut it.
const CUT: u8 = 3;

/// What the parts of one connection know of its end. Relaxed throughout: each value stands for
/// itself.
#[derive(Debug)]
pub(super) struct Ending {
    settings: Arc<RequestSettings>,
    connection: WeakConnection,
    first: AtomicU8,
    /// Once the connection is one. It keeps the connection until the transport is dropped.
    tunnel: OnceLock<Box<Tunnel>>,
    /// A request, or a tunnel, was under way when it ended.
    unfinished: AtomicBool,
}

impl Ending {
    pub(super) fn new(settings: &Arc<RequestSettings>, connection: &Connection) -> Arc<Self> {
        Arc::new(Self {
            settings: Arc::clone(settings),
            connection: connection.downgrade(),
            first: AtomicU8::new(OPEN),
            tunnel: OnceLock::new(),
            unfinished: AtomicBool::new(false),
        })
    }

    /// What its requests share with those of the other connections of its server.
    #[inline]
    pub(super) fn settings(&self) -> &RequestSettings {
        &self.settings
    }

    #[inline]
    pub(super) fn stats(&self) -> &dyn HttpCounts {
        &*self.settings.stats
    }

    /// It becomes a tunnel.
    pub(super) fn begin_tunnel(&self, tunnel: impl FnOnce() -> Tunnel) {
        self.tunnel.get_or_init(|| Box::new(tunnel()));
    }

    /// What it has become, if that is a tunnel.
    #[inline]
    pub(super) fn tunnel(&self) -> Option<&Tunnel> {
        self.tunnel.get().map(|tunnel| &**tunnel)
    }

    /// The deadline cuts it.
    pub(super) fn cut(&self) {
        self.ended(CUT);
    }

    /// The first call says who has ended it.
    fn ended(&self, by: u8) {
        let first = self
            .first
            .compare_exchange(OPEN, by, Ordering::Relaxed, Ordering::Relaxed);
        if first.is_ok() && self.is_unfinished(by) {
            self.unfinished.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a request, or the body of its response, is under way.
    pub(super) fn is_in_request(&self) -> bool {
        let in_request =
            |open: Connection| matches!(open.guard().kind(), ConnKind::InRequest { .. });
        self.connection.upgrade().is_some_and(in_request)
    }

    fn is_unfinished(&self, by: u8) -> bool {
        self.connection.upgrade().is_some_and(|open| {
            let guard = open.guard();
            match guard.kind() {
                ConnKind::InRequest { .. } => by != BY_US,
                // A request without an end: only its upstream ends it, or it is cut.
                ConnKind::Tunnel => by != BY_US || guard.state() > ConnState::Active,
                _ => false,
            }
        })
    }

    /// A client that cannot be written to is gone, and what is written over HTTP/1 is a response.
    fn failed_to_write(&self) {
        self.ended(BY_CLIENT);
        let is_http1 = |open: Connection| open.guard().protocol() == ConnProtocol::Http1;
        if self.first.load(Ordering::Relaxed) == BY_CLIENT
            && self.connection.upgrade().is_some_and(is_http1)
        {
            self.unfinished.store(true, Ordering::Relaxed);
        }
    }

    fn outcome(&self) -> ConnectionEnd {
        // Dropped as it was, if neither side has ended it.
        self.ended(CUT);
        ConnectionEnd {
            by_client: self.first.load(Ordering::Relaxed) == BY_CLIENT,
            active_request: self.unfinished.load(Ordering::Relaxed),
        }
    }
}

/// The transport of a counted connection: counted as open while it is there, which is longer than
/// the connection is served if it lingers or became a tunnel.
#[pin_project(PinnedDrop)]
#[derive(Debug)]
pub(super) struct EndingIo<IO> {
    #[pin]
    io: IO,
    ending: Arc<Ending>,
}

impl<IO> EndingIo<IO> {
    pub(super) fn new(io: IO, ending: Arc<Ending>) -> Self {
        ending.stats().connection_opened();
        Self { io, ending }
    }

    pub(super) const fn get_ref(&self) -> &IO {
        &self.io
    }
}

#[pinned_drop]
impl<IO> PinnedDrop for EndingIo<IO> {
    fn drop(self: Pin<&mut Self>) {
        let ending = &self.ending;
        ending.stats().connection_closed(ending.outcome());
        if let Some(tunnel) = self.ending.tunnel() {
            tunnel.gone();
        }
    }
}

impl<IO: AsyncRead> AsyncRead for EndingIo<IO> {
    #[inline(always)]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.project();
        let tunnel = this.ending.tunnel();
        if tunnel.is_some_and(Tunnel::is_cut) {
            this.ending.cut();
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = this.io.poll_read(cx, buf);
        if read.is_pending() && tunnel.is_some_and(|tunnel| tunnel.read_ends(cx)) {
            this.ending.cut();
            return Poll::Ready(Ok(()));
        }
        let is_over = match &read {
            Poll::Ready(Ok(())) => buf.filled().len() == before && buf.remaining() > 0,
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        };
        if is_over {
            this.ending.ended(BY_CLIENT);
        }
        read
    }
}

/// What a write returns: an error is the client's end; of a tunnel that is cut, ours.
#[inline]
fn written<T>(
    ending: &Ending,
    cx: &Context<'_>,
    result: Poll<io::Result<T>>,
) -> Poll<io::Result<T>> {
    match (&result, ending.tunnel()) {
        (Poll::Ready(Err(_)), _) => ending.failed_to_write(),
        (Poll::Pending, Some(tunnel)) if tunnel.write_ends(cx) => {
            ending.cut();
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        _ => {}
    }
    result
}

/// Nothing more is written to a tunnel that is cut.
#[inline]
fn is_open(ending: &Ending) -> io::Result<()> {
    if ending.tunnel().is_some_and(Tunnel::is_cut) {
        ending.cut();
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    Ok(())
}

impl<IO: AsyncWrite> AsyncWrite for EndingIo<IO> {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        is_open(this.ending)?;
        let result = this.io.poll_write(cx, buf);
        written(this.ending, cx, result)
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        is_open(this.ending)?;
        let result = this.io.poll_write_vectored(cx, bufs);
        written(this.ending, cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let result = this.io.poll_flush(cx);
        written(this.ending, cx, result)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        this.ending.ended(BY_US);
        this.io.poll_shutdown(cx)
    }
}
