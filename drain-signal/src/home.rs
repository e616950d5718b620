//! Where a drain lives: its published facts, its shards, its waiters. Homes are never freed but used again, so that a
//! handle keeps its shard by a plain reference and the count of watchers is the only count there is.

use std::collections::VecDeque;
use std::sync::Arc as StdArc;
use std::time::{Duration, Instant};

use crate::DrainEvent;
use crate::completion::Completion;
use crate::count::Found;
use crate::phase::NEVER;
use crate::schedule::Place;
use crate::shard::Shard;
use crate::slab::Slab;
use crate::sync::barrier::{self, Asked};
use crate::sync::{self, AtomicU8, AtomicU64, AtomicUsize, Mutex, OnceRef, Ordering, SHARDS, lock};
use crate::word::Word;

#[derive(Debug)]
pub(crate) struct Home {
    /// The same word as in the shards, for drains that nobody watches.
    pub(crate) word: AtomicU64,
    pub(crate) published: Mutex<Published>,
    pub(crate) completion: Completion,
    /// One a thread or so, made when the first of its threads opens a watcher: a drain without connections, or with
    /// connections on one thread, costs little.
    shards: [OnceRef<'static, Shard>; SHARDS],
    /// The nodes.
    pub(crate) owners: AtomicUsize,
    /// Since the drain began: to be passed before anybody says who is there.
    barrier: AtomicU64,
    /// Changed with the list of homes locked.
    tenancy: AtomicU8,
}

/// Who is in a home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Tenancy {
    /// A node, and whoever else.
    Kept,
    /// No node any more, but there were watchers or handles when the last one went.
    Left,
    /// Nobody.
    Vacant,
}

/// Homes that may be used again. There are never many more than drains lived at once.
#[derive(Debug)]
pub(crate) struct Homes {
    vacant: Vec<&'static Home>,
    /// Left by their nodes, in that order. Who leaves one last says so as a rule, and these have been vacated since; but if two leave
    /// in the same moment both may see the other still there.
    left: VecDeque<&'static Home>,
}

/// So many of the left are looked at whenever a home is wanted: more than are left in between.
const LOOKS: usize = 4;

/// What is dropped outside of all locks.
type Debris = (Option<StdArc<DrainEvent>>, Vec<Slab>);

impl Homes {
    pub(crate) const fn new() -> Self {
        Self {
            vacant: Vec::new(),
            left: VecDeque::new(),
        }
    }

    fn find(&mut self) -> Option<(&'static Home, Option<Debris>)> {
        for _ in 0..LOOKS {
            let Some(home) = self.left.pop_front() else { break };
            if !home.is(Tenancy::Left) {
                continue;
            }
            if home.is_deserted() {
                return Some((home, Some(home.clean())));
            }
            self.left.push_back(home);
        }
        self.vacant.pop().map(|home| (home, None))
    }
}

#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) event: Option<StdArc<DrainEvent>>,
    pub(crate) deadline: u64,
    pub(crate) pace: u64,
    pub(crate) word: Word,
}

impl Published {
    const fn nothing() -> Self {
        Self {
            event: None,
            deadline: NEVER,
            pace: 0,
            word: Word::IDLE,
        }
    }
}

