//! One connection, as the registry shows it.

use conn_tracker::{ConnSnapshot, ConnTracker};
use tokio::time::Instant;

use super::{ConnectionProtocol, ConnectionState};
use crate::serve::{Connection, WeakConnection};

/// A connection at the moment of the call; it keeps nothing open.
#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct ConnectionInfo {
    /// Its number in the registry, sixteen hexadecimal digits.
    pub id: String,
    /// The protocol that it speaks.
    pub protocol: ConnectionProtocol,
    /// When it was accepted, to a second, as the registry's clock.
    pub established_at: Instant,
    /// When it last did something, to a second, as the registry's clock.
    pub last_activity: Instant,
    /// Active, draining, closing or closed.
    pub state: ConnectionState,
    connection: Option<WeakConnection>,
}

impl ConnectionInfo {
    /// A connection that has just been accepted: it was established now.
    /// [`get_active_connections`](super::ConnectionManager::get_active_connections) has the times
    /// of older ones.
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
