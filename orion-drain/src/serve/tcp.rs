//! Plain TCP, and tunnels over upgraded connections: a two-way copy under the connection's drain.

use conn_tracker::{ConnKind, ConnProtocol};
use drain_signal::{Closed, drive};
use proto_drain_tcp::{CopyOptions, CopyReport, DrainCopy};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Connection;
use super::tracked::Tracked;
use crate::stats::TcpStats;

/// Relays a TCP connection to its end.
///
/// # Cancel safety
///
/// Dropping the future closes both sides at once; bytes taken and not delivered are lost.
pub async fn serve_tcp<A, B>(
    client: A,
    upstream: B,
    connection: Connection,
    options: CopyOptions,
    stats: &TcpStats,
) -> Closed<CopyReport>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    stats.downstream_cx_total.inc();
    connection.guard().set_protocol(ConnProtocol::Tcp);
    connection.guard().set_kind(ConnKind::Tunnel);
    let copy = DrainCopy::new(client, upstream)
        .with_options(options)
        .with_decision(connection.decision().clone());
    let closed = drive(Tracked::new(copy, connection.clone(), || {}), connection.watch()).await;
    if closed
        .output
        .as_ref()
        .is_some_and(|report| report.ended.by_drain())
    {
        stats.downstream_cx_drain_close.inc();
    }
    connection.ended(closed.cause);
    closed
}

/// Relays an upgraded connection (WebSocket, CONNECT) to its end, under a guard of its own: hyper's connection is over
/// when the upgrade begins, the drain's is not.
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
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    connection.guard().set_kind(ConnKind::Tunnel);
    let copy = DrainCopy::new(client, upstream)
        .with_options(options)
        .with_decision(connection.decision().clone());
    let closed = drive(Tracked::new(copy, connection.clone(), || {}), connection.watch()).await;
    connection.ended(closed.cause);
    closed
}