impl Home {
    fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
            published: Mutex::new(Published::nothing()),
            completion: Completion::default(),
            shards: std::array::from_fn(|_| OnceRef::new()),
            owners: AtomicUsize::new(0),
            barrier: AtomicU64::new(Asked::NONE.number()),
            tenancy: AtomicU8::new(Tenancy::Vacant as u8),
        }
    }

    /// A home for a new drain, with one owner: one that is vacant, or a new one.
    pub(crate) fn claim() -> &'static Self {
        sync::prepare();
        let found = sync::homes(|homes| {
            let found = homes.find();
            if let Some((home, _)) = &found {
                home.set(Tenancy::Kept);
            }
            found
        });
        let (home, debris) = found.unwrap_or_else(|| {
            let new: &Self = Box::leak(Box::new(Self::new()));
            new.set(Tenancy::Kept);
            (new, None)
        });
        drop(debris);
        home.owners.store(1, Ordering::Relaxed);
        home
    }

    fn is(&self, tenancy: Tenancy) -> bool {
        self.tenancy.load(Ordering::Relaxed) == tenancy as u8
    }

    fn set(&self, tenancy: Tenancy) {
        self.tenancy.store(tenancy as u8, Ordering::Relaxed);
    }

    /// The drain has begun: who comes and goes from now on sees it, the others are seen after a barrier.
    pub(crate) fn ask_for_barrier(&self) {
        self.barrier.store(barrier::ask().number(), Ordering::Release);
    }

    /// Who came or went without having seen the drain is seen from here on.
    pub(crate) fn pass_barrier(&self) {
        if self.shards().next().is_some() {
            barrier::pass(Asked::of(self.barrier.load(Ordering::Acquire)));
        }
    }

    pub(crate) fn shards(&self) -> impl Iterator<Item = &'static Shard> + Clone {
        self.shards.iter().filter_map(OnceRef::get)
    }

    /// All shards, the calling thread's first.
    pub(crate) fn shards_from_mine(&self) -> impl Iterator<Item = &'static Shard> + Clone {
        // `my_shard` is below SHARDS.
        let (before, from_mine) = self.shards.split_at(sync::my_shard() % SHARDS);
        from_mine.iter().chain(before).filter_map(OnceRef::get)
    }

    /// Counts a watcher of the calling thread, with its place in the queue and what it came upon.
    #[inline]
    pub(crate) fn enter(&'static self) -> (&'static Shard, Place, Found) {
        match self.my_own_shard() {
            Some(shard) => {
                let (place, before) = shard.count().enter_mine();
                (shard, place, before)
            }
            None => self.enter_somewhere(),
        }
    }

    /// The calling thread's own shard, if it has one and that is built.
    #[inline]
    fn my_own_shard(&self) -> Option<&'static Shard> {
        self.shards.get(sync::my_own_shard()).and_then(OnceRef::get)
    }

    #[cold]
    #[inline(never)]
    fn enter_somewhere(&'static self) -> (&'static Shard, Place, Found) {
        let shard = self.my_shard();
        let (place, before) = match self.my_own_shard() {
            Some(own) => own.count().enter_mine(),
            None => shard.count().enter(),
        };
        (shard, place, before)
    }

    /// The shard that the calling thread uses.
    pub(crate) fn my_shard(&'static self) -> &'static Shard {
        let number = sync::my_shard();
        let mine = &self.shards[number];
        if let Some(built) = mine.get() {
            return built;
        }
        // Under the lock, so that no publication falls between the look at its state and the shard's becoming visible.
        let published = lock(&self.published);
        if let Some(built) = mine.get() {
            return built;
        }
        let shard: &Shard = Box::leak(Box::new(Shard::new(self, number)));
        published.install(shard);
        // It was empty a moment ago, and is written under this lock only.
        mine.set(shard).ok();
        shard
    }

    /// When what is left is closed.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let published = lock(&self.published);
        let event = published.event.as_ref()?;
        (published.deadline != NEVER).then(|| event.start + Duration::from_micros(published.deadline))
    }

    /// The last node is gone: nobody opens a watcher any more, nobody waits for the end.
    pub(crate) fn abandon(&'static self) {
        self.completion.clear();
        for shard in self.shards() {
            shard.count().release();
        }
        let debris = sync::homes(|homes| {
            self.set(Tenancy::Left);
            let debris = self.clear_out(homes);
            if debris.is_none() {
                homes.left.push_back(self);
            }
            debris
        });
        drop(debris);
    }

    /// Somebody has left who may have been the last.
    #[cold]
    pub(crate) fn vacate(&'static self) {
        let debris = sync::homes(|homes| self.clear_out(homes));
        drop(debris);
    }

    fn clear_out(&'static self, homes: &mut Homes) -> Option<Debris> {
        if !self.is(Tenancy::Left) || !self.is_deserted() {
            return None;
        }
        self.set(Tenancy::Vacant);
        homes.vacant.push(self);
        Some(self.clean())
    }

    fn is_deserted(&self) -> bool {
        self.shards().all(|shard| shard.count().is_deserted())
    }

    /// As new. Whoever left last may still look at it, but changes nothing that counts: he takes a turn, he wakes for nothing.
    fn clean(&self) -> Debris {
        self.word.store(0, Ordering::Relaxed);
        let published = std::mem::replace(&mut *lock(&self.published), Published::nothing());
        (published.event, self.shards().map(Shard::reset).collect())
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::channel;

    #[test]
    fn a_home_whose_last_watcher_outlives_its_nodes_is_used_again() {
        let count = || sync::homes(|homes| homes.vacant.len() + homes.left.len());
        let kept: Vec<_> = (0..10)
            .map(|_| channel().1.watch().expect("not completed"))
            .collect();
        let before = count();
        for _ in 0..1000 {
            let (trigger, signal) = channel();
            let watch = signal.watch().expect("not completed");
            drop((trigger, signal));
            drop(watch);
        }
        // Other tests may do a little of the same.
        assert!(count() < before + 100, "{} after {before}", count());
        drop(kept);
    }
}
