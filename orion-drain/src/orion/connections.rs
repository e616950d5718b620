//! The connections of a listener: the registry by the proposal's names.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use conn_tracker::{CloseReason, ConnId, ConnSnapshot, ConnTracker};
use drain_signal::DrainReason;
use drain_tree::{DrainManager, DrainOutcome, DrainStart};
use tokio::time::Instant;

use super::pacing::all;
use super::{ConnectionInfo, ConnectionState, ProtocolDrainBehavior};
use crate::serve::{Connection, WeakConnection};

/// Which connections a listener has, and how one of them is drained or closed.
///
/// Ids are those of [`ConnectionInfo::id`]. An id that is not open, or belongs to another listener,
/// changes nothing.
pub trait ConnectionManager: Send + Sync {
    /// A connection was accepted and is served.
    fn on_connection_established(&self, listener_name: &str, conn_info: ConnectionInfo);

    /// A connection is gone.
    fn on_connection_closed(&self, listener_name: &str, connection_id: &str);

    /// This connection's drain starts now, whatever else drains.
    fn start_connection_draining(
        &self,
        listener_name: &str,
        connection_id: &str,
        protocol_behavior: &ProtocolDrainBehavior,
    );

    /// The connections of a listener that are open, of all its versions.
    fn get_active_connections(&self, listener_name: &str) -> Vec<ConnectionInfo>;

    /// This connection's deadline is now: its protocol aborts it, and its socket closes.
    fn force_close_connection(&self, listener_name: &str, connection_id: &str);
}

/// The connections of a process, by id. Clones are handles of the same.
///
/// The registry lists connections and closes them by id. This adds a weak handle of each
/// connection, to start its drain. The entry of a connection that has ended removes itself.
#[derive(Debug, Clone)]
pub struct DefaultConnectionManager {
    inner: Arc<Inner>,
}

/// As many maps as a power of two that keeps threads apart when connections come and go.
const MAPS: usize = 16;
/// What a busy machine may take to end a connection that has been dropped.
const GRACE: Duration = Duration::from_secs(1);

struct Inner {
    tracker: ConnTracker,
    live: [Mutex<HashMap<ConnId, WeakConnection>>; MAPS],
    /// What a listener manager knows of its listeners.
    http: OnceLock<HttpNodes>,
}

/// The drain nodes of a listener's HTTP connection managers, by the listener's name.
pub(super) type HttpNodes = Box<dyn Fn(&str) -> Vec<DrainManager> + Send + Sync>;

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("tracker", &self.tracker)
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing below it is left half-changed by a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    fn map(&self, id: ConnId) -> MutexGuard<'_, HashMap<ConnId, WeakConnection>> {
        // The lowest bits count the connections of a shard up.
        lock(&self.live[id.as_u64() as usize % MAPS])
    }
}

/// Dropped with its connection.
struct Registered {
    id: ConnId,
    inner: Weak<Inner>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.upgrade() {
            inner.map(self.id).remove(&self.id);
        }
    }
}

impl Default for DefaultConnectionManager {
    /// With a registry of its own, for connections that are entered in [`tracker`](Self::tracker).
    fn default() -> Self {
        Self::new(ConnTracker::new())
    }
}

impl DefaultConnectionManager {
    /// The connections that are entered in `tracker`.
    pub fn new(tracker: ConnTracker) -> Self {
        Self {
            inner: Arc::new(Inner {
                tracker,
                live: std::array::from_fn(|_| Mutex::default()),
                http: OnceLock::new(),
            }),
        }
    }

    /// The registry.
    pub fn tracker(&self) -> &ConnTracker {
        &self.inner.tracker
    }

    /// How many connections are registered: by
    /// [`on_connection_established`](ConnectionManager::on_connection_established), and not ended.
    pub fn registered(&self) -> usize {
        self.inner.live.iter().map(|map| lock(map).len()).sum()
    }

    /// The open connections of a listener that are in `state`.
    pub fn get_connections_by_state(
        &self,
        listener_name: &str,
        state: ConnectionState,
    ) -> Vec<ConnectionInfo> {
        self.infos(self.inner.tracker.by_state(state), listener_name)
    }

    /// Closes every connection whose own drain started longer ago than `max_drain_time`, and
    /// returns how many those were.
    ///
    /// A drain with a deadline leaves none. This is for connections that were drained one by one,
    /// or by a drain without a deadline (`/drain_listeners`).
    pub fn cleanup_stale_draining_connections(&self, max_drain_time: Duration) -> usize {
        let now = Instant::now();
        self.close_those(|connection| {
            let started = connection.drain_started_at();
            started.is_some_and(|start| now.saturating_duration_since(start) > max_drain_time)
        })
    }

