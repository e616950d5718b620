//! What all handles of one drain share: the shards, and the one lock under which facts are published.

use std::cell::Cell;
use std::sync::Arc as StdArc;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::completion::Completion;
use crate::phase::{NEVER, Steps, tick};
use crate::schedule::{Place, micros};
use crate::shard::{Shard, State, Word};
use crate::sync::{Arc, AtomicU64, Mutex, OnceLock, Ordering, lock, shard_count, thread_number};
use crate::{Advance, DrainEvent, DrainState};

/// How many tasks one call of [`Node::advance`] wakes. A tokio worker's own queue holds 256 and a task that yields comes
/// back after 61 polls; 32 keeps both from spilling over.
const BATCH: usize = 32;

#[derive(Debug)]
pub(crate) struct Node {
    /// The same word as in the shards, for nodes nobody watches.
    word: AtomicU64,
    shards: OnceLock<Box<[Arc<Shard>]>>,
    published: Mutex<Published>,
    pub(crate) completion: Arc<Completion>,
}

#[derive(Debug)]
struct Published {
    event: Option<StdArc<DrainEvent>>,
    deadline: u64,
    word: Word,
}

impl Node {
    pub(crate) fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
            shards: OnceLock::new(),
            published: Mutex::new(Published {
                event: None,
                deadline: NEVER,
                word: Word::IDLE,
            }),
            completion: Arc::new(Completion::default()),
        }
    }

    /// The shard of the calling thread.
    pub(crate) fn my_shard(&self) -> &Arc<Shard> {
        let shards = self
            .shards
            .get()
            .map_or_else(|| self.build_shards(), |shards| &**shards);
        &shards[thread_number() % shards.len()]
    }

    /// Shards appear with the first watcher: a node without connections costs next to nothing.
    fn build_shards(&self) -> &[Arc<Shard>] {
        // Under the lock, so that no publication falls between the look at its state and the shards' becoming visible.
        let published = lock(&self.published);
        if self.shards.get().is_none() {
            let shards = (0..shard_count()).map(|_| {
                let shard = Shard::new(Arc::clone(&self.completion));
                shard.publish(published.event.as_ref(), published.deadline, published.word);
                Arc::new(shard)
            });
            // Only set here, under the lock: it cannot be set already.
            self.shards.set(shards.collect()).ok();
        }
        drop(published);
        self.shards()
    }

    fn shards(&self) -> &[Arc<Shard>] {
        self.shards.get().map_or(&[], |shards| shards)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.word.load(Ordering::Acquire) != 0
    }

    pub(crate) fn state(&self) -> DrainState {
        match lock(&self.published).word.state() {
            State::NotDraining => DrainState::NotDraining,
            State::Draining => DrainState::Draining,
            State::Completed => DrainState::Completed,
        }
    }

    pub(crate) fn event(&self) -> Option<StdArc<DrainEvent>> {
        lock(&self.published).event.clone()
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let published = lock(&self.published);
        let event = published.event.as_ref()?;
        (published.deadline != NEVER).then(|| event.start + Duration::from_micros(published.deadline))
    }

    pub(crate) fn live(&self) -> usize {
        self.shards().iter().map(|shard| shard.live()).sum()
    }

    fn publish(&self, published: &mut Published, word: Word) {
        published.word = word;
        for shard in self.shards() {
            shard.publish(published.event.as_ref(), published.deadline, word);
        }
        self.word.store(word_bits(word), Ordering::SeqCst);
    }

    /// Begins the drain; whoever comes second changes nothing.
    pub(crate) fn start(&self, event: StdArc<DrainEvent>) {
        let mut published = lock(&self.published);
        if published.event.is_some() {
            return;
        }
        published.deadline = event.deadline().map_or(NEVER, |_| micros(event.drain_time));
        published.event = Some(event);
        self.publish(&mut published, Word::draining(0));
    }

    pub(crate) fn bring_forward(&self, deadline: Instant) {
        let mut published = lock(&self.published);
        let Some(event) = published.event.clone() else {
            return;
        };
        let deadline = micros(deadline.saturating_duration_since(event.start));
        if deadline >= published.deadline {
            return;
        }
        published.deadline = deadline;
        for shard in self.shards() {
            shard.bring_forward(deadline);
            shard.reorder();
        }
        drop(published);
        // Whoever paces the drain must look again: its next step has come nearer.
        self.completion.wake();
    }

    /// Moves the drain on to `now`: stores the pace, wakes a batch of those whose time has come.
    pub(crate) fn advance(&self, now: Instant) -> Advance {
        let (event, deadline, pace) = {
            let mut published = lock(&self.published);
            let Some(event) = published.event.clone() else {
                return Advance::IDLE;
            };
            let pace = published
                .word
                .pace()
                .max(micros(now.saturating_duration_since(event.start)));
            if published.word.state() == State::Draining {
                self.publish(&mut published, Word::draining(pace));
            }
            (event, published.deadline, pace)
        };
        let mut wakers: [Option<Waker>; BATCH] = [const { None }; BATCH];
        let mut taken = 0;
        let mut next: Option<u64> = None;
        let mut more = false;
        for shard in self.shards() {
            if taken == BATCH {
                more = true;
                break;
            }
            let (count, due) = shard.take_due(pace, &mut wakers[taken..]);
            taken += count;
            more |= due.is_some_and(|due| due <= pace);
            next = earliest(next, due);
        }
        for waker in wakers.into_iter().flatten() {
            waker.wake();
        }
        if self.live() > 0 {
            next = earliest(next, tick(&event, pace).map(|tick| pace + tick));
        }
        next = earliest(next, Steps::new(&event, deadline).next(pace));
        Advance {
            next: next.map(|at| event.start + Duration::from_micros(at)),
            more,
        }
    }

    /// Refuses new watchers if nobody is left. Whether the drain is completed.
    pub(crate) fn complete_if_empty(&self) -> bool {
        let mut published = lock(&self.published);
        match published.word.state() {
            State::NotDraining => return false,
            State::Completed => return true,
            State::Draining => {}
        }
        if self.live() > 0 {
            return false;
        }
        let pace = published.word.pace();
        self.publish(&mut published, Word::completed(pace));
        // A watcher that came in before it could see the word is here to stay: then this was too early. One that saw
        // it was refused, as it would be a moment later.
        if self.live() > 0 {
            self.publish(&mut published, Word::draining(pace));
            return false;
        }
        drop(published);
        self.completion.wake();
        true
    }

    /// Refuses new watchers from now on, whoever is left.
    pub(crate) fn complete(&self) {
        let mut published = lock(&self.published);
        if published.word.state() == State::Draining {
            let pace = published.word.pace();
            self.publish(&mut published, Word::completed(pace));
        }
        drop(published);
        self.completion.wake();
    }

    /// Whether the drain is over for everybody: completed, and nobody left.
    pub(crate) fn is_drained(&self) -> bool {
        self.live() == 0 && self.complete_if_empty()
    }
}

fn word_bits(word: Word) -> u64 {
    u64::from(word.is_draining())
}

fn earliest(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

thread_local! {
    static OPENED: Cell<u64> = const { Cell::new(0) };
}

/// The next place in this thread's queue: the golden-ratio sequence, which fills any window evenly at every length.
pub(crate) fn next_place() -> Place {
    let nth = OPENED.with(|opened| opened.replace(opened.get().wrapping_add(1)));
    let nth = nth.wrapping_add((thread_number() as u64) << 32);
    Place::new((nth.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48) as u16)
}
