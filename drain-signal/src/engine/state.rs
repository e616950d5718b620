//! What a drain publishes: the word that every question loads, the facts behind it, and the waiters
//! for its end.

use std::sync::Arc;
use std::time::Instant;

use drain_sync::{AtomicU64, Mutex, MutexGuard, Ordering, WaitList, lock};

use super::slot::Clock;
use super::word::Word;
use crate::phase::{Steps, at};
use crate::schedule::{micros, places_signaled, signal_window};
use crate::{DrainEvent, DrainState};

/// Read by every connection at every question, and written when the drain moves on: on a cache line
/// of its own.
#[derive(Default)]
#[repr(align(64))]
struct Words {
    word: AtomicU64,
    pace: AtomicU64,
    drain_time: AtomicU64,
}

#[derive(Default)]
pub(crate) struct State {
    words: Words,
    published: Mutex<Published>,
    /// The tasks that look again when the drain begins, changes, may have become empty, or is
    /// completed.
    pub(crate) waiters: WaitList,
}

/// The facts. They change under the lock and are published in one store of the word.
#[derive(Default, Clone)]
pub(crate) struct Published {
    pub(crate) event: Option<Arc<DrainEvent>>,
    /// Microseconds since the start, as is the next.
    pub(crate) deadline: Option<u64>,
    pub(crate) pace: u64,
    pub(crate) word: Word,
}

impl Published {
    /// The word after the present one, in `state` and at the present pace; the present one before
    /// there is an event.
    pub(crate) fn next_word(&self, state: DrainState) -> Word {
        let Some(event) = &self.event else {
            return self.word;
        };
        let step = Steps::new(event, self.deadline).at(self.pace);
        let threshold = places_signaled(self.pace, micros(signal_window(event)));
        self.word.then(event, state, step, threshold)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        at(self.event.as_ref()?.start, self.deadline?)
    }
}

impl State {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Published> {
        lock(&self.published)
    }

    /// Acquire pairs with the Release in `publish`: a thread that sees a word sees the pace and the
    /// drain time that it speaks of, and all that happened before the drain came this far. Without
    /// it a response under Envoy 1.40's schedule could be answered with a drain time of zero, and
    /// leave at once.
    #[inline]
    pub(crate) fn word(&self) -> Word {
        Word(self.words.word.load(Ordering::Acquire))
    }

    /// Relaxed, both: the Acquire load of the word came before, and pairs with the Release store
    /// that follows these stores in `publish`. A pace newer than that word is as good: a newer word
    /// follows it.
    pub(crate) fn clock(&self) -> Clock {
        Clock {
            drain_time: self.words.drain_time.load(Ordering::Relaxed),
            pace: self.words.pace.load(Ordering::Relaxed),
        }
    }

    /// Stores the word after everything it speaks of: Release pairs with the Acquire in `word`. The
    /// two stores before it are Relaxed, because that Release orders them; writers exclude each
    /// other by the lock on `published`.
    pub(crate) fn publish(&self, published: &mut Published, word: Word) {
        let event = published.event.as_ref();
        let drain_time = event.map_or(0, |event| micros(event.drain_time));
        published.word = word;
        self.words.drain_time.store(drain_time, Ordering::Relaxed);
        self.words.pace.store(published.pace, Ordering::Relaxed);
        self.words.word.store(word.0, Ordering::Release);
    }
}
