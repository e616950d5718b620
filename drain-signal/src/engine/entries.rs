//! The parked waits of a shard, in pages, walked in place by the drain. Invariants 5 to 7.
//!
//! There is no queue and no heap: whose turn it is follows from the slot beside the waker.

use std::task::Waker;

use super::records::{FreeRecords, Record};
use super::slot::{Clock, Slot, has_come};
use super::word::Word;
use crate::Phase;

const PAGE: usize = 32;
pub(crate) const NO_ENTRY: u32 = u32::MAX;
/// How many tasks one call wakes. A tokio worker's own queue holds 256 and a task that yields comes
/// back after 61 polls; 32 keeps both from spilling over.
pub(super) const BATCH: usize = 32;
/// How many waits one call looks at with the shard locked; a page that is passed over is one.
const LOOK: usize = 128 * PAGE;

/// Slots and wakers apart: a walk that wakes no task reads the slots alone, 16 to a cache line.
#[derive(Default)]
struct Page {
    wakers: [Option<Waker>; PAGE],
    /// Tagged with the phase that the wait waits to pass.
    slots: [Slot; PAGE],
    /// The neighbours in the list of the connection's waits: the one before, the one after.
    links: [(u32, u32); PAGE],
    /// A bit for each entry that a wait owns.
    used: u32,
    /// A bit for each entry whose waker has not been taken.
    waiting: u32,
    /// What the last look at each wait went by: [`Word::beside_threshold`]; zero if a wait has parked
    /// since.
    seen: u64,
    /// No wait is over before this [`Slot::key`] as long as `seen` is true. It may be too low.
    earliest: Option<u64>,
}

impl Page {
    const fn is_full(&self) -> bool {
        self.used == u32::MAX
    }

    /// Parks a wait. The waker that was there.
    fn put(&mut self, at: usize, slot: Slot, waker: Waker) -> Option<Waker> {
        self.seen = 0;
        self.waiting |= 1 << at;
        self.slots[at] = slot;
        self.wakers[at].replace(waker)
    }

    /// Whether no wait is over at `word`, as far as that is known without a look at each.
    fn is_quiet(&self, word: Word, clock: Clock) -> bool {
        self.seen == word.beside_threshold()
            && !self.earliest.is_some_and(|key| has_come(key, word, clock))
    }

    /// Takes the wakers of waits that are over at `word`. `false`: `walked` has no room for all.
    fn take_due(&mut self, word: Word, clock: Clock, walked: &mut Walked) -> bool {
        let (mut waiting, mut earliest) = (self.waiting, None);
        while waiting != 0 {
            let at = waiting.trailing_zeros() as usize;
            waiting &= waiting - 1;
            let slot = self.slots[at];
            if slot.phase(word, || clock) > slot.tag() {
                if !walked.has_room() {
                    return false;
                }
                walked.wakers.extend(self.take(at));
            } else if let Some(key) = slot.key(word, clock) {
                earliest = Some(earliest.map_or(key, |earliest: u64| earliest.min(key)));
            }
        }
        (self.seen, self.earliest) = (word.beside_threshold(), earliest);
        true
    }

    fn take(&mut self, at: usize) -> Option<Waker> {
        self.waiting &= !(1 << at);
        self.wakers[at].take()
    }
}

/// What one shard keeps under its lock.
#[derive(Default)]
pub(crate) struct Entries {
    /// A page without a wait is taken out; its number is used again.
    pages: Vec<Option<Box<Page>>>,
    /// The pages that are not full, and those that are not there.
    room: Vec<u32>,
    /// One page that was taken out is kept, so that a lone wait that comes and goes allocates
    /// nothing; later ones are given back to the system. The first is kept: the last may lie at the
    /// end of the heap, and glibc gives back nothing that lies below memory in use.
    spare: Option<Box<Page>>,
    waiting: u64,
    pub(super) walk: Walk,
    pub(crate) free_records: FreeRecords,
}

/// A walk through all pages, in portions, round and round: when the word changes on the way, it
/// goes on from where it is for another whole round.
#[derive(Default)]
pub(super) struct Walk {
    word: Word,
    at: usize,
    left: usize,
    /// The smallest [`Slot::key`] still to come.
    earliest: Option<u64>,
}

impl Walk {
    /// Whether the slot is to come before all that the walk has seen. Of a wait that parks: then
    /// the pacer of the drain is to look again.
    pub(super) fn see(&mut self, key: u64) -> bool {
        let is_earliest = self.earliest.is_none_or(|earliest| key < earliest);
        if is_earliest {
            self.earliest = Some(key);
        }
        is_earliest
    }
}

/// What portions of the walks through several shards found.
#[derive(Default)]
pub(crate) struct Walked {
    pub(crate) wakers: Vec<Waker>,
    /// As in [`Walk`].
    pub(crate) earliest: Option<u64>,
    pub(crate) waiting: u64,
}

