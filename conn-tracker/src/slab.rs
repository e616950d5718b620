//! Where the entries live: fixed pages, so that growing moves nothing, and a free list through the unused ones.
//!
//! An entry has two halves. The hot half is atomic and shared with its guards, which refer to the page; the cold half
//! is plain data under the shard's lock. A page is allocated once and never freed, so that a guard needs no count of
//! references: memory follows the highest number of connections that were open at a time.

use crate::{
    id::MAX_SLOTS,
    info::{Closer, PackedPeer},
    kind::KindWord,
    labels::{CloseReason, ConnLabel, ConnProtocol},
    registry::Registry,
    shard::Shard,
    state::ConnState,
    sync::AtomicU32,
};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};

/// Entries in a page.
pub(crate) const PAGE: usize = if cfg!(loom) { 4 } else { 128 };
/// Entries that are copied at once: few, so that whoever finds the lock taken spins and does not park.
pub(crate) const PART: usize = if cfg!(loom) { 2 } else { 16 };
/// "No slot", "no ledger".
pub(crate) const NONE: u32 = u32::MAX;
const NO_REASON: u8 = u8::MAX;

/// The half of an entry that its guards reach without a lock: 24 bytes.
#[derive(Debug)]
pub(crate) struct Hot {
    /// Written under the shard's lock (the counts must agree), read by anyone.
    state: AtomicU8,
    protocol: AtomicU8,
    label: AtomicU8,
    reason: AtomicU8,
    pub(crate) kind: KindWord,
    last_activity: AtomicU64,
    /// How many guards hold this entry open.
    pub(crate) guards: AtomicU32,
    /// Somebody is calling the closer, which is not in the cold half meanwhile. Only under the shard's lock.
    closer_is_out: AtomicBool,
}

impl Hot {
    fn new() -> Self {
        Self {
            state: AtomicU8::new(ConnState::Closed as u8),
            protocol: AtomicU8::new(ConnProtocol::Unknown as u8),
            label: AtomicU8::new(ConnLabel::Traffic as u8),
            reason: AtomicU8::new(NO_REASON),
            kind: KindWord::new(),
            last_activity: AtomicU64::new(0),
            guards: AtomicU32::new(0),
            closer_is_out: AtomicBool::new(false),
        }
    }

    /// Makes the entry a new connection's. Under the shard's lock; the entry has no guard yet.
    #[inline]
    pub(crate) fn begin(&self, protocol: ConnProtocol, label: ConnLabel, now: u64) {
        self.state.store(ConnState::Active as u8, Relaxed);
        self.protocol.store(protocol as u8, Relaxed);
        self.label.store(label as u8, Relaxed);
        self.reason.store(NO_REASON, Relaxed);
        self.kind.store(crate::ConnKind::Handshaking);
        self.last_activity.store(now, Relaxed);
        self.closer_is_out.store(false, Relaxed);
        // Relaxed: the guard that this count is for is handed to its owner after this store, by the same thread.
        self.guards.store(1, Relaxed);
    }

    #[inline]
    pub(crate) fn state(&self) -> ConnState {
        ConnState::from_u8(self.state.load(Relaxed))
    }

    pub(crate) fn set_state(&self, state: ConnState) {
        self.state.store(state as u8, Relaxed);
    }

    #[inline]
    pub(crate) fn protocol(&self) -> ConnProtocol {
        ConnProtocol::from_u8(self.protocol.load(Relaxed))
    }

    pub(crate) fn set_protocol(&self, protocol: ConnProtocol) {
        self.protocol.store(protocol as u8, Relaxed);
    }

    #[inline]
    pub(crate) fn label(&self) -> ConnLabel {
        ConnLabel::from_u8(self.label.load(Relaxed))
    }

    pub(crate) fn set_label(&self, label: ConnLabel) {
        self.label.store(label as u8, Relaxed);
    }

    #[inline]
    pub(crate) fn reason(&self) -> Option<CloseReason> {
        match self.reason.load(Relaxed) {
            NO_REASON => None,
            byte => Some(CloseReason::from_u8(byte)),
        }
    }

    /// The first reason given is kept: what follows is its consequence. Whether this was the first.
    pub(crate) fn give_reason(&self, reason: CloseReason) -> bool {
        self.reason
            .compare_exchange(NO_REASON, reason as u8, Relaxed, Relaxed)
            .is_ok()
    }

    #[inline]
    pub(crate) fn touch(&self, now: u64) {
        // A load is cheap where a store would take the cache line; between two ticks nothing is written.
        if self.last_activity.load(Relaxed) != now {
            self.last_activity.store(now, Relaxed);
        }
    }

    pub(crate) fn closer_is_out(&self) -> bool {
        self.closer_is_out.load(Relaxed)
    }

    pub(crate) fn set_closer_is_out(&self, out: bool) {
        self.closer_is_out.store(out, Relaxed);
    }

    pub(crate) fn last_activity(&self) -> u64 {
        self.last_activity.load(Relaxed)
    }
}

/// The half of an entry under the shard's lock: one cache line.
pub(crate) struct Cold {
    pub(crate) peer: PackedPeer,
    pub(crate) closer: Option<Closer>,
    pub(crate) established: u64,
    pub(crate) generation: u32,
    /// The listener version; [`NONE`] while the entry is free.
    pub(crate) group: u32,
    /// The filter chain, once it is known.
    pub(crate) chain: u32,
    next_free: u32,
}

