//! Connections of a set of listeners, for servers that accept by themselves: `axum::serve`, tonic's
//! own server.
//!
//! Such a server makes its connections itself and gives access to none of them. What takes part in
//! a drain is therefore the transport, and a task beside it:
//!
//! ```text
//! slot ── GOAWAY(2^31-1); HTTP/1: the next response says close, if DrainApp serves it
//!   └► deadline ── reads end, writes fail ──► the server drops the transport, which lingers
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use conn_tracker::{ConnKind, ConnProtocol};
use drain_signal::{Goodbye, GracefulClose, drive_held};
use listener_versions::{Accepted, ListenerConfig, Listeners, Stream};
use pin_project::pin_project;
use proto_drain_h2::{GoawayHandle, GoawayIo, H2DrainSettings, WireProtocol};
use proto_drain_http1::{Activity, ActivityObserver, Exchanges};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::handlers::connection;
use super::socket::{has_plain_shutdown, tcp_under};
use super::tracked::Tracked;
use super::{Connection, HttpDrain, HttpIo, WeakConnection};

/// The connections of a set of listeners, now and after any update, for a server that accepts by
/// itself: a listener for `axum::serve` (feature `axum-serve`), a stream of connections for tonic's
/// server (feature `tonic-serve`).
///
/// | | with [`serve`](super::serve) | here |
/// | --- | --- | --- |
/// | the registry, the drain's guards | yes | yes |
/// | HTTP/1: `connection: close` from the slot on | yes | `axum::serve` with `DrainApp` |
/// | HTTP/1: a response before the end of its request says `close` | yes | `axum::serve` with `DrainApp` |
/// | HTTP/2: the first GOAWAY at the slot | yes | yes |
/// | HTTP/2: the final GOAWAY | yes | only after the server's own signal; a client that has had the first opens nothing more, and closes |
/// | staged close | yes | yes |
/// | HTTP/1.0: RST where a body that the close ends was truncated | yes | `axum::serve` with `DrainApp` |
/// | the deadline | streams are reset, tunnels end in two steps | reads end and writes fail |
/// | idle, request and age limits | yes | the server's own, if it has any |
/// | the streams of HTTP/2 in the registry | yes | no |
///
/// The drain is the shut-down: start it, wait for its end, and then let the process end, or give
/// the server its signal. A server stops accepting at its signal, at once, and its listener is
/// dropped with what it had accepted and not handed over: a signal before the end of the drain
/// loses the clients that connect meanwhile.
///
/// Each connection costs a task of its own beside the server's. One worker of the listeners: it
/// accepts while the server asks for connections.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "axum-serve")]
/// # mod example {
/// use axum::Router;
/// use drain_tree::{DrainManager, DrainReason, DrainStart};
/// use listener_versions::Listeners;
/// use orion_drain_serve::{DrainApp, HttpDrain, ListenOn, ListenersIncoming};
///
/// async fn run(listeners: &Listeners<ListenOn>, root: DrainManager, router: Router) {
///     let incoming = ListenersIncoming::new(listeners, HttpDrain::new());
///     tokio::spawn(axum::serve(incoming, DrainApp::new(router)).into_future());
///     // When the process is asked to end (`orion-drain-shutdown` has the whole of it):
///     let start = DrainStart::new(DrainReason::ProcessShutdown);
///     let outcome = root.start_drain_sequence(start).await;
///     println!("{} connections left", outcome.left);
/// }
/// # }
/// ```
pub struct ListenersIncoming<C> {
    /// `None` once the last handle of the listeners is gone.
    worker: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// What the worker has accepted and the server has not taken.
    accepted: Arc<Mutex<VecDeque<Accepted<C>>>>,
    drain: HttpDrain,
}

impl<C: ListenerConfig> ListenersIncoming<C> {
    /// The connections of `listeners`, of which this keeps no handle; how they leave is in `drain`.
    /// Make one for each server: they share the sockets.
    pub fn new(listeners: &Listeners<C>, drain: HttpDrain) -> Self {
        let accepted = Arc::<Mutex<VecDeque<_>>>::default();
        let into = Arc::clone(&accepted);
        let worker = listeners.worker().run(move |accepted| {
            let mut into = into.lock().unwrap_or_else(PoisonError::into_inner);
            into.push_back(accepted);
        });
        Self {
            worker: Some(Box::pin(worker)),
            accepted,
            drain,
        }
    }

    /// The next connection; `None` when the last handle of the listeners is gone. Nothing is
    /// accepted while there is one that was not taken.
    ///
    /// # Panics
    ///
    /// If it is polled outside of a tokio runtime with I/O and time enabled.
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Option<IncomingIo>> {
        loop {
            let next = {
                // One task takes it: it is never contended.
                let mut accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
                accepted.pop_front()
            };
            if let Some(next) = next {
                let (stream, connection) = connection(next);
                return Poll::Ready(Some(IncomingIo::new(stream, connection, &self.drain)));
            }
            let Some(worker) = &mut self.worker else {
                return Poll::Ready(None);
            };
            if worker.as_mut().poll(cx).is_ready() {
                self.worker = None;
            } else if self.is_empty() {
                return Poll::Pending;
            }
        }
    }

