//! What serving counts: a program gives its own statistics, whatever they are called.

use std::fmt::Debug;

/// Counts what happens to the HTTP connections of a server.
///
/// Each method is called once for each event and must not block: `connection_opened` in the call of
/// [`serve_http`](crate::serve_http), the others by the task of the connection. `()` counts nothing.
pub trait HttpCounts: Debug + Send + Sync + 'static {
    /// A connection is open.
    fn connection_opened(&self) {}

    /// A connection is closed: its socket is gone, also if it was a tunnel or lingered.
    fn connection_closed(&self, end: ConnectionEnd) {
        let _ = end;
    }

    /// The drain of a connection began, however its client was informed.
    fn drain_started(&self) {}

    /// The client did not close a connection within `delayed_close`.
    fn delayed_close_timed_out(&self) {}

    /// A connection was idle for its `idle` timeout.
    fn idle_timed_out(&self) {}

    /// A connection was as old as `max_connection_duration`.
    fn max_duration_reached(&self) {}

    /// A connection has had as many requests as `max_requests`.
    fn max_requests_reached(&self) {}

    /// A request arrived.
    fn request_started(&self) {}

    /// A request is answered, or was given up.
    fn request_ended(&self) {}

    /// A request did not arrive whole in time.
    fn request_timed_out(&self) {}
}

/// How an HTTP connection ended.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionEnd {
    /// The client was first to end it.
    pub by_client: bool,
    /// A request, or a tunnel, was under way.
    pub active_request: bool,
}

/// Counts what happens to the connections of a [`TcpServer`](crate::TcpServer).
///
/// Each method is called once for each event, by the task of the connection: it must not block.
/// `()` counts nothing.
pub trait TcpCounts: Debug + Send + Sync + 'static {
    /// A connection is open.
    fn connection_opened(&self) {}

    /// A connection was closed because it drains.
    fn drain_closed(&self) {}

    /// A connection was closed because nothing moved on it.
    fn idle_timed_out(&self) {}
}

impl HttpCounts for () {}

impl TcpCounts for () {}
