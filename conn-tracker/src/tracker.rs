//! The tracker: all connections of a process, and what can be asked of them.

use crate::{
    counts::ConnCounts,
    engine::{Group, GroupHandle, Handle, Key, Registry, ask},
    group::{ConnGroup, GroupView},
    id::{ConnId, MAX_SHARDS},
    info::ConnRequest,
    labels::{CloseReason, ConnLabel, LabelSet},
    snapshot::{self, ConnSnapshot, SnapshotPage},
    state::ConnState,
    wait::WaitEmpty,
};
use std::{sync::Arc, time::Duration};

/// The connection registry of a process. Clones are handles on the same registry.
///
/// After the last handle is dropped ([groups](ConnGroup), [chains](crate::ConnChain) and
/// [waits](WaitEmpty) are handles too) nothing can be opened; guards that still exist stay valid,
/// unseen. The memory is kept for the next tracker with as many shards.
#[derive(Debug, Clone)]
pub struct ConnTracker(Handle);

impl Default for ConnTracker {
    fn default() -> Self {
        Self::new()
    }
}

impl ConnTracker {
    /// A tracker with the default options.
    #[must_use]
    pub fn new() -> Self {
        Self::with_options(TrackerOptions::default())
    }

    /// A tracker with options of its own.
    #[must_use]
    pub fn with_options(options: TrackerOptions) -> Self {
        let shards = options.shards.clamp(1, MAX_SHARDS).next_power_of_two();
        Self(Handle::first(Registry::claim(shards, options.excluded)))
    }

    /// The group of one listener version: the one that there is, or a new one.
    #[must_use = "a group without a handle and without a connection is removed"]
    pub fn group(&self, listener: &str, version: u64) -> ConnGroup {
        let key = Key {
            listener: Arc::from(listener),
            version,
            chain: None,
        };
        ConnGroup::new(GroupHandle::open(self.0.clone(), key))
    }

    // === the coarse clock ===

    /// Sets the tracker's clock: `elapsed` since it was made. Call it from a timer, say once a
    /// second; stamps are as coarse as these calls. An earlier time than before is ignored.
    ///
    /// ```
    /// # use conn_tracker::{ConnTracker, Peer};
    /// # use std::time::Duration;
    /// let tracker = ConnTracker::new();
    /// let guard = tracker.group("ingress", 1).open(Peer::Unix);
    /// tracker.advance(Duration::from_secs(5));
    /// guard.touch();
    /// tracker.advance(Duration::from_secs(7));
    /// assert_eq!(tracker.snapshot()[0].quiet(tracker.now()), Duration::from_secs(2));
    /// ```
    pub fn advance(&self, elapsed: Duration) {
        self.0.registry().clock.advance(elapsed);
    }

