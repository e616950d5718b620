//! What the handles of one connection share: whether it was notified or forced by itself, and its
//! waits. Invariant 7.

use std::mem;

use drain_sync::{AtomicU32, Ordering, Table};

use super::entries::NO_ENTRY;
use crate::Phase;

/// Where a connection has no record yet; and the end of the list of free ones.
pub(crate) const NO_RECORD: u32 = u32::MAX;

/// The record of a connection that has several handles, or waits, or was notified by itself.
#[derive(Default)]
pub(crate) struct Record {
    /// `SIGNALED`, `FORCED`, and refs from `REF` on: how many handles there are.
    state: AtomicU32,
    /// The first of its waits' entries; of a free record, the next free one. Read and written with
    /// the entries locked only.
    first: AtomicU32,
}

pub(crate) const SIGNALED: u32 = 1;
pub(crate) const FORCED: u32 = 1 << 1;
const REF: u32 = 1 << 2;

impl Record {
    /// How far the connection was brought by itself, whatever the drain.
    ///
    /// Acquire pairs with the Release half in `raise`: a thread that finds the connection forced
    /// sees what was done before it was forced. Without it a driver could abort the connection
    /// before the reason that was recorded for that is visible.
    #[inline]
    pub(crate) fn phase(&self) -> Phase {
        match self.state.load(Ordering::Acquire) & (SIGNALED | FORCED) {
            0 => Phase::Open,
            SIGNALED => Phase::Signaled,
            _ => Phase::Overdue,
        }
    }

    /// Notifies or forces the connection. Whether this call was the first to.
    ///
    /// The caller then wakes the waits, with the entries locked: a wait that parks before that is
    /// found there, one that parks after it finds the bit (invariant 6).
    #[inline]
    pub(crate) fn raise(&self, bit: u32) -> bool {
        // Most callers come after the first: they only read. Acquire, as in `phase`, so that they
        // see as much as if they had been first. The Release half pairs with the Acquire in
        // `phase`; the Acquire half with the Release of the `raise` of the other bit.
        self.state.load(Ordering::Acquire) & bit == 0
            && self.state.fetch_or(bit, Ordering::AcqRel) & bit == 0
    }

    /// One handle more. Relaxed: it is made from another, which keeps the count above zero; nothing
    /// is read by it.
    #[inline]
    pub(crate) fn share(&self) {
        self.state.fetch_add(REF, Ordering::Relaxed);
    }

    /// One handle less. Whether it was the last.
    ///
    /// AcqRel pairs with itself in the other handles: the last one frees the record after all that
    /// they did with it. Without it the record could be claimed for another connection, and then be
    /// raised by the late write of a handle that has gone.
    #[inline]
    pub(crate) fn unshare(&self) -> bool {
        self.state.fetch_sub(REF, Ordering::AcqRel) / REF == 1
    }

    /// Whether it has no handle. Relaxed: only with the entries locked, where a record with a wait
    /// has a handle until that lock is released, and a free one is claimed under that lock.
    pub(crate) fn is_free(&self) -> bool {
        self.state.load(Ordering::Relaxed) < REF
    }

    /// Relaxed, here and in `set_first`: the lock on the entries orders all reads and writes.
    pub(crate) fn first(&self) -> u32 {
        self.first.load(Ordering::Relaxed)
    }

    pub(crate) fn set_first(&self, entry: u32) {
        self.first.store(entry, Ordering::Relaxed);
    }
}

/// Which records of a shard are free: under its lock. One is used again as soon as its connection
/// has gone; the memory goes with the shard.
pub(crate) struct FreeRecords {
    first: u32,
    /// How many records there are, free ones too: their numbers are below this.
    pub(crate) made: u32,
}

impl Default for FreeRecords {
    fn default() -> Self {
        Self {
            first: NO_RECORD,
            made: 0,
        }
    }
}

impl FreeRecords {
    /// A record for a connection with one handle, and its number.
    ///
    /// # Panics
    ///
    /// If 2^28 connections of the shard have one.
    pub(crate) fn claim<'r>(&mut self, records: &'r Table<Record>) -> (u32, &'r Record) {
        let (number, record) = match records.get(self.first) {
            Some(record) => (mem::replace(&mut self.first, record.first()), record),
            None => {
                let record = records.get_or_make(self.made, Record::default);
                self.made += 1;
                (self.made - 1, record.expect("fewer than 2^28 connections"))
            }
        };
        record.set_first(NO_ENTRY);
        // Relaxed: the Release store of its number in `Connection::record_or_claim` comes after
        // this.
        record.state.store(REF, Ordering::Relaxed);
        (number, record)
    }

    /// The last handle has gone, and so have all waits.
    pub(crate) fn free(&mut self, records: &Table<Record>, number: u32) {
        if let Some(record) = records.get(number) {
            record.set_first(mem::replace(&mut self.first, number));
        }
    }
}