    /// Closes every connection that outlives its deadline and the steps after it, and returns how
    /// many those were. There are none as long as [`drive`](drain_signal::drive) runs each
    /// connection: this finds connections whose host does not act on the deadline.
    pub fn close_overdue(&self) -> usize {
        let now = Instant::now().into_std();
        self.close_those(|connection| {
            let (drain, deadline) = (connection.drain().event(), connection.drain().deadline());
            drain.zip(deadline).is_some_and(|(drain, deadline)| {
                let over = now.saturating_duration_since(deadline);
                over > drain.close_steps.drop_after + GRACE
            })
        })
    }

    fn close_those(&self, wanted: impl Fn(&Connection) -> bool) -> usize {
        let mut known: Vec<(ConnId, WeakConnection)> = Vec::new();
        for map in &self.inner.live {
            known.extend(
                lock(map)
                    .iter()
                    .map(|(id, connection)| (*id, connection.clone())),
            );
        }
        // No lock is held here: the last handle of a connection may be dropped, which takes it out
        // of its map.
        let found = known.into_iter().filter(|(_, connection)| {
            connection
                .upgrade()
                .is_some_and(|connection| wanted(&connection))
        });
        let closed = |(id, _): &(ConnId, WeakConnection)| {
            let closed = self.inner.tracker.close_with(*id, CloseReason::Deadline);
            closed.is_ok()
        };
        found.filter(closed).count()
    }

    /// Drains the HTTP connections of a listener, and leaves its TCP connections alone. The drain
    /// has begun when this returns; the future paces it, and resolves with the outcome of each HTTP
    /// connection manager: none without a [`ListenersManager`](super::ListenersManager), which
    /// knows them.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the drain begun, without further slots or deadline, until another
    /// start joins it.
    pub fn start_draining_http_managers(
        &self,
        listener_name: &str,
    ) -> impl Future<Output = Vec<DrainOutcome>> + Send + 'static {
        let nodes = self.inner.http.get().map(|nodes| nodes(listener_name));
        let nodes = nodes.unwrap_or_default();
        let start = DrainStart::new(DrainReason::ListenerModify);
        all(nodes
            .iter()
            .map(|node| node.start_drain_sequence(start))
            .collect())
    }

    /// A listener manager knows the HTTP connection managers of its listeners.
    pub(super) fn manage_http(&self, nodes: HttpNodes) {
        // A connection manager belongs to one listener manager.
        self.inner.http.set(nodes).ok();
    }

    /// Registers a connection.
    pub(super) fn enter(&self, connection: &Connection) {
        let id = connection.guard().id();
        // First, since a value that was attached before is kept, and this one then dropped.
        connection.attach(Registered {
            id,
            inner: Arc::downgrade(&self.inner),
        });
        self.inner.map(id).insert(id, connection.downgrade());
    }

    fn infos(&self, seen: Vec<ConnSnapshot>, listener_name: &str) -> Vec<ConnectionInfo> {
        let of_listener = seen
            .iter()
            .filter(|connection| &*connection.listener == listener_name);
        of_listener
            .map(|connection| {
                let live = self.inner.map(connection.id).get(&connection.id).cloned();
                ConnectionInfo::seen(connection, &self.inner.tracker, live)
            })
            .collect()
    }

    fn id(&self, listener_name: &str, connection_id: &str) -> Option<ConnId> {
        let found = self.inner.tracker.find(connection_id.parse().ok()?)?;
        (&*found.listener == listener_name).then_some(found.id)
    }
}

impl ConnectionManager for DefaultConnectionManager {
    fn on_connection_established(&self, _: &str, conn_info: ConnectionInfo) {
        // The registry knows its listener already.
        if let Some(connection) = conn_info.connection() {
            self.enter(&connection);
        }
    }

    fn on_connection_closed(&self, _: &str, connection_id: &str) {
        if let Ok(id) = connection_id.parse() {
            self.inner.map(id).remove(&id);
        }
    }

    fn start_connection_draining(
        &self,
        listener_name: &str,
        connection_id: &str,
        protocol_behavior: &ProtocolDrainBehavior,
    ) {
        let Some(id) = self.id(listener_name, connection_id) else {
            return;
        };
        // The lock is released before the connection is notified.
        let live = self
            .inner
            .map(id)
            .get(&id)
            .and_then(WeakConnection::upgrade);
        if let Some(connection) = live {
            connection.start_draining(protocol_behavior);
        }
    }

    fn get_active_connections(&self, listener_name: &str) -> Vec<ConnectionInfo> {
        self.infos(self.inner.tracker.snapshot(), listener_name)
    }

    fn force_close_connection(&self, listener_name: &str, connection_id: &str) {
        if let Some(id) = self.id(listener_name, connection_id) {
            // It may have ended in between; then there is nothing to close.
            self.inner.tracker.close(id).ok();
        }
    }
}
