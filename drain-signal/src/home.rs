//! Where a drain lives: its published facts, its shards, its waiters.

use std::sync::Arc as StdArc;
use std::time::{Duration, Instant};

use crate::DrainEvent;
use crate::completion::Completion;
use crate::count::Found;
use crate::homes::{Debris, Tenancy};
use crate::phase::NEVER;
use crate::schedule::Place;
use crate::shard::Shard;
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
    pub(crate) tenancy: AtomicU8,
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
    pub(crate) fn new() -> Self {
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
        // Whoever has none begins anywhere; only who opens watchers takes one.
        let (before, from_mine) = self.shards.split_at(sync::my_own_shard() % SHARDS);
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

    /// Whether nobody knows it: no node, no watcher, no handle.
    pub(crate) fn is_deserted(&self) -> bool {
        self.shards().all(|shard| shard.count().is_deserted())
    }

    /// As new. Whoever left last may still look at it, but changes nothing that counts: he takes a turn, he wakes for nothing.
    pub(crate) fn clean(&self) -> Debris {
        self.word.store(0, Ordering::Relaxed);
        let published = std::mem::replace(&mut *lock(&self.published), Published::nothing());
        (published.event, self.shards().map(Shard::reset).collect())
    }
}
