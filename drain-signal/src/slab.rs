//! The parked: wakers in fixed pages, walked in place by the drain. No queue, no heap: whose turn it is follows from the
//! seat beside the waker.

use std::task::Waker;

use crate::phase::Phase;
use crate::seat::{Clock, Seat};
use crate::word::Word;

const PAGE: usize = 64;
/// Entry numbers have 27 bits.
const LIMIT: u32 = NO_ENTRY;
/// No entry.
pub(crate) const NO_ENTRY: u32 = (1 << 27) - 1;
/// The tag of a free entry; its other bits are the next free one.
const FREE: u32 = 7;
/// How many entries one call looks at with the shard locked.
const LOOK: usize = 4096;

/// Wakers and seats apart: a walk that wakes nobody reads the seats alone, 16 to a cache line.
#[derive(Debug)]
struct Page {
    wakers: [Option<Waker>; PAGE],
    /// Tagged with the phase its connection parked in, or [`FREE`].
    seats: [u32; PAGE],
}

/// Grows page by page, so that no growth copies what is there; an entry never moves.
#[derive(Debug)]
#[expect(clippy::vec_box, reason = "growing the vector must not copy the pages")]
pub(crate) struct Slab {
    pages: Vec<Box<Page>>,
    free: u32,
    /// Entries ever used: the walk goes this far.
    used: u32,
    parked: u32,
    walk: Walk,
}

/// A walk through all entries, in portions, round and round: when the word changes on the way, it goes on from where it
/// is for another whole round.
#[derive(Debug)]
struct Walk {
    word: Word,
    at: u32,
    left: u32,
    earliest: u64,
}

/// What a portion of a walk found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Walked {
    pub(crate) taken: usize,
    /// Everybody whose turn it was has been taken.
    pub(crate) done: bool,
    /// The smallest [`Seat::slot_key`] still to come; `u64::MAX`: none.
    pub(crate) earliest: u64,
    pub(crate) parked: u32,
}

impl Default for Slab {
    fn default() -> Self {
        Self {
            pages: vec![],
            free: NO_ENTRY,
            used: 0,
            parked: 0,
            walk: Walk {
                word: Word::IDLE,
                at: 0,
                left: 0,
                earliest: u64::MAX,
            },
        }
    }
}

impl Slab {
    /// Parks a waker in a new entry, whose number is returned; [`NO_ENTRY`] if there are more than 2^27 of them.
    pub(crate) fn insert(&mut self, seat: Seat, phase: Phase, waker: Waker) -> Result<u32, Waker> {
        let index = match self.free {
            NO_ENTRY if self.used == LIMIT => return Err(waker),
            NO_ENTRY => {
                if self.used as usize == self.pages.len() * PAGE {
                    self.pages.push(Box::new(Page {
                        wakers: [const { None }; PAGE],
                        seats: [0; PAGE],
                    }));
                }
                self.used += 1;
                self.used - 1
            }
            free => {
                self.free = *self.seat(free) & NO_ENTRY;
                free
            }
        };
        *self.seat(index) = seat.tagged(phase as u32).bits();
        self.pages[index as usize / PAGE].wakers[index as usize % PAGE] = Some(waker);
        self.parked += 1;
        Ok(index)
    }

    /// Another waker for the same wait; the old one is returned, to be dropped outside the lock.
    pub(crate) fn replace(&mut self, index: u32, waker: Waker) -> Option<Waker> {
        self.pages[index as usize / PAGE].wakers[index as usize % PAGE].replace(waker)
    }

    pub(crate) fn waker(&self, index: u32) -> Option<&Waker> {
        self.pages.get(index as usize / PAGE)?.wakers[index as usize % PAGE].as_ref()
    }

    pub(crate) fn remove(&mut self, index: u32) -> Option<Waker> {
        let waker = self.pages[index as usize / PAGE].wakers[index as usize % PAGE].take();
        self.release(index);
        waker
    }

    fn release(&mut self, index: u32) {
        *self.seat(index) = FREE << 29 | self.free;
        self.free = index;
        self.parked -= 1;
    }

    fn seat(&mut self, index: u32) -> &mut u32 {
        &mut self.pages[index as usize / PAGE].seats[index as usize % PAGE]
    }

    /// Takes those whose turn it is at `word` out of the slab, as many as `wakers` has room for.
    pub(crate) fn walk(&mut self, word: Word, clock: Clock, wakers: &mut [Option<Waker>]) -> Walked {
        if self.walk.word != word {
            self.walk.word = word;
            self.walk.left = self.used;
            self.walk.earliest = u64::MAX;
        }
        let mut taken = 0;
        let mut looks = LOOK;
        while self.walk.left > 0 && looks > 0 && taken < wakers.len() {
            if self.walk.at >= self.used {
                self.walk.at = 0;
            }
            let index = self.walk.at;
            let seat = Seat::from_bits(*self.seat(index));
            self.walk.at += 1;
            self.walk.left -= 1;
            looks -= 1;
            if seat.tag() == FREE {
                continue;
            }
            if seat.phase(word, || clock) > Phase::from_bits(seat.tag()) {
                let page = &mut self.pages[index as usize / PAGE];
                wakers[taken] = page.wakers[index as usize % PAGE].take();
                taken += 1;
                self.release(index);
            } else if let Some(key) = seat.slot_key(word, clock) {
                self.walk.earliest = self.walk.earliest.min(key);
            }
        }
        Walked {
            taken,
            done: self.walk.left == 0,
            earliest: self.walk.earliest,
            parked: self.parked,
        }
    }
}