    /// The tracker's clock, in whole milliseconds: what [`advance`](Self::advance) was called with
    /// last.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.0.registry().clock.now()
    }

    // === counts ===

    /// How many connections there are, by state and protocol: a read of two cache lines for each
    /// shard in use.
    #[must_use]
    pub fn counts(&self) -> ConnCounts {
        self.0.registry().counts()
    }

    /// How many connections are open, excluded ones too.
    #[must_use]
    pub fn len(&self) -> usize {
        self.counts().total as usize
    }

    /// Whether no connection is open, not even an excluded one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many connections [`wait_empty`](Self::wait_empty) waits for: all but those with an
    /// excluded label.
    #[must_use]
    pub fn awaited(&self) -> usize {
        self.counts().awaited as usize
    }

    /// How many times a connection has entered state `to`, ever.
    #[must_use]
    pub fn transitions(&self, to: ConnState) -> u64 {
        self.counts().transitions(to)
    }

    /// How many connections have ended for `reason`, ever.
    #[must_use]
    pub fn closed(&self, reason: CloseReason) -> u64 {
        let shards = self.0.registry().shards();
        shards.map(|shard| shard.reasons.of(reason)).sum()
    }

    /// The counts of every listener version and filter chain, in no order.
    #[must_use]
    pub fn groups(&self) -> Vec<GroupView> {
        let view = |group: Arc<Group>| {
            let counts = group.counts();
            let Key {
                listener,
                version,
                chain,
            } = group.key.clone();
            GroupView {
                listener,
                version,
                chain,
                counts,
            }
        };
        self.0.registry().groups().into_iter().map(view).collect()
    }

    // === who ===

    /// Every connection, in the order of their ids' shards and entries.
    ///
    /// It is not one moment of all connections: each is listed once, as it was when its entry was
    /// read. A connection that is open from before the call until after it is in the list. A shard
    /// is locked while 16 entries are copied, so a list of a million connections delays an accept
    /// by microseconds.
    ///
    /// The list has as many elements as there are connections;
    /// [`snapshot_page`](Self::snapshot_page) bounds it.
    #[must_use]
    pub fn snapshot(&self) -> Vec<ConnSnapshot> {
        snapshot::all(self.0.registry(), |_, _| true)
    }

    /// At most `limit` connections (0 counts as 1), those that follow `after`: `None` for the first
    /// page, then the [`next`](SnapshotPage::next) of the page before. Each connection is seen as
    /// in [`snapshot`](Self::snapshot).
    ///
    /// A connection that is open from before the first page until after the last is in one of them,
    /// once. One that opens meanwhile is in one of them or in none. `after` may name a connection
    /// that has ended.
    ///
    /// ```
    /// # use conn_tracker::{ConnTracker, Peer};
    /// let tracker = ConnTracker::new();
    /// let group = tracker.group("ingress", 1);
    /// let guards: Vec<_> = (0..250).map(|_| group.open(Peer::Unix)).collect();
    /// let (mut sizes, mut next) = (vec![], None);
    /// loop {
    ///     let page = tracker.snapshot_page(next, 100);
    ///     sizes.push(page.connections.len());
    ///     next = page.next;
    ///     if next.is_none() {
    ///         break;
    ///     }
    /// }
    /// assert_eq!(sizes, [100, 100, 50]);
    /// # drop(guards);
    /// ```
    #[must_use]
    pub fn snapshot_page(&self, after: Option<ConnId>, limit: usize) -> SnapshotPage {
        snapshot::page(self.0.registry(), after, limit)
    }

    /// The ids of the connections that `wanted` picks, of a walk through all pages: at no time is
    /// there a list of all connections. Each is seen as in [`snapshot`](Self::snapshot).
    ///
    /// ```
    /// # use conn_tracker::{ConnTracker, Peer};
    /// # use std::time::Duration;
    /// let tracker = ConnTracker::new();
    /// let ingress = tracker.group("ingress", 1);
    /// let old = ingress.open(Peer::Unix);
    /// tracker.advance(Duration::from_secs(3600));
    /// let _young = ingress.open(Peer::Unix);
    /// let now = tracker.now();
    /// let aged = tracker.select(|conn| conn.age(now) >= Duration::from_secs(600));
    /// assert_eq!(aged, [old.id()]);
    /// ```
    #[must_use]
    pub fn select(&self, wanted: impl FnMut(&ConnSnapshot) -> bool) -> Vec<ConnId> {
        snapshot::select(self.0.registry(), wanted)
    }

    /// The connections in `state`; each is seen as in [`snapshot`](Self::snapshot).
    #[must_use]
    pub fn by_state(&self, state: ConnState) -> Vec<ConnSnapshot> {
        snapshot::all(self.0.registry(), |hot, _| hot.state() == state)
    }

    /// The connection `id`, if it is still open.
    #[must_use]
    pub fn find(&self, id: ConnId) -> Option<ConnSnapshot> {
        snapshot::find(self.0.registry(), id)
    }

    // === the end ===

    /// Ends the connection `id` now, on an operator's behalf: [`close_with`](Self::close_with)
    /// reason [`Admin`](CloseReason::Admin).
    ///
    /// # Errors
    ///
    /// As [`close_with`](Self::close_with).
    pub fn close(&self, id: ConnId) -> Result<(), CloseError> {
        self.close_with(id, CloseReason::Admin)
    }

    /// Asks the connection `id` to end now, by its closer, and records the reason.
    ///
    /// The connection is listed until its last guard is dropped. The tracker has no way of its own
    /// to end anything.
    ///
    /// # Errors
    ///
    /// [`CloseError`]; nothing is recorded then.
    ///
    /// # Examples
    ///
    /// ```
    /// use conn_tracker::{CloseReason, ConnInfo, ConnTracker, Peer};
    /// use std::sync::mpsc;
    /// let tracker = ConnTracker::new();
    /// let (cut, cuts) = mpsc::channel();
    /// let info = ConnInfo::new(Peer::Unix).with_closer(move || drop(cut.send("cut")));
    /// let guard = tracker.group("ingress", 1).open(info);
    /// tracker.close(guard.id())?;
    /// assert_eq!(cuts.try_recv(), Ok("cut"));
    /// drop(guard); // its task has ended
    /// assert_eq!(tracker.closed(CloseReason::Admin), 1);
    /// # Ok::<(), conn_tracker::CloseError>(())
    /// ```
    pub fn close_with(&self, id: ConnId, reason: CloseReason) -> Result<(), CloseError> {
        self.ask(id, ConnRequest::Close, Some(reason))
    }

    /// Asks the connection `id` to leave when it can, by its
    /// [control](crate::ConnInfo::with_control).
    ///
    /// Nothing is recorded: its task says by [`set_state`](crate::ConnGuard::set_state) that it
    /// drains. To ask many, at a pace, see `PartialDrain` of drain-tree.
    ///
    /// # Errors
    ///
    /// [`CloseError`]; it has not been asked then.
    pub fn drain(&self, id: ConnId) -> Result<(), CloseError> {
        self.ask(id, ConnRequest::Drain, None)
    }

    fn ask(
        &self,
        id: ConnId,
        request: ConnRequest,
        reason: Option<CloseReason>,
    ) -> Result<(), CloseError> {
        let shard = self.0.registry().shard(id.shard());
        ask(
            shard.ok_or(CloseError::NotFound { id })?,
            id,
            request,
            reason,
        )
    }

    /// Resolves when the last connection that completion waits for has ended; see [`WaitEmpty`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// # use conn_tracker::{ConnTracker, Peer};
    /// let tracker = ConnTracker::new();
    /// let guard = tracker.group("ingress", 1).open(Peer::Unix);
    /// tokio::join!(tracker.wait_empty(), async move { drop(guard) });
    /// # }
    /// ```
    pub fn wait_empty(&self) -> WaitEmpty {
        WaitEmpty::all(self.0.clone(), 0)
    }

    /// Resolves when completion waits for no more than `connections` of them: for a process that
    /// then closes the last few. Otherwise as [`wait_empty`](Self::wait_empty), which is
    /// `wait_at_most(0)`.
    ///
    /// A connection that ends when its shard has that few reads the counters of all shards, so a
    /// low number is cheap.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// # use conn_tracker::{ConnTracker, Peer};
    /// let tracker = ConnTracker::new();
    /// let ingress = tracker.group("ingress", 1);
    /// let (stays, leaves) = (ingress.open(Peer::Unix), ingress.open(Peer::Unix));
    /// tokio::join!(tracker.wait_at_most(1), async move { drop(leaves) });
    /// # drop(stays);
    /// # }
    /// ```
    pub fn wait_at_most(&self, connections: u64) -> WaitEmpty {
        WaitEmpty::all(self.0.clone(), connections)
    }
}

