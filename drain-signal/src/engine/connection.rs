//! One handle's part in the engine: its shard, its slot, its record; how its waits park and are
//! woken.

use std::mem;
use std::sync::Arc;
use std::task::Waker;

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

    /// The word, if it speaks of a drain that concerns the connection.
    #[inline]
    pub(crate) fn word(&self) -> Option<Word> {
        let word = self.shard.state.word();
        (!word.is_idle() && self.is_concerned(word)).then_some(word)
    }

    /// Out of line: while nothing drains, a question is the load of the word and nothing else.
    #[cold]
    fn is_concerned(&self, word: Word) -> bool {
        word.concerns(self.slot.drained_by())
    }

    /// How far the connection has come: as far as the drain or [`raise`](Self::raise) has brought
    /// it.
    #[inline]
    pub(crate) fn phase(&self) -> Phase {
        let state = &self.shard.state;
        let brought = self.slot.phase(state.word(), || state.clock());
        brought.max(self.own_phase())
    }

    /// How far the connection was brought by itself, whatever the drain.
    #[inline]
    pub(crate) fn own_phase(&self) -> Phase {
        self.record().map_or(Phase::Open, Record::phase)
    }

    /// Adds a handle of every connection of `shard` that waits.
    ///
    /// In portions, so that the shard is not locked for long. A record with a wait has a handle,
    /// which is there as long as the entries are locked: the one made here is never the first
    /// (invariant 7).
    pub(crate) fn waiting_in(shard: &Arc<Shard>, found: &mut Vec<Self>) {
        let (mut number, mut made) = (0, 1);
        while number < made {
            found.reserve(PORTION as usize);
            let mut entries = shard.lock();
            made = entries.free_records.made;
            for number in number..made.min(number + PORTION) {
                let record = shard.records.get(number);
                let Some(record) = record.filter(|record| !record.is_free()) else {
                    continue;
                };
                if let Some(slot) = entries.slot(record) {
                    record.share();
                    found.push(Self {
                        shard: Arc::clone(shard),
                        slot: slot.tagged(Phase::Open),
                        record: AtomicU32::new(number),
                    });
                }
            }
            number += PORTION;
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

    /// Parks a wait until the connection passes `after`, unless it has. Whether it is parked.
    pub(crate) fn park(&self, parked: &mut Parked, waker: &Waker, after: Phase) -> bool {
        let state = &self.shard.state;
        // Both wakers outlive the lock: what is declared later is dropped first.
        let (waker, mut replaced) = (waker.clone(), None);
        let mut entries = self.shard.lock();
        // Invariant 6: the look after the lock.
        if self.phase() > after {
            return false;
        }
        let slot = self.slot.tagged(after);
        let (data, is_known) = (waker.data().addr(), self.shard.knows(&waker));
        let mut entry = parked.entry;
        if entry == NO_ENTRY {
            let record = self.record_or_claim(&mut entries);
            entry = entries.insert(slot, waker, record);
        } else {
            replaced = entries.replace(entry, slot, waker);
        }
        *parked = Parked {
            data,
            entry,
            after,
            is_known,
        };
        let key = self.slot.key(state.word(), state.clock());
        let is_earliest = key.is_some_and(|key| entries.walk.see(key));
        drop(entries);
        drop(replaced);
        if is_earliest {
            // The pacer of the drain is to come later than this slot.
            state.waiters.wake_all();
        }
        true
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
            // Invariant 4.
            self.shard.state.waiters.wake_all();
        }
    }

    #[inline(never)]
    fn release(&self, number: u32) {
        let records = &self.shard.records;
        if records.get(number).is_some_and(Record::unshare) {
            self.shard.lock().free_records.free(records, number);
        }
    }
}

/// Another handle of the same connection.
impl Clone for Connection {
    fn clone(&self) -> Self {
        self.shared_record().share();
        Self {
            shard: Arc::clone(&self.shard),
            slot: self.slot,
            // Relaxed: `shared_record` has loaded the number with Acquire, and it never changes
            // after that.
            record: AtomicU32::new(self.record.load(Ordering::Relaxed)),
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
