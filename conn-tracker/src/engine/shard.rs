//! The connections that one thread has opened, with their own lock, counters and cache lines: as a
//! rule no other thread wants that lock.

use super::{
    counters::{Counters, Place, Reasons},
    entries::{Cold, Entries, Hot, HotBlock, NONE},
    groups::{Group, Key},
    parts::{Part, Parts},
    registry::Registry,
};
use crate::{
    group::AttachError,
    id::ConnId,
    info::{Closer, ConnInfo, PackedPeer},
    labels::{CloseReason, ConnLabel, ConnProtocol, LabelSet},
    state::{ConnState, InvalidTransition},
};
use drain_sync::{Mutex, MutexGuard, lock};
use std::sync::Arc;

#[repr(align(128))]
pub(crate) struct Shard {
    state: Mutex<ShardState>,
    registry: &'static Registry,
    index: usize,
    pub(crate) counters: Counters,
    pub(crate) reasons: Reasons,
}

/// What the shard's lock guards, beside its counters.
pub(crate) struct ShardState {
    pub(crate) entries: Entries,
    pub(crate) parts: Parts,
    excluded: LabelSet,
    /// The last handle is gone: nothing is opened any more.
    is_abandoned: bool,
}

/// What is left to do, with nothing locked, when the last guard of a connection is gone.
#[must_use]
pub(crate) struct Ended {
    pub(crate) closer: Option<Closer>,
    pub(crate) low: Option<Low>,
    /// The shard is no longer a holder of the registry.
    pub(crate) is_last_of_shard: bool,
}

/// Which numbers may just have become low enough for a waiter, as seen from one shard.
#[must_use = "a task may wait for it"]
pub(crate) struct Low {
    pub(crate) total: bool,
    pub(crate) groups: [Option<Arc<Group>>; 2],
}