impl Cold {
    fn free(next_free: u32) -> Self {
        Self {
            peer: PackedPeer::UNKNOWN,
            closer: None,
            established: 0,
            generation: 0,
            group: NONE,
            chain: NONE,
            next_free,
        }
    }
}

/// The hot halves of [`PAGE`] entries. A guard knows its page, and the page its shard and the registry.
pub(crate) struct Page {
    pub(crate) registry: &'static Registry,
    pub(crate) shard: &'static Shard,
    hot: [Hot; PAGE],
}

impl Page {
    fn new(registry: &'static Registry, shard: &'static Shard) -> Self {
        Self {
            registry,
            shard,
            hot: std::array::from_fn(|_| Hot::new()),
        }
    }

    #[inline]
    pub(crate) fn hot(&self, slot: u32) -> &Hot {
        &self.hot[slot as usize % PAGE]
    }
}

/// Both halves of [`PAGE`] entries.
struct Leaf {
    page: &'static Page,
    cold: Box<[Cold; PAGE]>,
}

/// One shard's entries.
pub(crate) struct Slab {
    leaves: Vec<Leaf>,
    first_free: u32,
    next_generation: u32,
}

impl Slab {
    pub(crate) const fn new() -> Self {
        Self {
            leaves: Vec::new(),
            first_free: NONE,
            next_generation: 1,
        }
    }

    /// Takes a free slot; allocates a page when there is none.
    ///
    /// # Panics
    ///
    /// When the shard is full at 67 million connections.
    #[inline]
    pub(crate) fn take(
        &mut self,
        registry: &'static Registry,
        shard: &'static Shard,
    ) -> (u32, &'static Page, &mut Cold) {
        if self.first_free == NONE {
            self.grow(registry, shard);
        }
        let slot = self.first_free;
        let Leaf { page, cold } = &mut self.leaves[slot as usize / PAGE];
        let cold = &mut cold[slot as usize % PAGE];
        self.first_free = cold.next_free;
        cold.generation = self.next_generation;
        self.next_generation = self.next_generation.wrapping_add(1);
        (slot, page, cold)
    }

    #[cold]
    fn grow(&mut self, registry: &'static Registry, shard: &'static Shard) {
        let first = self.leaves.len() * PAGE;
        assert!(
            first + PAGE <= MAX_SLOTS as usize,
            "a shard holds at most {MAX_SLOTS} connections"
        );
        let last = first + PAGE - 1;
        let next_free = |slot: usize| if slot == last { NONE } else { slot as u32 + 1 };
        let cold = std::array::from_fn(|nth| Cold::free(next_free(first + nth)));
        self.leaves.push(Leaf {
            page: Box::leak(Box::new(Page::new(registry, shard))),
            cold: Box::new(cold),
        });
        self.first_free = first as u32;
    }

    /// Puts a slot back; the caller drops the closer, outside the lock.
    #[inline]
    pub(crate) fn give_back(&mut self, slot: u32) -> Option<Closer> {
        let first_free = self.first_free;
        let cold = self.cold_mut(slot);
        cold.group = NONE;
        cold.chain = NONE;
        cold.next_free = first_free;
        let closer = cold.closer.take();
        self.first_free = slot;
        closer
    }

    #[inline]
    pub(crate) fn cold_mut(&mut self, slot: u32) -> &mut Cold {
        &mut self.leaves[slot as usize / PAGE].cold[slot as usize % PAGE]
    }

    /// The entry of `slot`, if a connection of `generation` is in it.
    pub(crate) fn find(&self, slot: u32, generation: u32) -> Option<(&Hot, &Cold)> {
        let Leaf { page, cold } = self.leaves.get(slot as usize / PAGE)?;
        let cold = &cold[slot as usize % PAGE];
        (cold.group != NONE && cold.generation == generation).then(|| (page.hot(slot), cold))
    }

    pub(crate) fn find_mut(&mut self, slot: u32, generation: u32) -> Option<(&'static Hot, &mut Cold)> {
        let Leaf { page, cold } = self.leaves.get_mut(slot as usize / PAGE)?;
        let cold = &mut cold[slot as usize % PAGE];
        let page: &'static Page = page;
        (cold.group != NONE && cold.generation == generation).then(|| (page.hot(slot), cold))
    }

    /// The connections of one part of a page, or `None` past the last page.
    pub(crate) fn part(&self, part: usize) -> Option<impl Iterator<Item = (u32, &Hot, &Cold)>> {
        let first = part * PART;
        let Leaf { page: hot, cold } = self.leaves.get(first / PAGE)?;
        let cold = cold.iter().skip(first % PAGE).take(PART);
        let slots = (first as u32..).zip(cold).filter(|(_, cold)| cold.group != NONE);
        Some(slots.map(|(slot, cold)| (slot, hot.hot(slot), cold)))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_24_hot_bytes_and_one_cold_cache_line() {
        assert_eq!(size_of::<Hot>(), 24);
        assert_eq!(size_of::<Cold>(), 64);
    }
}
