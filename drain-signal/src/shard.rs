//! One thread's share of a node: a copy of the state word, the count of open watchers, and the parked ones.
//!
//! Lock order: a node's `published` lock, then a shard's `parked` lock; wakers are called with neither held.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::task::Waker;

use crate::phase::{NEVER, Phase, Seat};
use crate::sync::{Arc, AtomicU64, AtomicUsize, Mutex, OnceLock, Ordering, lock};
use crate::{DrainEvent, completion::Completion};
use std::sync::Arc as StdArc;

/// The state word: two bits of state, the rest is the pace in microseconds since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word(u64);

/// The three states of seed and source alike: not draining, draining, completed draining.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    NotDraining,
    Draining,
    Completed,
}

impl Word {
    pub(crate) const IDLE: Self = Self(0);

    pub(crate) const fn draining(pace: u64) -> Self {
        Self(pace << 2 | 1)
    }

    pub(crate) const fn completed(pace: u64) -> Self {
        Self(pace << 2 | 2)
    }

    pub(crate) const fn state(self) -> State {
        match self.0 & 3 {
            0 => State::NotDraining,
            1 => State::Draining,
            _ => State::Completed,
        }
    }

    pub(crate) const fn pace(self) -> u64 {
        self.0 >> 2
    }

    /// One load and a compare: the whole cost of a node that does not drain.
    pub(crate) const fn is_draining(self) -> bool {
        self.0 != 0
    }
}

/// No entry in the slab.
pub(crate) const NO_ENTRY: u32 = u32::MAX;

#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Shard {
    word: AtomicU64,
    /// Open watchers. Pairs with `word`, both `SeqCst`: a watcher that leaves lowers this and then reads the word;
    /// whoever starts or completes a drain writes the word and then reads this. One of the two sees the other.
    live: AtomicUsize,
    /// Microseconds since the start; only ever lowered.
    deadline: AtomicU64,
    event: OnceLock<StdArc<DrainEvent>>,
    parked: Mutex<Parked>,
    pub(crate) completion: Arc<Completion>,
}

impl Shard {
    pub(crate) fn new(completion: Arc<Completion>) -> Self {
        Self {
            word: AtomicU64::new(Word::IDLE.0),
            live: AtomicUsize::new(0),
            deadline: AtomicU64::new(NEVER),
            event: OnceLock::new(),
            parked: Mutex::default(),
            completion,
        }
    }

