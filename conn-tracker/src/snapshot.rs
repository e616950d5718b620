//! A list of who is here, taken without stopping the world.

use crate::{
    books::Books,
    id::ConnId,
    info::{PackedPeer, Peer},
    kind::ConnKind,
    labels::{CloseReason, ConnLabel, ConnProtocol},
    ledger::Ledger,
    registry::Registry,
    slab::{Cold, Hot, NONE, PART},
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
}

/// What is copied of one entry while its shard is locked; its names are looked up in what was noted with it.
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
        // A connection's group outlives it (`Registry::remove_if_gone`), so it was there to be noted.
        let group = &names.get(self.group)?.key;
        Some(ConnSnapshot {
            id: self.id,
            listener: Arc::clone(&group.listener),
            version: group.version,
            chain: names.get(self.chain).and_then(|chain| chain.key.chain.clone()),
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

/// The ledgers of the connections in one part of a page. Their numbers are used again, so they are noted under the same lock.
#[derive(Default)]
struct Names(Vec<Arc<Ledger>>);

impl Names {
    fn note(&mut self, books: &Books, index: u32) {
        if self.get(index).is_none() {
            self.0.extend(books.ledger(index).cloned());
        }
    }

    fn get(&self, index: u32) -> Option<&Arc<Ledger>> {
        self.0.iter().find(|ledger| ledger.index == index)
    }
}

/// The connection `id`, if it is open.
pub(crate) fn find(registry: &Registry, id: ConnId) -> Option<ConnSnapshot> {
    let books = registry.shards.get(id.shard())?.lock();
    let (hot, cold) = books.slab.find(id.slot(), id.generation())?;
    let copied = Copied::of(id, hot, cold);
    let mut names = Names::default();
    names.note(&books, copied.group);
    names.note(&books, copied.chain);
    drop(books);
    copied.named(&names)
}

/// Lists the connections that `wanted` picks. A shard is locked while a few of its entries are copied, and open to others
/// between, however many connections there are.
pub(crate) fn walk(registry: &Registry, wanted: impl Fn(&Hot, &Cold) -> bool) -> Vec<ConnSnapshot> {
    let mut list = Vec::new();
    let mut copied = Vec::with_capacity(PART);
    let mut names = Names::default();
    for (index, shard) in registry.shards.iter().enumerate() {
        for part in 0.. {
            names.0.clear();
            let books = shard.lock();
            let Some(entries) = books.slab.part(part) else {
                break;
            };
            for (slot, hot, cold) in entries.filter(|(_, hot, cold)| wanted(hot, cold)) {
                names.note(&books, cold.group);
                if cold.chain != NONE {
                    names.note(&books, cold.chain);
                }
                copied.push(Copied::of(ConnId::new(index, slot, cold.generation), hot, cold));
            }
            drop(books);
            list.extend(copied.drain(..).filter_map(|entry| entry.named(&names)));
        }
    }
    list
}