/// A connection could not be asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// It has already ended, or never was.
    #[error("no connection {id}")]
    NotFound {
        /// The id that was asked for.
        id: ConnId,
    },
    /// It can be ended, but not be asked to leave.
    #[error("connection {id} was registered without a way to ask it to leave")]
    CannotDrain {
        /// The id that was asked for.
        id: ConnId,
    },
    /// It has no closer.
    #[error("connection {id} was registered without a closer")]
    NoCloser {
        /// The id that was asked for.
        id: ConnId,
    },
}

/// How a tracker is made.
#[derive(Debug, Clone)]
#[must_use]
pub struct TrackerOptions {
    shards: usize,
    excluded: LabelSet,
}

impl Default for TrackerOptions {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            shards: threads,
            excluded: LabelSet::of([ConnLabel::Admin, ConnLabel::Metrics]),
        }
    }
}

impl TrackerOptions {
    /// How many shards there are; rounded up to a power of two, at most 64. Default: one for each
    /// thread that the process can run at a time. A shard is built when a thread first opens a
    /// connection in it; it takes 12 kilobytes.
    pub fn with_shards(self, shards: usize) -> Self {
        Self { shards, ..self }
    }

    /// The labels of connections that completion does not wait for. Default:
    /// [`Admin`](ConnLabel::Admin) and [`Metrics`](ConnLabel::Metrics).
    /// [`Traffic`](ConnLabel::Traffic) cannot be excluded.
    pub fn with_excluded(self, labels: impl IntoIterator<Item = ConnLabel>) -> Self {
        Self {
            excluded: LabelSet::of(labels),
            ..self
        }
    }
}