    pub(crate) fn word(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    /// Stores the word after everything it speaks of.
    pub(crate) fn publish(&self, event: Option<&StdArc<DrainEvent>>, deadline: u64, word: Word) {
        if let Some(event) = event {
            self.event.get_or_init(|| StdArc::clone(event));
        }
        self.deadline.fetch_min(deadline, Ordering::Relaxed);
        self.word.store(word.0, Ordering::SeqCst);
    }

    pub(crate) fn event(&self) -> Option<&StdArc<DrainEvent>> {
        self.event.get()
    }

    pub(crate) fn deadline(&self) -> u64 {
        self.deadline.load(Ordering::Acquire)
    }

    pub(crate) fn bring_forward(&self, deadline: u64) {
        self.deadline.fetch_min(deadline, Ordering::AcqRel);
    }

    pub(crate) fn live(&self) -> usize {
        self.live.load(Ordering::SeqCst)
    }

    /// Counts a watcher in; the word as it was after that.
    pub(crate) fn enter(&self) -> Word {
        self.live.fetch_add(1, Ordering::SeqCst);
        Word(self.word.load(Ordering::SeqCst))
    }

    /// Counts a watcher out, and says so if it was the shard's last during a drain.
    pub(crate) fn leave(&self) {
        let before = self.live.fetch_sub(1, Ordering::SeqCst);
        if before == 1 && Word(self.word.load(Ordering::SeqCst)).is_draining() {
            self.completion.wake();
        }
    }

    /// Parks `waker` until the phase after `phase`, unless `changed` finds that it has come. The entry to use next time.
    pub(crate) fn park(
        &self,
        entry: u32,
        seat: Seat,
        phase: Phase,
        waker: &Waker,
        changed: impl FnOnce() -> bool,
    ) -> (u32, bool) {
        let mut parked = lock(&self.parked);
        // Whoever moves the word on does so before it takes this lock to look for the due: either it finds this entry,
        // or this look finds its word.
        if changed() {
            return (entry, true);
        }
        let due = self
            .event()
            .map_or(NEVER, |event| seat.next_after(phase, event, self.deadline()));
        (parked.park(entry, seat, phase, waker, due), false)
    }

    pub(crate) fn release(&self, entry: u32) {
        let waker = lock(&self.parked).release(entry);
        drop(waker);
    }

    /// Wakes what is parked in `entry`, to make it look again.
    pub(crate) fn wake_entry(&self, entry: u32) {
        let waker = lock(&self.parked).take(entry);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes up to `wakers.len()` of those whose time has come by `pace`. How many, and when the next one is due.
    pub(crate) fn take_due(&self, pace: u64, wakers: &mut [Option<Waker>]) -> (usize, Option<u64>) {
        let Some(event) = self.event() else {
            return (0, None);
        };
        lock(&self.parked).take_due(event, self.deadline(), pace, wakers)
    }

    /// Sorts the parked anew after the deadline has moved.
    pub(crate) fn reorder(&self) {
        lock(&self.parked).queue = None;
    }
}

#[derive(Debug)]
struct Entry {
    waker: Option<Waker>,
    seat: Seat,
    phase: Phase,
    /// Tells a queue item whether it still speaks of the same wait.
    turn: u32,
}

/// The slab of parked watchers and, during a drain, the queue of their times.
#[derive(Debug, Default)]
struct Parked {
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// Built from the slab when a drain first looks, kept up by those who park later.
    queue: Option<BinaryHeap<Reverse<(u64, u32, u32)>>>,
}

impl Parked {
    fn park(&mut self, index: u32, seat: Seat, phase: Phase, waker: &Waker, due: u64) -> u32 {
        let index = if index == NO_ENTRY {
            self.allocate(seat)
        } else {
            index
        };
        let entry = &mut self.entries[index as usize];
        let same = entry.phase == phase && entry.waker.is_some();
        match &mut entry.waker {
            Some(parked) if parked.will_wake(waker) => {}
            slot => *slot = Some(waker.clone()),
        }
        if !same {
            entry.phase = phase;
            entry.turn = entry.turn.wrapping_add(1);
            if let (Some(queue), true) = (&mut self.queue, due != NEVER) {
                queue.push(Reverse((due, index, entry.turn)));
            }
        }
        index
    }

    fn allocate(&mut self, seat: Seat) -> u32 {
        let entry = Entry {
            waker: None,
            seat,
            phase: Phase::Open,
            turn: 0,
        };
        if let Some(index) = self.free.pop() {
            let turn = self.entries[index as usize].turn;
            self.entries[index as usize] = Entry { turn, ..entry };
            return index;
        }
        self.entries.push(entry);
        // More than u32::MAX - 1 parked tasks in one shard would need a quarter of a terabyte of wakers alone.
        u32::try_from(self.entries.len() - 1).unwrap_or(NO_ENTRY - 1)
    }

    fn release(&mut self, index: u32) -> Option<Waker> {
        let waker = self.take(index);
        self.free.push(index);
        waker
    }

    fn take(&mut self, index: u32) -> Option<Waker> {
        let entry = self.entries.get_mut(index as usize)?;
        entry.turn = entry.turn.wrapping_add(1);
        entry.waker.take()
    }

    fn take_due(
        &mut self,
        event: &DrainEvent,
        deadline: u64,
        pace: u64,
        wakers: &mut [Option<Waker>],
    ) -> (usize, Option<u64>) {
        let entries = &mut self.entries;
        let queue = self.queue.get_or_insert_with(|| {
            let parked = entries.iter().zip(0..).filter(|(entry, _)| entry.waker.is_some());
            let times = parked.map(|(entry, index)| {
                (
                    entry.seat.next_after(entry.phase, event, deadline),
                    index,
                    entry.turn,
                )
            });
            times.filter(|&(due, ..)| due != NEVER).map(Reverse).collect()
        });
        let mut taken = 0;
        while taken < wakers.len() {
            let Some(&Reverse((due, index, turn))) = queue.peek() else {
                break;
            };
            let entry = &mut entries[index as usize];
            if entry.turn != turn {
                queue.pop();
                continue;
            }
            if due > pace {
                return (taken, Some(due));
            }
            queue.pop();
            entry.turn = entry.turn.wrapping_add(1);
            wakers[taken] = entry.waker.take();
            taken += 1;
        }
        (taken, queue.peek().map(|Reverse((due, ..))| *due))
    }
}
