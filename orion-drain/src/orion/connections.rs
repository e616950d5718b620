//! What can be asked of, and done to, the connections of a listener: the registry by the proposal's names.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;

use conn_tracker::{CloseReason, ConnId, ConnSnapshot, ConnTracker};
use drain_signal::DrainReason;
use drain_tree::{DrainManager, DrainOutcome, DrainSequence, DrainStart};
use tokio::time::Instant;

use super::{ConnectionInfo, ConnectionState, ProtocolDrainBehavior};
use crate::serve::{Connection, WeakConnection};

/// What a listener tells of its connections, and what can be done to them. Ids are those of [`ConnectionInfo::id`]; one
/// that is not open, or belongs to another listener, is left alone.
pub trait ConnectionManager: Send + Sync {
    /// A connection was accepted and is served.
    fn on_connection_established(&self, listener_name: &str, conn_info: ConnectionInfo);

    /// A connection is gone.
    fn on_connection_closed(&self, listener_name: &str, connection_id: &str);

    /// This connection is told to leave now, whatever else drains.
    fn start_connection_draining(
        &self,
        listener_name: &str,
        connection_id: &str,
        protocol_behavior: &ProtocolDrainBehavior,
    );

    /// The connections of a listener that are open, of all its versions.
    fn get_active_connections(&self, listener_name: &str) -> Vec<ConnectionInfo>;

    /// This connection's deadline is now: it is aborted in its protocol's words, and its socket closes.
    fn force_close_connection(&self, listener_name: &str, connection_id: &str);
}

/// The connections of a process, by id. Clones are handles of the same.
///
/// The registry knows who is here and closes by id. This adds a way to each connection's own goodbye, held weakly: a
/// connection that has ended leaves by itself, also if nobody says so.
#[derive(Debug, Clone)]
pub struct DefaultConnectionManager {
    inner: Arc<Inner>,
}

/// As many maps as a power of two that keeps threads apart when connections come and go.
const MAPS: usize = 16;
/// What a busy machine may take to end a connection that has been dropped.
const GRACE: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Inner {
    tracker: ConnTracker,
    live: [Mutex<HashMap<ConnId, WeakConnection>>; MAPS],
    /// The drain nodes of each listener's HTTP connection managers.
    http: Mutex<HashMap<String, Vec<DrainManager>>>,
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

impl DefaultConnectionManager {
    /// The connections that are entered in `tracker`.
    pub fn new(tracker: ConnTracker) -> Self {
        Self {
            inner: Arc::new(Inner {
                tracker,
                live: std::array::from_fn(|_| Mutex::default()),
                http: Mutex::default(),
            }),
        }
    }

    /// The registry.
    pub fn tracker(&self) -> &ConnTracker {
        &self.inner.tracker
    }

    /// How many connections were told of by [`on_connection_established`](ConnectionManager::on_connection_established)
    /// and are not gone.
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

    /// Forces every connection whose goodbye began longer ago than `max_drain_time`, and says how many those were.
    ///
    /// A drain with a deadline leaves none: this is for connections that were told one by one, or by a drain without a
    /// deadline (`/drain_listeners`).
    pub fn cleanup_stale_draining_connections(&self, max_drain_time: Duration) -> usize {
        let now = Instant::now();
        self.close_those(|connection| {
            let told = connection.told_at();
            told.is_some_and(|told| now.saturating_duration_since(told) > max_drain_time)
        })
    }

    /// Forces every connection that outlives its deadline and the steps after it, and says how many those were: none,
    /// while connections are driven.
    pub fn close_overdue(&self) -> usize {
        let now = Instant::now().into_std();
        self.close_those(|connection| {
            let (drain, deadline) = (connection.drain().event(), connection.drain().deadline());
            drain.zip(deadline).is_some_and(|(drain, deadline)| {
                let over = now.saturating_duration_since(deadline);
                over > drain.ladder.drop_after + GRACE
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
        // No lock is held here: the last handle of a connection may be dropped, which takes it out of its map.
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

    /// Names the drain nodes of a listener's HTTP connection managers, instead of those named before.
    pub fn register_http_managers(&self, listener_name: &str, nodes: Vec<DrainManager>) {
        lock(&self.inner.http).insert(listener_name.to_owned(), nodes);
    }

    /// Forgets a listener's HTTP connection managers.
    pub fn unregister_http_managers(&self, listener_name: &str) {
        lock(&self.inner.http).remove(listener_name);
    }

    /// Drains the HTTP connections of a listener, and leaves its TCP connections alone. It has begun when this returns; the
    /// future paces it, and resolves with what became of each HTTP connection manager.
    pub fn start_draining_http_managers(
        &self,
        listener_name: &str,
    ) -> impl Future<Output = Vec<DrainOutcome>> + Send + 'static {
        let nodes = lock(&self.inner.http)
            .get(listener_name)
            .cloned()
            .unwrap_or_default();
        let start = DrainStart::new(DrainReason::ListenerModify);
        all(nodes
            .iter()
            .map(|node| node.start_drain_sequence(start))
            .collect())
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
            let id = connection.guard().id();
            // First, since one that was attached before is kept, and this one then dropped.
            connection.attach(Registered {
                id,
                inner: Arc::downgrade(&self.inner),
            });
            self.inner.map(id).insert(id, connection.downgrade());
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
        // The lock is given back before the connection is told.
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

/// Polls all sequences, so that each is paced.
fn all(sequences: Vec<DrainSequence>) -> impl Future<Output = Vec<DrainOutcome>> + Send + 'static {
    let running = sequences
        .into_iter()
        .map(|sequence| (Box::pin(sequence), None));
    let mut running: Vec<_> = running.collect();
    poll_fn(move |cx| {
        for (sequence, outcome) in &mut running {
            if outcome.is_none() {
                if let Poll::Ready(ended) = Pin::new(sequence).poll(cx) {
                    *outcome = Some(ended);
                }
            }
        }
        let outcomes: Option<Vec<_>> = running.iter().map(|(_, outcome)| *outcome).collect();
        outcomes.map_or(Poll::Pending, Poll::Ready)
    })
}
