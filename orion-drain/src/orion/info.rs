//! What is to be seen of one connection.

use conn_tracker::{ConnSnapshot, ConnTracker};
use tokio::time::Instant;

use super::{ConnectionProtocol, ConnectionState};
use crate::serve::{Connection, WeakConnection};

/// A connection as it was when it was looked at; it holds nothing open.
#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct ConnectionInfo {
    /// Its number in the registry, sixteen hexadecimal digits.
    pub id: String,
    /// What it really speaks.
    pub protocol: ConnectionProtocol,
    /// When it was accepted, as coarse as the registry's clock.
    pub established_at: Instant,
    /// When it last did something, as coarse as the registry's clock.
    pub last_activity: Instant,
    /// How far it is on its way out.
    pub state: ConnectionState,
    connection: Option<WeakConnection>,
}

impl ConnectionInfo {
    /// A connection that is being served.
    pub fn of(connection: &Connection) -> Self {
        let (guard, now) = (connection.guard(), Instant::now());
        Self {
            id: guard.id().to_string(),
            protocol: guard.protocol(),
            established_at: now,
            last_activity: now,
            state: guard.state(),
            connection: Some(connection.downgrade()),
        }
    }

    /// The connection, if it is known here and has not ended.
    pub fn connection(&self) -> Option<Connection> {
        self.connection.as_ref().and_then(WeakConnection::upgrade)
    }

    pub(super) fn seen(
        seen: &ConnSnapshot,
        tracker: &ConnTracker,
        connection: Option<WeakConnection>,
    ) -> Self {
        let (now, tracked) = (Instant::now(), tracker.now());
        let before = |since| now.checked_sub(since).unwrap_or(now);
        Self {
            id: seen.id.to_string(),
            protocol: seen.protocol,
            established_at: before(seen.age(tracked)),
            last_activity: before(seen.quiet(tracked)),
            state: seen.state,
            connection,
        }
    }
}
