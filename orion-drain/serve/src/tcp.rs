//! Plain TCP, and tunnels over upgraded connections: a two-way copy under the connection's drain.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use conn_tracker::{CloseReason, ConnKind, ConnProtocol};
use drain_signal::{Closed, drive_held};
use pin_project::pin_project;
use proto_drain_tcp::{CopyOptions, CopyReport, DrainCopy, Ended};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::age::Age;
use super::idle::{Idling, WatchedIo};
use super::jitter::Jitter;
use super::socket::reset_on_drop;
use super::stream::OpenStream;
use super::tracked::Tracked;
use super::{Connection, ConnectionAge, TcpCounts};

/// How the connections of one TCP proxy are relayed. One value for all of them; cheap to clone.
#[derive(Debug, Clone)]
pub struct TcpServer {
    options: CopyOptions,
    idle_timeout: Option<Duration>,
    age: ConnectionAge,
    jitter: Option<Arc<Jitter>>,
    stats: Arc<dyn TcpCounts>,
}

impl TcpServer {
    /// Relays with these options, for ever if nothing moves, and counts into `stats`.
    pub fn new(options: CopyOptions, stats: Arc<dyn TcpCounts>) -> Self {
        Self {
            options,
            idle_timeout: None,
            age: ConnectionAge::default(),
            jitter: None,
            stats,
        }
    }

    /// The same server with another `idle_timeout`: a connection on which nothing moves for so long
    /// is closed, a 32nd part later at most. `None`: for ever.
    #[must_use]
    pub const fn with_idle_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// The same server with a limit on how old connections become. Default: none.
    #[must_use]
    pub fn with_age(mut self, age: ConnectionAge) -> Self {
        self.jitter = Jitter::up_to(age.jitter);
        self.age = age;
        self
    }

    /// The same server with a bound on what is taken from one side before the other has taken it
    /// (Envoy's `per_connection_buffer_limit_bytes`).
    #[must_use]
    pub fn with_buffer_limit(mut self, bytes: u32) -> Self {
        self.options = self.options.with_chunk(bytes as usize);
        self
    }
}

/// Relays with [`CopyOptions::new`], for ever if nothing moves, and counts nothing.
impl Default for TcpServer {
    fn default() -> Self {
        Self::new(CopyOptions::new(), Arc::new(()))
    }
}

/// Relays a TCP connection to its end. A side that was reset makes the other one end in RST, where
/// that is a TCP connection ([`TcpStream`](tokio::net::TcpStream),
/// [`Stream`](listener_versions::Stream), rustls over either).
///
/// # Cancel safety
///
/// Dropping the future closes both sides at once; bytes taken and not delivered are lost.
///
/// # Examples
///
/// A handler for [`serve`](super::serve):
///
/// ```
/// use std::sync::Arc;
/// use listener_versions::Accepted;
/// use orion_drain_serve::{Connection, ListenOn, TcpServer, serve_tcp};
/// use tokio::net::TcpStream;
///
/// let server = Arc::new(TcpServer::default()); // counts nothing
/// let handler = move |accepted: Accepted<ListenOn>| {
///     let server = Arc::clone(&server);
///     async move {
///         let connection = Connection::of(&accepted.version, accepted.watch, accepted.conn);
///         if let Ok(upstream) = TcpStream::connect("192.0.2.1:5432").await {
///             serve_tcp(accepted.stream, upstream, connection, &server).await;
///         }
///     }
/// };
/// # fn is_handler(_: impl orion_drain_serve::Handler<ListenOn>) {}
/// # is_handler(handler);
/// ```
pub async fn serve_tcp<A, B>(
    client: A,
    upstream: B,
    connection: Connection,
    server: &TcpServer,
) -> Closed<CopyReport>
where
    A: AsyncRead + AsyncWrite + Unpin + 'static,
    B: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let stats = &server.stats;
    stats.connection_opened();
    connection.guard().set_protocol(ConnProtocol::Tcp);
    connection.guard().set_kind(ConnKind::Tunnel);
    let (client, moves) = WatchedIo::new(client);
    let copy = DrainCopy::new(client, upstream)
        .with_resets(|client| reset_on_drop(client.get_ref()), reset_on_drop)
        .with_options(server.options)
        .with_decision(connection.decision());
    let was_idle = Arc::new(AtomicBool::new(false));
    let (idle, idles) = (Arc::clone(&was_idle), Arc::clone(stats));
    let guard = connection.downgrade();
    let jitter = server.jitter.as_ref().map(|jitter| jitter.next());
    // It has no requests.
    let age = server.age.with_max_requests(None);
    let age = Age::new(&age, jitter.unwrap_or_default());
    let open = connection.clone();
    let copy = Idling::new(copy, server.idle_timeout, age, moves, open, move || {
        idle.store(true, Ordering::Relaxed);
        idles.idle_timed_out();
        if let Some(connection) = guard.upgrade() {
            connection.guard().set_close_reason(CloseReason::Finished);
        }
    });
    let tracked = Tracked::new(copy, &connection, || {});
    let closed = connection
        .trace()
        .around(drive_held(tracked, connection.drain()))
        .await;
    let by_drain = closed
        .output
        .as_ref()
        .is_some_and(|report| report.ended.by_drain());
    if by_drain && !was_idle.load(Ordering::Relaxed) && !connection.has_retired() {
        stats.drain_closed();
    }
    connection.ended(closed.cause, has_failed(&closed));
    closed
}

