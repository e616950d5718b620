//! Where a drain lives: its published facts, its shards, its waiters. Homes are never freed but used again, so that a
//! handle keeps its shard by a plain reference and the count of watchers is the only count there is.

use std::sync::Arc as StdArc;
use std::time::{Duration, Instant};

use crate::DrainEvent;
use crate::completion::Completion;
use crate::count::Before;
use crate::phase::NEVER;
use crate::schedule::Place;
use crate::shard::Shard;
use crate::sync::barrier::Asked;
use crate::sync::{self, AtomicU64, AtomicUsize, Mutex, OnceRef, Ordering, SHARDS, lock};
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
    /// The nodes together, and every shard that anybody knows.
    holders: AtomicUsize,
}

#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) event: Option<StdArc<DrainEvent>>,
    pub(crate) deadline: u64,
    pub(crate) pace: u64,
    pub(crate) word: Word,
    /// To be passed before anybody says that nobody is left.
    pub(crate) barrier: Asked,
}

impl Published {
    const fn nothing() -> Self {
        Self {
            event: None,
            deadline: NEVER,
            pace: 0,
            word: Word::IDLE,
            barrier: Asked::NONE,
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
            holders: AtomicUsize::new(1),
        }
    }

    /// A home for a new drain, with one owner: one that is empty, or a new one.
    pub(crate) fn claim() -> &'static Self {
        sync::prepare();
        let home = sync::empty_homes(Vec::pop).unwrap_or_else(|| Box::leak(Box::new(Self::new())));
        home.owners.store(1, Ordering::Relaxed);
        home
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
    pub(crate) fn enter(&'static self) -> (&'static Shard, Place, Before) {
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
    fn enter_somewhere(&'static self) -> (&'static Shard, Place, Before) {
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
        self.holders.fetch_add(1, Ordering::Relaxed);
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

    /// The last node is gone: nobody opens a watcher any more. What is left keeps its shards, and the last one the home.
    pub(crate) fn abandon(&'static self) {
        for shard in self.shards() {
            shard.release();
        }
        self.release();
    }

    /// One holder less. The last one makes the home as new.
    pub(crate) fn release(&'static self) {
        if self.holders.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        self.word.store(0, Ordering::Relaxed);
        let event = std::mem::replace(&mut *lock(&self.published), Published::nothing());
        drop(event);
        self.completion.clear();
        let mut holders = 1;
        for shard in self.shards() {
            shard.reset();
            holders += 1;
        }
        self.holders.store(holders, Ordering::Release);
        sync::empty_homes(|homes| homes.push(self));
    }
}
