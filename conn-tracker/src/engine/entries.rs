//! The entries of one shard: in blocks of fixed size, so that growing copies nothing, with a free
//! list through the unused ones.
//!
//! An entry has two halves. The hot half is atomic and shared with its guards, which refer to the
//! block; the cold half is plain data under the shard's lock. A block is allocated once and never
//! freed, so that a guard needs no reference count: memory follows the highest number of
//! connections that were open at a time.

use super::{registry::Registry, shard::Shard};
use crate::{
    id::MAX_ENTRIES,
    info::{Closer, PackedPeer},
    kind::KindWord,
    labels::{CloseReason, ConnLabel, ConnProtocol},
    state::ConnState,
};
use drain_sync::AtomicU32;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// Entries in a block.
pub(crate) const BLOCK: usize = if cfg!(loom) { 4 } else { 128 };
/// Entries that a list copies under one pass through the lock: few, so that a thread that finds the
/// lock taken spins and does not park.
pub(crate) const PORTION: usize = if cfg!(loom) { 2 } else { 16 };
/// "No entry", "no group".
pub(crate) const NONE: u32 = u32::MAX;
const NO_REASON: u8 = u8::MAX;

/// Whether a thread calls the closer, which is not in the cold half meanwhile, and with which
/// request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Out {
    In,
    Drain,
    /// Called with a drain; a close has come meanwhile, and is next.
    DrainThenClose,
    Close,
}