fn has_failed(closed: &Closed<CopyReport>) -> bool {
    let report = closed.output.as_ref();
    report.is_some_and(|report| matches!(report.ended, Ended::Failed(_)))
}

/// Relays an upgraded connection (WebSocket, CONNECT) to its end. If the upstream is reset, an
/// HTTP/1 client reads RST, an HTTP/2 client RST_STREAM; and the other way round.
///
/// It runs under a guard of its own: hyper's connection is over when the upgrade begins, the
/// drain's is not. Over HTTP/2 it is a stream of its connection that ends by the same rules; it
/// does not change how the connection is listed, nor its close reason.
///
/// # Cancel safety
///
/// Dropping the future closes both sides at once.
pub async fn serve_tunnel<A, B>(
    client: A,
    upstream: B,
    connection: Connection,
    options: CopyOptions,
) -> Closed<CopyReport>
where
    A: AsyncRead + AsyncWrite + Unpin + 'static,
    B: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let client = TunnelClient {
        io: client,
        connection: connection.clone(),
        shut_down: false,
        ended: false,
        asked: false,
    };
    let copy = DrainCopy::new(client, upstream)
        .with_resets(TunnelClient::reset, reset_on_drop)
        .with_options(options)
        .with_decision(connection.decision());
    if connection.guard().protocol() == ConnProtocol::Http2 {
        // Counted twice while hyper's task of its sending half is there, and until both directions
        // have ended.
        let _open = OpenStream::new(connection.clone());
        return drive_held(copy, connection.drain()).await;
    }
    connection.lead_by_handler();
    connection.guard().set_kind(ConnKind::Tunnel);
    let tracked = Tracked::new(copy, &connection, || {});
    let closed = connection
        .trace()
        .around(drive_held(tracked, connection.drain()))
        .await;
    connection.ended(closed.cause, has_failed(&closed));
    closed
}

/// The client of a tunnel. Its socket is under the server's connection, which resets it.
#[pin_project]
struct TunnelClient<IO> {
    #[pin]
    io: IO,
    connection: Connection,
    /// Our direction has ended.
    shut_down: bool,
    /// There is nothing more to read.
    ended: bool,
    asked: bool,
}

impl<IO> TunnelClient<IO> {
    fn reset(&self) -> io::Result<()> {
        self.connection.break_off_tunnel();
        Ok(())
    }
}

impl<IO: AsyncRead> AsyncRead for TunnelClient<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.project();
        if !*this.ended {
            let before = buf.filled().len();
            ready!(this.io.poll_read(cx, buf))?;
            if buf.filled().len() > before || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            *this.ended = true;
        }
        let Some(stream) = this.connection.stream().filter(|_| !*this.shut_down) else {
            return Poll::Ready(Ok(()));
        };
        match ready!(stream.poll_was_reset(cx, this.asked)) {
            true => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            false => Poll::Ready(Ok(())),
        }
    }
}

impl<IO: AsyncWrite> AsyncWrite for TunnelClient<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.project().io.poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        *this.shut_down = true;
        this.io.poll_shutdown(cx)
    }
}
