//! One handle's part in the engine: its shard, its slot, its record; how its waits park and are
//! woken.

use std::mem;
use std::sync::Arc;
use std::task::{Poll, Waker};

use drain_sync::{AtomicU32, Ordering, wake_each};

use super::entries::{Entries, NO_ENTRY};
use super::records::{NO_RECORD, Record};
use super::shard::{Parked, Shard};
use super::slot::Slot;
use super::word::Word;
use crate::Phase;

/// How many records one pass through the shard's lock looks at.
const PORTION: u32 = 64;

/// What every handle of a connection has, in 16 bytes.
pub(crate) struct Connection {
    pub(crate) shard: Arc<Shard>,
    pub(crate) slot: Slot,
    /// Set once, with the entries locked.
    record: AtomicU32,
}

impl Connection {
    #[inline]
    pub(crate) fn new(shard: Arc<Shard>, slot: Slot) -> Self {
        Self {
            shard,
            slot,
            record: AtomicU32::new(NO_RECORD),
        }
    }

    #[inline]
    fn record(&self) -> Option<&Record> {
        // Acquire pairs with the Release in `record_or_claim`. Without it a thread that shares this
        // handle could read the number before the record's bits and count of handles are as `claim`
        // has left them, and find an old connection's.
        match self.record.load(Ordering::Acquire) {
            NO_RECORD => None,
            number => self.shard.records.get(number),
        }
    }

    /// The record, claimed if there is none.
    fn record_or_claim(&self, entries: &mut Entries) -> &Record {
        self.record().unwrap_or_else(|| {
            let (number, record) = entries.free_records.claim(&self.shard.records);
            // Release pairs with the Acquire in `record`: the record is claimed before its number
            // is seen.
            self.record.store(number, Ordering::Release);
            record
        })
    }

    fn shared_record(&self) -> &Record {
        self.record()
            .unwrap_or_else(|| self.record_or_claim(&mut self.shard.lock()))
    }

    /// Whether the drain that `word` speaks of concerns the connection. Out of line: while nothing
    /// drains, a question is the load of the word and nothing else.
    #[cold]
    pub(crate) fn is_concerned(&self, word: Word) -> bool {
        word.concerns(self.slot.drained_by())
    }

    /// How far the connection has come: as far as the drain or [`raise`](Self::raise) has brought
    /// it.
    #[inline]
    pub(crate) fn phase(&self) -> Phase {
        let brought = self.shard.phase(self.slot);
        self.record()
            .map_or(brought, |record| brought.max(record.phase()))
    }

    /// How far the connection was brought by itself, whatever the drain.
    #[inline]
    pub(crate) fn own_phase(&self) -> Phase {
        self.record().map_or(Phase::Open, Record::phase)
    }

    /// Another handle of the same connection.
    pub(crate) fn share(&self) -> Self {
        self.shared_record().share();
        Self {
            shard: Arc::clone(&self.shard),
            slot: self.slot,
            // Relaxed: `shared_record` has loaded the number with Acquire, and it never changes
            // after that.
            record: AtomicU32::new(self.record.load(Ordering::Relaxed)),
        }
    }

    /// Adds a handle of every connection of `shard` that waits and has not been notified by itself.
    ///
    /// In portions, so that the shard is not locked for long. A record with a wait has a handle,
    /// which is there as long as the entries are locked: the one made here is never the first
    /// (invariant 7).
    pub(crate) fn waiting_in(shard: &Arc<Shard>, found: &mut Vec<Self>) {
        let mut numbers = 0..PORTION;
        loop {
            found.reserve(PORTION as usize);
            let mut entries = shard.lock();
            let made = entries.free_records.made;
            for number in numbers.start..numbers.end.min(made) {
                let Some(record) = shard.records.get(number).filter(|record| !record.is_free())
                else {
                    continue;
                };
                let slot = entries.slot(record);
                let Some(slot) = slot.filter(|_| record.phase() == Phase::Open) else {
                    continue;
                };
                record.share();
                found.push(Self {
                    shard: Arc::clone(shard),
                    slot: slot.tagged(Phase::Open),
                    record: AtomicU32::new(number),
                });
            }
            drop(entries);
            if numbers.end >= made {
                return;
            }
            numbers = numbers.end..numbers.end + PORTION;
        }
    }

    /// Notifies or forces the connection, whatever the drain. Whether this call was the first to.
    pub(crate) fn raise(&self, bit: u32) -> bool {
        let record = self.shared_record();
        let is_first = record.raise(bit);
        if is_first {
            // Invariant 6: the flag first, then the lock.
            let wakers = self.shard.lock().take_of(record, record.phase());
            wake_each(wakers);
        }
        is_first
    }

    /// Parks a wait until the connection passes `after`, unless it has.
    pub(crate) fn park(&self, parked: &mut Parked, waker: &Waker, after: Phase) -> Poll<Phase> {
        let clone = waker.clone();
        let mut entries = self.shard.lock();
        // Invariant 6: the look after the lock.
        let phase = self.phase();
        if phase > after {
            drop(entries);
            drop(clone);
            return Poll::Ready(phase);
        }
        let slot = self.slot.tagged(after);
        let (data, is_known) = (clone.data().addr(), self.shard.knows(&clone));
        let mut replaced = None;
        if parked.entry == NO_ENTRY {
            let record = self.record_or_claim(&mut entries);
            parked.entry = entries.insert(slot, clone, record);
        } else {
            replaced = entries.replace(parked.entry, slot, clone);
        }
        *parked = Parked {
            data,
            after,
            is_known,
            ..*parked
        };
        let key = self
            .slot
            .key(self.shard.state.word(), self.shard.state.clock());
        let is_earliest = key.is_some_and(|key| entries.is_earliest(key));
        drop(entries);
        drop(replaced);
        if is_earliest {
            // The pacer of the drain is to come later than this slot.
            self.shard.state.waiters.wake_all();
        }
        Poll::Pending
    }

    /// A wait is over, or dropped: its entry goes with it.
    pub(crate) fn unpark(&self, parked: &mut Parked) {
        let entry = mem::replace(parked, Parked::NOWHERE).entry;
        let (false, Some(record)) = (entry == NO_ENTRY, self.record()) else {
            return;
        };
        let waker = self.shard.lock().remove(entry, record);
        drop(waker);
    }

    /// Counts in another watch of this connection.
    pub(crate) fn count_another(&self) {
        self.shard.count(self.slot.drained_by()).open_another();
    }

    /// Counts a watch of this connection out.
    #[inline]
    pub(crate) fn count_out(&self) {
        if self.shard.count(self.slot.drained_by()).leave() {
            self.wake_waiters();
        }
    }

    /// Invariant 4.
    #[cold]
    #[inline(never)]
    fn wake_waiters(&self) {
        self.shard.state.waiters.wake_all();
    }

    #[inline(never)]
    fn release(&self, number: u32) {
        let records = &self.shard.records;
        if records.get(number).is_some_and(Record::unshare) {
            self.shard.lock().free_records.free(records, number);
        }
    }
}

impl Drop for Connection {
    #[inline]
    fn drop(&mut self) {
        // Relaxed: a drop has the handle for itself, so what other threads did with it happened
        // before.
        let number = self.record.load(Ordering::Relaxed);
        if number != NO_RECORD {
            self.release(number);
        }
    }
}