/// The half of an entry that its guards reach without a lock: 24 bytes.
///
/// Relaxed throughout, but for the reference count: each value stands for itself, and no other
/// memory is read by it. What has to agree with the counters is written under the shard's lock,
/// which orders it for every reader that takes that lock; a reader that does not may see a value
/// that is older.
#[derive(Debug)]
pub(crate) struct Hot {
    /// Written under the shard's lock (the counts must agree), read without it.
    state: AtomicU8,
    protocol: AtomicU8,
    label: AtomicU8,
    reason: AtomicU8,
    pub(crate) kind: KindWord,
    last_activity: AtomicU64,
    /// The guards' reference count; see `Drop for ConnGuard`.
    pub(crate) refs: AtomicU32,
    /// Only under the shard's lock.
    out: AtomicU8,
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
            refs: AtomicU32::new(0),
            out: AtomicU8::new(Out::In as u8),
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
        self.set_out(Out::In);
        // Relaxed: the first guard is given to its owner after this store, by the same thread.
        self.refs.store(1, Relaxed);
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
        // A load is cheap where a store would take the cache line; between two ticks nothing is
        // written.
        if self.last_activity.load(Relaxed) != now {
            self.last_activity.store(now, Relaxed);
        }
    }

    pub(crate) fn out(&self) -> Out {
        match self.out.load(Relaxed) {
            0 => Out::In,
            1 => Out::Drain,
            2 => Out::DrainThenClose,
            _ => Out::Close,
        }
    }

    pub(crate) fn set_out(&self, out: Out) {
        self.out.store(out as u8, Relaxed);
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

/// The hot halves of the entries of one block. A guard refers to its block, and the block to its
/// shard and the registry.
pub(crate) struct HotBlock {
    pub(crate) registry: &'static Registry,
    pub(crate) shard: &'static Shard,
    hot: [Hot; BLOCK],
}

impl HotBlock {
    fn new(registry: &'static Registry, shard: &'static Shard) -> Self {
        Self {
            registry,
            shard,
            hot: std::array::from_fn(|_| Hot::new()),
        }
    }

    #[inline]
    pub(crate) fn hot(&self, entry: u32) -> &Hot {
        &self.hot[entry as usize % BLOCK]
    }
}

/// Both halves of the entries of one block.
struct Block {
    hot: &'static HotBlock,
    cold: Box<[Cold; BLOCK]>,
}

/// One shard's entries, numbered.
pub(crate) struct Entries {
    blocks: Vec<Block>,
    first_free: u32,
    next_generation: u32,
}

impl Entries {
    pub(crate) const fn new() -> Self {
        Self {
            blocks: Vec::new(),
            first_free: NONE,
            next_generation: 1,
        }
    }

    /// Takes a free entry; allocates a block when there is none.
    ///
    /// # Panics
    ///
    /// When the shard is full at 67 million connections.
    #[inline]
    pub(crate) fn take(
        &mut self,
        registry: &'static Registry,
        shard: &'static Shard,
    ) -> (u32, &'static HotBlock, &mut Cold) {
        if self.first_free == NONE {
            self.grow(registry, shard);
        }
        let entry = self.first_free;
        let Block { hot, cold } = &mut self.blocks[entry as usize / BLOCK];
        let cold = &mut cold[entry as usize % BLOCK];
        self.first_free = cold.next_free;
        cold.generation = self.next_generation;
        self.next_generation = self.next_generation.wrapping_add(1);
        (entry, hot, cold)
    }

    #[cold]
    fn grow(&mut self, registry: &'static Registry, shard: &'static Shard) {
        let first = self.blocks.len() * BLOCK;
        assert!(
            first + BLOCK <= MAX_ENTRIES as usize,
            "a shard has room for at most {MAX_ENTRIES} connections"
        );
        let last = first + BLOCK - 1;
        let next_free = |entry: usize| {
            if entry == last {
                NONE
            } else {
                entry as u32 + 1
            }
        };
        let cold = std::array::from_fn(|nth| Cold::free(next_free(first + nth)));
        self.blocks.push(Block {
            hot: Box::leak(Box::new(HotBlock::new(registry, shard))),
            cold: Box::new(cold),
        });
        self.first_free = first as u32;
    }

    /// Frees an entry; the caller drops the closer, with nothing locked.
    #[inline]
    pub(crate) fn free(&mut self, entry: u32) -> Option<Closer> {
        let first_free = self.first_free;
        let cold = self.cold_mut(entry);
        cold.group = NONE;
        cold.chain = NONE;
        cold.next_free = first_free;
        let closer = cold.closer.take();
        self.first_free = entry;
        closer
    }

    #[inline]
    pub(crate) fn cold_mut(&mut self, entry: u32) -> &mut Cold {
        &mut self.blocks[entry as usize / BLOCK].cold[entry as usize % BLOCK]
    }

    /// The entry, if a connection of `generation` is in it.
    pub(crate) fn find(&self, entry: u32, generation: u32) -> Option<(&Hot, &Cold)> {
        let Block { hot, cold } = self.blocks.get(entry as usize / BLOCK)?;
        let cold = &cold[entry as usize % BLOCK];
        (cold.group != NONE && cold.generation == generation).then(|| (hot.hot(entry), cold))
    }

    pub(crate) fn find_mut(
        &mut self,
        entry: u32,
        generation: u32,
    ) -> Option<(&'static Hot, &mut Cold)> {
        let Block { hot, cold } = self.blocks.get_mut(entry as usize / BLOCK)?;
        let cold = &mut cold[entry as usize % BLOCK];
        let hot: &'static HotBlock = hot;
        (cold.group != NONE && cold.generation == generation).then(|| (hot.hot(entry), cold))
    }

    /// The connections among the next [`PORTION`] entries from `first` on, and where the portion
    /// after that begins; `None` past the last block. A portion does not reach past its block.
    pub(crate) fn portion(
        &self,
        first: usize,
    ) -> Option<(impl Iterator<Item = (u32, &Hot, &Cold)>, usize)> {
        let Block { hot, cold } = self.blocks.get(first / BLOCK)?;
        let from = first % BLOCK;
        let to = (from + PORTION).min(BLOCK);
        let entries = (first as u32..).zip(&cold[from..to]);
        let open = entries.filter(|(_, cold)| cold.group != NONE);
        let open = open.map(|(entry, cold)| (entry, hot.hot(entry), cold));
        Some((open, first - from + to))
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
