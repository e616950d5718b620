//! Where a drain lives: its published facts, its shards, its waiters. Homes are never freed but used again, so that a
//! handle keeps its shard by a plain reference and the count of watchers is the only count there is.

use std::sync::Arc as StdArc;
use std::time::{Duration, Instant};

use crate::DrainEvent;
use crate::completion::Completion;
use crate::phase::NEVER;
use crate::shard::Shard;
use crate::sync::{self, AtomicU64, AtomicUsize, Mutex, OnceLock, Ordering, SHARDS, lock};
use crate::word::Word;

#[derive(Debug)]
pub(crate) struct Home {
    /// The same word as in the shards, for drains that nobody watches.
    pub(crate) word: AtomicU64,
    pub(crate) published: Mutex<Published>,
    pub(crate) completion: Completion,
    /// One a thread or so, made when the first of its threads opens a watcher: a drain without connections, or with
    /// connections on one thread, costs little.
    shards: [OnceLock<Box<Shard>>; SHARDS],
    /// The node, and every shard that anybody knows.
    holders: AtomicUsize,
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
            shards: std::array::from_fn(|_| OnceLock::new()),
            holders: AtomicUsize::new(1),
        }
    }

    /// A home for a new drain: one that is empty, or a new one.
    pub(crate) fn claim() -> &'static Self {
        sync::empty_homes(Vec::pop).unwrap_or_else(|| Box::leak(Box::new(Self::new())))
    }

    pub(crate) fn shards(&self) -> impl Iterator<Item = &Shard> + Clone {
        self.shards
            .iter()
            .take(sync::shard_count())
            .filter_map(|shard| shard.get().map(|shard| &**shard))
    }

    /// All shards, the calling thread's first.
    pub(crate) fn shards_from_mine(&self) -> impl Iterator<Item = &Shard> + Clone {
        let (mine, count) = (sync::thread_number(), sync::shard_count());
        (0..count).filter_map(move |nth| self.shards[(mine + nth) % count].get().map(|shard| &**shard))
    }

    /// The shard of the thread with this number.
    #[inline]
    pub(crate) fn shard(&'static self, thread: usize) -> &'static Shard {
        // `shard_count` is a power of two, at most SHARDS.
        let shard = &self.shards[thread & (sync::shard_count() - 1) & (SHARDS - 1)];
        match shard.get() {
            Some(shard) => shard,
            None => self.build(shard),
        }
    }

    #[cold]
    fn build(&'static self, shard: &'static OnceLock<Box<Shard>>) -> &'static Shard {
        // Under the lock, so that no publication falls between the look at its state and the shard's becoming visible.
        let published = lock(&self.published);
        let built = shard.get_or_init(|| {
            let shard = Shard::new(self);
            published.install(&shard);
            self.holders.fetch_add(1, Ordering::Relaxed);
            Box::new(shard)
        });
        drop(published);
        built
    }

    /// When what is left is closed.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let published = lock(&self.published);
        let event = published.event.as_ref()?;
        (published.deadline != NEVER).then(|| event.start + Duration::from_micros(published.deadline))
    }

    /// The node is gone: nobody opens a watcher any more. What is left keeps its shards, and the last one the home.
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