    fn is_empty(&self) -> bool {
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        accepted.is_empty()
    }
}

impl<C> fmt::Debug for ListenersIncoming<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenersIncoming")
            .field("drain", &self.drain)
            .finish_non_exhaustive()
    }
}

/// The transport of a connection that a server of its own accepts from [`ListenersIncoming`]. It
/// keeps the connection open, in the drain and in the registry, until it is dropped; so does a
/// tunnel that has it.
#[pin_project]
#[derive(Debug)]
pub struct IncomingIo {
    #[pin]
    io: HttpIo<Stream>,
    exchanges: Exchanges,
    connection: Connection,
    /// Dropped with the transport.
    _here: oneshot::Sender<()>,
}

impl IncomingIo {
    fn new(stream: Stream, connection: Connection, drain: &HttpDrain) -> Self {
        let has_plain_shutdown = has_plain_shutdown(&stream);
        let exchanges = Exchanges::with_observer(Shown(connection.downgrade()));
        let linger = drain
            .transport(stream, tcp_under, has_plain_shutdown)
            .with_exchanges(exchanges.clone());
        let (io, goaway) = GoawayIo::new(linger, drain.http2());
        let (here, gone) = oneshot::channel();
        let led = Led {
            served: Box::pin(served(
                goaway.clone(),
                exchanges.clone(),
                connection.clone(),
                gone,
            )),
            settings: drain.http2().settings().clone(),
            goaway,
        };
        let of = connection.clone();
        tokio::spawn(async move {
            let driven = drive_held(Tracked::new(led, &of, || {}), of.drain());
            let closed = of.trace().around(driven).await;
            of.ended(closed.cause, false);
        });
        Self {
            io,
            exchanges,
            connection,
            _here: here,
        }
    }

    /// The connection: its drain, its deadline, its peer.
    pub const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// What its HTTP/1 parts know.
    pub const fn exchanges(&self) -> &Exchanges {
        &self.exchanges
    }
}

/// Until the transport is gone. On the way it learns what the client speaks.
async fn served(
    goaway: GoawayHandle,
    exchanges: Exchanges,
    connection: Connection,
    gone: oneshot::Receiver<()>,
) {
    let mut gone = pin!(gone);
    tokio::select! {
        protocol = goaway.protocol_known() => {
            let is_http2 = protocol == WireProtocol::Http2;
            if is_http2 {
                // Its own transport waits for the client's end, once.
                exchanges.owner_waits();
            }
            connection.guard().set_protocol(match is_http2 {
                true => ConnProtocol::Http2,
                false => ConnProtocol::Http1,
            });
        }
        _ = &mut gone => return,
    }
    gone.await.ok();
}

/// The steps of the drain, for a transport whose server knows none of them.
struct Led {
    served: Pin<Box<dyn Future<Output = ()> + Send>>,
    settings: H2DrainSettings,
    goaway: GoawayHandle,
}

impl Future for Led {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.served.as_mut().poll(cx)
    }
}

impl GracefulClose for Led {
    fn start(self: Pin<&mut Self>, goodbye: &Goodbye) {
        let deadline = goodbye.deadline.map(Instant::from_std);
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = self.settings.drain_timeout_within(left);
        self.goaway.set_drain_timeout(timeout);
        self.goaway.notice();
    }

    fn finish(self: Pin<&mut Self>) {}

    fn abort(self: Pin<&mut Self>) {
        self.goaway.cut();
    }
}

/// Shows in the registry what an HTTP/1 connection does.
struct Shown(WeakConnection);

impl ActivityObserver for Shown {
    fn activity(&self, activity: Activity) {
        if let Some(connection) = self.0.upgrade() {
            connection.guard().set_kind(match activity {
                Activity::InRequest { streams } => ConnKind::InRequest { streams },
                Activity::Tunnel => ConnKind::Tunnel,
                _ => ConnKind::Idle,
            });
        }
    }
}

impl AsyncRead for IncomingIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.project().io.poll_read(cx, buf)
    }
}

impl AsyncWrite for IncomingIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.project().io.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.project().io.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_shutdown(cx)
    }
}

#[cfg(feature = "tonic-serve")]
impl<C: ListenerConfig> futures_core::Stream for ListenersIncoming<C> {
    type Item = io::Result<IncomingIo>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_accept(cx).map(|io| io.map(Ok))
    }
}

/// tonic's handlers find the peer by `Request::remote_addr`.
#[cfg(feature = "tonic-serve")]
impl tonic::transport::server::Connected for IncomingIo {
    type ConnectInfo = tonic::transport::server::TcpConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        tonic::transport::server::TcpConnectInfo {
            local_addr: None,
            remote_addr: self.connection.peer(),
        }
    }
}
