//! What was said to one connection alone, "start now" or "be gone now", shared by its handles once there are several.

use crate::sync::{AtomicU8, AtomicU32, Mutex, Ordering, lock};

const TOLD: u8 = 1;
const FORCED: u8 = 2;

/// Used again and again: the last handle of a connection gives it back to its shard.
#[derive(Debug)]
pub(crate) struct Conn {
    bits: AtomicU8,
    handles: AtomicU32,
    /// The slab entries in which handles of this connection wait. Written with the shard locked, so that an entry is in
    /// here as long as it is parked. An entry whose turn has come stays until its handle parks again: to wake whoever has
    /// it by then does no harm.
    waits: Mutex<Vec<u32>>,
}

impl Conn {
    pub(crate) fn new() -> Self {
        Self {
            bits: AtomicU8::new(0),
            handles: AtomicU32::new(1),
            waits: Mutex::new(vec![]),
        }
    }

    pub(crate) fn told(&self) -> bool {
        self.bits.load(Ordering::Acquire) != 0
    }

    pub(crate) fn forced(&self) -> bool {
        self.bits.load(Ordering::Acquire) & FORCED != 0
    }

    /// Whether this call was the one that told it.
    pub(crate) fn tell(&self) -> bool {
        self.raise(TOLD)
    }

    /// Whether this call was the one that forced it.
    pub(crate) fn force(&self) -> bool {
        self.raise(FORCED)
    }

    fn raise(&self, bit: u8) -> bool {
        // Most callers come after the first: they only read.
        self.bits.load(Ordering::Acquire) & bit == 0 && self.bits.fetch_or(bit, Ordering::AcqRel) & bit == 0
    }

    pub(crate) fn waits(&self) -> Vec<u32> {
        lock(&self.waits).clone()
    }

    /// One of its handles waits in `new` instead of `old`.
    pub(crate) fn moved(&self, old: u32, new: u32) {
        let mut waits = lock(&self.waits);
        match waits.iter_mut().find(|wait| **wait == old) {
            Some(wait) => *wait = new,
            None => waits.push(new),
        }
    }

    pub(crate) fn gone(&self, old: u32) {
        lock(&self.waits).retain(|&wait| wait != old);
    }

    pub(crate) fn share(&self) {
        self.handles.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether this was the last handle.
    pub(crate) fn unshare(&self) -> bool {
        self.handles.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// As new, for the next connection.
    pub(crate) fn reset(&self) {
        self.bits.store(0, Ordering::Relaxed);
        self.handles.store(1, Ordering::Relaxed);
        lock(&self.waits).clear();
    }
}
