//! Lists of connections, taken a few entries at a time.

use crate::{
    engine::{
        Cold, Group, Hot, Registry,
        entries::{NONE, PORTION},
        shard::{Shard, ShardState},
    },
    id::ConnId,
    info::{PackedPeer, Peer},
    kind::ConnKind,
    labels::{CloseReason, ConnLabel, ConnProtocol},
    state::ConnState,
};
use std::{sync::Arc, time::Duration};

/// One connection, as it was when its entry was read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnSnapshot {
    /// Its id.
    pub id: ConnId,
    /// The listener that accepted it.
    pub listener: Arc<str>,
    /// That listener's version.
    pub version: u64,
    /// The filter chain that serves it, once known.
    pub chain: Option<Arc<str>>,
    /// How far it is on its way out.
    pub state: ConnState,
    /// What it is doing.
    pub kind: ConnKind,
    /// What it speaks.
    pub protocol: ConnProtocol,
    /// Whose connection it is.
    pub label: ConnLabel,
    /// The address of the other end. For operators only: keep it out of metrics.
    pub peer: Peer,
    /// When it was opened, since the tracker was made.
    pub established: Duration,
    /// When its last activity was, since the tracker was made.
    pub last_activity: Duration,
    /// Why it was asked to end, if it was; it may still be open.
    pub close_reason: Option<CloseReason>,
}

impl ConnSnapshot {
    /// How long it has been open at `now` ([`ConnTracker::now`](crate::ConnTracker::now)).
    #[must_use]
    pub fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.established)
    }

    /// How long it has been quiet at `now` ([`ConnTracker::now`](crate::ConnTracker::now)).
    #[must_use]
    pub fn quiet(&self, now: Duration) -> Duration {
        now.saturating_sub(self.last_activity)
    }
}

/// One page of a list: see [`ConnTracker::snapshot_page`](crate::ConnTracker::snapshot_page).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotPage {
    /// The connections of this page.
    pub connections: Vec<ConnSnapshot>,
    /// What to ask the next page with; `None` after the last page.
    pub next: Option<ConnId>,
}

/// What is copied of one entry while its shard is locked; its names are looked up afterwards.
struct Copied {
    id: ConnId,
    group: u32,
    chain: u32,
    state: ConnState,
    kind: ConnKind,
    protocol: ConnProtocol,
    label: ConnLabel,
    peer: PackedPeer,
    established: u64,
    last_activity: u64,
    close_reason: Option<CloseReason>,
}

impl Copied {
    fn of(id: ConnId, hot: &Hot, cold: &Cold) -> Self {
        Self {
            id,
            group: cold.group,
            chain: cold.chain,
            state: hot.state(),
            kind: hot.kind.load(),
            protocol: hot.protocol(),
            label: hot.label(),
            peer: cold.peer,
            established: cold.established,
            last_activity: hot.last_activity(),
            close_reason: hot.reason(),
        }
    }

    fn named(self, names: &Names) -> Option<ConnSnapshot> {
        // A connection's group outlives it (invariant 7), so it was there to be noted.
        let group = &names.get(self.group)?.key;
        Some(ConnSnapshot {
            id: self.id,
            listener: Arc::clone(&group.listener),
            version: group.version,
            chain: names
                .get(self.chain)
                .and_then(|chain| chain.key.chain.clone()),
            state: self.state,
            kind: self.kind,
            protocol: self.protocol,
            label: self.label,
            peer: self.peer.unpack(),
            established: Duration::from_millis(self.established),
            last_activity: Duration::from_millis(self.last_activity),
            close_reason: self.close_reason,
        })
    }
}

/// The groups of the connections that were copied under one pass through the lock. Indices are
/// given to other groups later (invariant 7), so the groups are noted under the same lock.
#[derive(Default)]
struct Names(Vec<Arc<Group>>);

impl Names {
    fn note(&mut self, state: &ShardState, index: u32) {
        if index != NONE && self.get(index).is_none() {
            let part = state.parts.get(index);
            self.0.extend(part.map(|part| Arc::clone(&part.group)));
        }
    }

    fn get(&self, index: u32) -> Option<&Arc<Group>> {
        self.0.iter().find(|group| group.index == index)
    }
}

