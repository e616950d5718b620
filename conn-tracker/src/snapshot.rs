//! A list of who is here, taken without stopping the world.

use crate::{
    id::ConnId,
    info::Peer,
    kind::ConnKind,
    labels::{CloseReason, ConnLabel, ConnProtocol},
    registry::Registry,
    shard::Books,
    slab::{Cold, Hot, PAGE},
    state::ConnState,
};
use std::{sync::Arc, time::Duration};

/// One connection as it was when the snapshot passed by.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnSnapshot {
    /// Its name.
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
    /// Whose it is.
    pub label: ConnLabel,
    /// Who is on the other end. For an operator's eyes: keep it out of metrics.
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

    pub(crate) fn of(books: &Books, id: ConnId, hot: &Hot, cold: &Cold) -> Option<Self> {
        // A connection's group outlives it (`Registry::remove_if_gone`), so this finds it.
        let group = &books.ledger(cold.group)?.key;
        Some(Self {
            id,
            listener: Arc::clone(&group.listener),
            version: group.version,
            chain: books.ledger(cold.chain).and_then(|chain| chain.key.chain.clone()),
            state: hot.state(),
            kind: hot.kind.load(),
            protocol: hot.protocol(),
            label: hot.label(),
            peer: cold.peer.unpack(),
            established: Duration::from_millis(cold.established),
            last_activity: Duration::from_millis(hot.last_activity()),
            close_reason: hot.reason(),
        })
    }
}

/// Lists the connections that `wanted` picks. One page of one shard at a time is locked, and nothing is allocated
/// meanwhile: a few microseconds, however many connections there are.
pub(crate) fn walk(registry: &Registry, wanted: impl Fn(&Hot, &Cold) -> bool) -> Vec<ConnSnapshot> {
    let mut list = Vec::new();
    for (index, shard) in registry.shards.iter().enumerate() {
        for page in 0.. {
            list.reserve(PAGE);
            let books = shard.lock();
            let Some(entries) = books.slab.page(page) else {
                break;
            };
            for (slot, hot, cold) in entries.filter(|(_, hot, cold)| wanted(hot, cold)) {
                let id = ConnId::new(index, slot, cold.generation);
                list.extend(ConnSnapshot::of(&books, id, hot, cold));
            }
        }
    }
    list
}