impl Shard {
    pub(crate) fn new(registry: &'static Registry, index: usize, excluded: LabelSet) -> Self {
        Self {
            state: Mutex::new(ShardState {
                entries: Entries::new(),
                parts: Parts::default(),
                excluded,
                is_abandoned: false,
            }),
            registry,
            index,
            counters: Counters::default(),
            reasons: Reasons::default(),
        }
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, ShardState> {
        lock(&self.state)
    }

    /// This shard's counters of the whole tracker, or of one group, read under the lock (invariant
    /// 5).
    pub(crate) fn read(
        &self,
        group: Option<&Arc<Group>>,
        what: impl FnOnce(&Counters) -> u64,
    ) -> u64 {
        let state = self.lock();
        let Some(group) = group else {
            return what(&self.counters);
        };
        let part = state.parts.get(group.index);
        let part = part.filter(|part| Arc::ptr_eq(&part.group, group));
        part.map_or(0, |part| what(&part.counters))
    }

    /// As new, for the next tracker; the blocks stay. Only while nothing refers to the registry.
    pub(crate) fn reset(&self, excluded: LabelSet) {
        let mut state = self.lock();
        state.excluded = excluded;
        state.is_abandoned = false;
        state.parts = Parts::default();
        self.counters.reset();
        self.reasons.reset();
    }

    /// The last handle is gone. Whether no connection is left here; otherwise the end of the last
    /// one reports it.
    pub(crate) fn abandon(&self) -> bool {
        let mut state = self.lock();
        state.is_abandoned = true;
        self.counters.open() == 0
    }

    #[inline]
    pub(crate) fn open(
        &'static self,
        group: &Arc<Group>,
        info: ConnInfo,
        now: u64,
    ) -> (&'static HotBlock, ConnId) {
        let ConnInfo {
            peer,
            protocol,
            label,
            closer,
        } = info;
        let peer = PackedPeer::pack(peer);
        let mut state = self.lock();
        let (entry, block, cold) = state.entries.take(self.registry, self);
        cold.peer = peer;
        cold.closer = closer;
        cold.established = now;
        cold.group = group.index;
        let id = ConnId::new(self.index, entry, cold.generation);
        block.hot(entry).begin(protocol, label, now);
        let place = Place {
            state: ConnState::Active,
            protocol,
            is_awaited: !state.excluded.contains(label),
        };
        self.counters.joined(place);
        state.parts.of(group, self.index).joined(place);
        (block, id)
    }

    /// The last guard is gone.
    #[inline]
    pub(crate) fn end(&self, hot: &Hot, id: ConnId, is_panicking: bool) -> Ended {
        let mut state = self.lock();
        let place = state.place(hot);
        let reason = hot.reason().unwrap_or(match place.state {
            _ if is_panicking => CloseReason::Panicked,
            ConnState::Active => CloseReason::Finished,
            _ => CloseReason::Drained,
        });
        self.reasons.count(reason);
        self.counters.ended(place);
        let &mut Cold { group, chain, .. } = state.entries.cold_mut(id.entry());
        let mut is_awaited = self.registry.waiters.is_any();
        for index in [group, chain] {
            if let Some(part) = state.parts.get(index) {
                part.counters.ended(place);
                is_awaited |= part.group.waiters.is_any();
            }
        }
        Ended {
            closer: state.entries.free(id.entry()),
            low: is_awaited.then(|| self.low(&state, [group, chain])),
            is_last_of_shard: state.is_abandoned && self.counters.open() == 0,
        }
    }

    /// Which of the numbers that tasks wait for are low here.
    #[cold]
    fn low(&self, state: &ShardState, groups: [u32; 2]) -> Low {
        let low = |index| {
            let part = state.parts.get(index)?;
            let is_low = part.group.waiters.is_low(part.counters.awaited());
            is_low.then(|| Arc::clone(&part.group))
        };
        Low {
            total: self.registry.waiters.is_low(self.counters.awaited()),
            groups: groups.map(low),
        }
    }

    /// # Errors
    ///
    /// When the connection has already gone past `to`.
    pub(crate) fn set_state(
        &self,
        hot: &Hot,
        id: ConnId,
        to: ConnState,
    ) -> Result<(), InvalidTransition> {
        let mut state = self.lock();
        let from = state.place(hot);
        if !from.state.may_become(to) {
            return Err(InvalidTransition {
                from: from.state,
                to,
            });
        }
        hot.set_state(to);
        self.recount(&mut state, id, from, Place { state: to, ..from });
        Ok(())
    }

    pub(crate) fn set_protocol(&self, hot: &Hot, id: ConnId, protocol: ConnProtocol) {
        let mut state = self.lock();
        let from = state.place(hot);
        hot.set_protocol(protocol);
        self.recount(&mut state, id, from, Place { protocol, ..from });
    }

    pub(crate) fn set_label(&self, hot: &Hot, id: ConnId, label: ConnLabel) -> Low {
        let mut state = self.lock();
        let from = state.place(hot);
        hot.set_label(label);
        let is_awaited = !state.excluded.contains(label);
        self.recount(&mut state, id, from, Place { is_awaited, ..from });
        let Cold { group, chain, .. } = *state.entries.cold_mut(id.entry());
        self.low(&state, [group, chain])
    }

    pub(crate) fn set_peer(&self, id: ConnId, peer: PackedPeer) {
        self.lock().entries.cold_mut(id.entry()).peer = peer;
    }

    fn recount(&self, state: &mut ShardState, id: ConnId, from: Place, to: Place) {
        self.counters.changed(from, to);
        let &mut Cold { group, chain, .. } = state.entries.cold_mut(id.entry());
        for index in [group, chain] {
            if let Some(part) = state.parts.get(index) {
                part.counters.changed(from, to);
            }
        }
    }

    /// Counts the connection in `chain` and no longer in its old one. Whether that one may be empty
    /// now.
    ///
    /// # Errors
    ///
    /// When the chain is not of the connection's listener version; nothing is changed.
    pub(crate) fn attach_chain(
        &self,
        hot: &Hot,
        id: ConnId,
        chain: &Arc<Group>,
    ) -> Result<Option<Low>, AttachError> {
        let mut state = self.lock();
        let place = state.place(hot);
        let Cold {
            group, chain: old, ..
        } = *state.entries.cold_mut(id.entry());
        if old == chain.index {
            return Ok(None);
        }
        if let Some(Part { group: of, .. }) = state.parts.get(group) {
            if !of.key.is_same_version(&chain.key) {
                return Err(other_version(&of.key, &chain.key));
            }
        }
        state.entries.cold_mut(id.entry()).chain = chain.index;
        state.parts.of(chain, self.index).joined(place);
        let Some(left) = state.parts.get(old) else {
            return Ok(None);
        };
        left.counters.left(place);
        Ok(Some(self.low(&state, [old, NONE])))
    }

    /// Returns the old closer, for the caller to drop with nothing locked.
    ///
    /// A request that the old one is being called with is repeated with this one: see
    /// [`super::lend`].
    pub(crate) fn set_closer(&self, id: ConnId, closer: Closer) -> Option<Closer> {
        let mut state = self.lock();
        state.entries.cold_mut(id.entry()).closer.replace(closer)
    }
}

fn other_version(connection: &Key, chain: &Key) -> AttachError {
    AttachError::OtherVersion {
        listener: Arc::clone(&connection.listener),
        version: connection.version,
        chain_listener: Arc::clone(&chain.listener),
        chain_version: chain.version,
    }
}

impl ShardState {
    #[inline]
    fn place(&self, hot: &Hot) -> Place {
        Place {
            state: hot.state(),
            protocol: hot.protocol(),
            is_awaited: !self.excluded.contains(hot.label()),
        }
    }
}