impl Walked {
    pub(crate) fn has_room(&self) -> bool {
        self.wakers.len() < BATCH
    }
}

impl Entries {
    fn page(&mut self, entry: u32) -> Option<(&mut Page, usize)> {
        let (page, at) = (entry as usize / PAGE, entry as usize % PAGE);
        Some((self.pages.get_mut(page)?.as_deref_mut()?, at))
    }

    /// Parks a wait of `record`'s connection. `slot` is tagged with the phase to pass.
    ///
    /// # Panics
    ///
    /// With 2^32 waits of one shard; they would take 120 GB.
    pub(crate) fn insert(&mut self, slot: Slot, waker: Waker, record: &Record) -> u32 {
        let Some(&number) = self.room.last() else {
            let number = self.pages.len();
            assert!(number < NO_ENTRY as usize / PAGE, "fewer than 2^32 waits");
            self.pages.push(None);
            self.room.push(number as u32);
            // The round that is under way is one page longer.
            self.walk.left += usize::from(self.walk.left > 0);
            return self.insert(slot, waker, record);
        };
        let page = self.pages[number as usize]
            .get_or_insert_with(|| self.spare.take().unwrap_or_default());
        let at = page.used.trailing_ones() as usize;
        let entry = number * PAGE as u32 + at as u32;
        let next = record.first();
        page.used |= 1 << at;
        page.put(at, slot, waker);
        page.links[at] = (NO_ENTRY, next);
        if page.is_full() {
            self.room.pop();
        }
        if let Some((page, at)) = self.page(next) {
            page.links[at].0 = entry;
        }
        record.set_first(entry);
        self.waiting += 1;
        entry
    }

    /// The slot of the first wait of a connection that has a handle; `None` if no wait is parked.
    pub(crate) fn slot(&mut self, record: &Record) -> Option<Slot> {
        let (page, at) = self.page(record.first())?;
        Some(page.slots[at])
    }

    /// Another waker or another phase for the same wait. The old waker.
    pub(crate) fn replace(&mut self, entry: u32, slot: Slot, waker: Waker) -> Option<Waker> {
        let (page, at) = self.page(entry)?;
        let old = page.put(at, slot, waker);
        self.waiting += u64::from(old.is_none());
        old
    }

    /// Frees a wait's entry. The waker, if it has not been taken.
    pub(crate) fn remove(&mut self, entry: u32, record: &Record) -> Option<Waker> {
        let (page, at) = self.page(entry)?;
        let (before, after) = page.links[at];
        let was_full = page.is_full();
        let waker = page.take(at);
        page.used &= !(1 << at);
        let is_empty = page.used == 0;
        match self.page(before) {
            Some((page, at)) => page.links[at].1 = after,
            None => record.set_first(after),
        }
        if let Some((page, at)) = self.page(after) {
            page.links[at].0 = before;
        }
        let number = entry as usize / PAGE;
        if was_full {
            self.room.push(number as u32);
        }
        if is_empty {
            let taken = self.pages[number].take();
            self.spare = self.spare.take().or(taken);
        }
        self.waiting -= u64::from(waker.is_some());
        waker
    }

    /// Takes the wakers of those waits of a connection that are over now that it has come to
    /// `phase`.
    pub(crate) fn take_of(&mut self, record: &Record, phase: Phase) -> Vec<Waker> {
        let mut wakers = vec![];
        let mut entry = record.first();
        while let Some((page, at)) = self.page(entry) {
            entry = page.links[at].1;
            if phase > page.slots[at].tag() {
                wakers.extend(page.take(at));
            }
        }
        self.waiting -= wakers.len() as u64;
        wakers
    }

    /// Takes the wakers of waits that are over at `word`, as many as `walked` has room for. Whether
    /// every wait that is over has been taken.
    pub(crate) fn take_due(&mut self, word: Word, clock: Clock, walked: &mut Walked) -> bool {
        let walk = &mut self.walk;
        if walk.word != word {
            (walk.word, walk.left, walk.earliest) = (word, self.pages.len(), None);
        }
        let mut looks = LOOK;
        while walk.left > 0 && looks > 0 {
            let at = walk.at % self.pages.len();
            if let Some(page) = &mut self.pages[at] {
                let is_quiet = page.is_quiet(word, clock);
                looks = looks.saturating_sub(if is_quiet { 1 } else { PAGE });
                let before = walked.wakers.len();
                let is_done = is_quiet || page.take_due(word, clock, walked);
                self.waiting -= (walked.wakers.len() - before) as u64;
                if !is_done {
                    break;
                }
                if let Some(key) = page.earliest {
                    walk.see(key);
                }
            }
            walk.at = at + 1;
            walk.left -= 1;
        }
        walked.waiting += self.waiting;
        walked.earliest = walked.earliest.into_iter().chain(walk.earliest).min();
        walk.left == 0
    }
}
