//! Plain TCP, and tunnels over upgraded connections: a two-way copy under the connection's drain.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use conn_tracker::{CloseReason, ConnGuard, ConnKind, ConnProtocol};
use drain_signal::{Closed, drive_held};
use pin_project::pin_project;
use proto_drain_tcp::{CopyOptions, CopyReport, DrainCopy, Ended};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Connection;
use super::TcpCounts;
use super::idle::{Idling, WatchedIo};
use super::socket::reset_on_drop;
use super::tracked::Tracked;

/// How the connections of one TCP proxy are relayed. One value for all of them; cheap to clone.
#[derive(Debug, Clone)]
pub struct TcpServer {
    options: CopyOptions,
    idle_timeout: Option<Duration>,
    stats: Arc<dyn TcpCounts>,
}

impl TcpServer {
    /// Relays with these options, for ever if nothing moves, and counts into `stats`.
    pub const fn new(options: CopyOptions, stats: Arc<dyn TcpCounts>) -> Self {
        Self {
            options,
            idle_timeout: None,
            stats,
        }
    }

    /// The same server with another `idle_timeout`: a connection on which nothing moves for so long is closed, a
    /// 32nd part later at most. `None`: for ever.
    #[must_use]
    pub const fn with_idle_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// The same server with a bound on what is taken from one side before the other has taken it (Envoy's
    /// `per_connection_buffer_limit_bytes`).
    #[must_use]
    pub fn with_buffer_limit(mut self, bytes: u32) -> Self {
        self.options = self.options.with_chunk(bytes as usize);
        self
    }
}

/// Relays a TCP connection to its end. A side that was reset makes the other one end in RST, where that is a TCP connection
/// ([`TcpStream`](tokio::net::TcpStream), [`Stream`](listener_versions::Stream), rustls over either).
///
/// # Cancel safety
///
/// Dropping the future closes both sides at once; bytes taken and not delivered are lost.
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
        .with_decision(connection.decision().clone());
    let was_idle = Arc::new(AtomicBool::new(false));
    let (idle, idles) = (Arc::clone(&was_idle), Arc::clone(stats));
    let guard = connection.downgrade();
    let copy = Idling::new(copy, server.idle_timeout, moves, move || {
        idle.store(true, Ordering::Relaxed);
        idles.idle_timed_out();
        if let Some(connection) = guard.upgrade() {
            connection.guard().set_close_reason(CloseReason::Finished);
        }
    });
    let tracked = Tracked::new(copy, connection.clone(), || {});
    let closed = connection
        .trace()
        .around(drive_held(tracked, connection.drain().clone()))
        .await;
    let by_drain = closed
        .output
        .as_ref()
        .is_some_and(|report| report.ended.by_drain());
    if by_drain && !was_idle.load(Ordering::Relaxed) {
        stats.drain_closed();
    }
    connection.ended(closed.cause, has_failed(&closed));
    closed
}

fn has_failed(closed: &Closed<CopyReport>) -> bool {
    let report = closed.output.as_ref();
    report.is_some_and(|report| matches!(report.ended, Ended::Failed(_)))
}

/// Relays an upgraded connection (WebSocket, CONNECT) to its end. If the upstream is reset, an HTTP/1 client reads RST.
///
/// It runs under a guard of its own: hyper's connection is over when the upgrade begins, the drain's is not. Over HTTP/2 it is a
/// stream of its connection that ends by the same rules; how the connection is listed and why it ends is not its to say.
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
    };
    let copy = DrainCopy::new(client, upstream)
        .with_resets(TunnelClient::reset, reset_on_drop)
        .with_options(options)
        .with_decision(connection.decision().clone());
    if connection.guard().protocol() == ConnProtocol::Http2 {
        let _open = OpenStream::of(connection.guard());
        return drive_held(copy, connection.drain().clone()).await;
    }
    connection.guard().set_kind(ConnKind::Tunnel);
    let tracked = Tracked::new(copy, connection.clone(), || {});
    let closed = connection
        .trace()
        .around(drive_held(tracked, connection.drain().clone()))
        .await;
    connection.ended(closed.cause, has_failed(&closed));
    closed
}

/// The client of a tunnel. Its socket is under the server's connection, which is told to reset it.
#[pin_project]
struct TunnelClient<IO> {
    #[pin]
    io: IO,
    connection: Connection,
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
        self.project().io.poll_read(cx, buf)
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
        self.project().io.poll_shutdown(cx)
    }
}

/// A stream that is a tunnel: its connection is not idle.
struct OpenStream<'a>(&'a ConnGuard);

impl<'a> OpenStream<'a> {
    fn of(guard: &'a ConnGuard) -> Self {
        guard.request_started();
        Self(guard)
    }
}

impl Drop for OpenStream<'_> {
    fn drop(&mut self) {
        self.0.request_ended();
    }
}