/// The connection `id`, if it is open.
pub(crate) fn find(registry: &Registry, id: ConnId) -> Option<ConnSnapshot> {
    let state = registry.shard(id.shard())?.lock();
    let (hot, cold) = state.entries.find(id.entry(), id.generation())?;
    let copied = Copied::of(id, hot, cold);
    let mut names = Names::default();
    names.note(&state, copied.group);
    names.note(&state, copied.chain);
    drop(state);
    copied.named(&names)
}

/// The connections that `wanted` picks.
pub(crate) fn all(registry: &Registry, wanted: impl Fn(&Hot, &Cold) -> bool) -> Vec<ConnSnapshot> {
    let (mut list, mut walk) = (Vec::new(), Walk::new(registry, None));
    while walk.step(&wanted, &mut list) {}
    list
}

/// The ids of the connections that `wanted` picks. It is called with nothing locked.
pub(crate) fn select(
    registry: &Registry,
    mut wanted: impl FnMut(&ConnSnapshot) -> bool,
) -> Vec<ConnId> {
    let (mut selected, mut portion) = (Vec::new(), Vec::with_capacity(PORTION));
    let mut walk = Walk::new(registry, None);
    while walk.step(&|_, _| true, &mut portion) {
        let wanted = portion.drain(..).filter(|conn| wanted(conn));
        selected.extend(wanted.map(|conn| conn.id));
    }
    selected
}

/// At most `limit` connections behind `after`.
pub(crate) fn page(registry: &Registry, after: Option<ConnId>, limit: usize) -> SnapshotPage {
    let limit = limit.max(1);
    let (mut connections, mut walk) = (Vec::new(), Walk::new(registry, after));
    let mut is_more = true;
    while is_more && connections.len() < limit {
        is_more = walk.step(&|_, _| true, &mut connections);
    }
    // The last portion may have been more than fits; the next page reads the rest again.
    let is_more = is_more || connections.len() > limit;
    connections.truncate(limit);
    let last = connections.last().map(|conn| conn.id);
    SnapshotPage {
        connections,
        next: last.filter(|_| is_more),
    }
}

/// How far a list has come. A shard is locked while [`PORTION`] entries are copied, and open to
/// others in between, however many connections there are.
struct Walk<'a> {
    registry: &'a Registry,
    shard: usize,
    /// The first entry of the next portion.
    entry: usize,
    copied: Vec<Copied>,
    names: Names,
}

impl<'a> Walk<'a> {
    /// From the entry behind `after` on.
    fn new(registry: &'a Registry, after: Option<ConnId>) -> Self {
        Self {
            registry,
            shard: after.map_or(0, ConnId::shard),
            entry: after.map_or(0, |after| after.entry() as usize + 1),
            copied: Vec::with_capacity(PORTION),
            names: Names::default(),
        }
    }

    /// Adds those of the next portion that are wanted. Whether there may be more.
    fn step(
        &mut self,
        wanted: &impl Fn(&Hot, &Cold) -> bool,
        list: &mut Vec<ConnSnapshot>,
    ) -> bool {
        if self.shard >= self.registry.shard_count() {
            return false;
        }
        let is_inside = self
            .registry
            .shard(self.shard)
            .is_some_and(|shard| self.copy(shard, wanted));
        if is_inside {
            let names = &self.names;
            list.extend(
                self.copied
                    .drain(..)
                    .filter_map(|copied| copied.named(names)),
            );
        } else {
            (self.shard, self.entry) = (self.shard + 1, 0);
        }
        true
    }

    /// Copies the next portion of `shard`. `false` if it has no such entries.
    fn copy(&mut self, shard: &Shard, wanted: &impl Fn(&Hot, &Cold) -> bool) -> bool {
        self.names.0.clear();
        let state = shard.lock();
        let Some((portion, next)) = state.entries.portion(self.entry) else {
            return false;
        };
        for (entry, hot, cold) in portion.filter(|(_, hot, cold)| wanted(hot, cold)) {
            self.names.note(&state, cold.group);
            self.names.note(&state, cold.chain);
            let id = ConnId::new(self.shard, entry, cold.generation);
            self.copied.push(Copied::of(id, hot, cold));
        }
        self.entry = next;
        true
    }
}
