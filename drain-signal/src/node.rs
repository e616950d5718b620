//! What a drain does: begins, moves on, widens, completes. Facts change under one lock and are published in one store.

use std::sync::Arc as StdArc;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::home::{Home, Published};
use crate::phase::{NEVER, Steps, tick};
use crate::schedule::{micros, places_told, telling_window};
use crate::seat::Clock;
use crate::shard::Shard;
use crate::sync::{Ordering, lock};
use crate::word::{Progress, State, Word};
use crate::{Advance, DrainDirection, DrainEvent, DrainSchedule, DrainState};

/// How many tasks one call of [`Node::advance`] wakes. A tokio worker's own queue holds 256 and a task that yields comes
/// back after 61 polls; 32 keeps both from spilling over.
const BATCH: usize = 32;

/// How far, in microseconds, time may run ahead of a walk before the walk is told. Until then it looks for the same
/// turns in all shards.
const PATIENCE: u64 = 10_000;

/// Looking through the parked takes about half a nanosecond each. So many nanoseconds each between two looks keep that
/// below a fiftieth of the time: a slot of one among a million comes up to 30 ms late, of one among a thousand 30 us.
const REST_PER_PARKED: u64 = 30;

/// An owner of a home, one of many; watchers and handles keep their shards beyond the last.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) home: &'static Home,
}

impl Clone for Node {
    fn clone(&self) -> Self {
        self.home.owners.fetch_add(1, Ordering::Relaxed);
        Self { home: self.home }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.home.owners.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.home.abandon();
        }
    }
}

impl Published {
    /// What the word says at `pace`.
    fn progress(&self, event: &DrainEvent, state: State, pace: u64) -> Progress {
        let window = micros(telling_window(event));
        Progress {
            state,
            step: Steps::new(event, self.deadline).at(pace),
            envoy: event.schedule == DrainSchedule::Envoy140,
            strategy: event.strategy,
            narrow: event.direction == DrainDirection::InboundOnly,
            threshold: places_told(pace, window),
        }
    }

    fn clock(&self) -> Clock {
        Clock {
            drain_time: self.event.as_ref().map_or(0, |event| micros(event.drain_time)),
            pace: self.pace,
        }
    }

    /// Everything a new shard must know.
    pub(crate) fn install(&self, shard: &Shard) {
        shard.publish(self.clock(), self.word);
        match self.word.state() {
            State::NotDraining => return,
            State::Draining => {}
            State::Completed => _ = shard.count().close(),
        }
        shard.count().begin();
    }
}

impl Node {
    pub(crate) fn new() -> Self {
        Self { home: Home::claim() }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.home.word.load(Ordering::Acquire) != 0
    }

    pub(crate) fn state(&self) -> DrainState {
        match lock(&self.home.published).word.state() {
            State::NotDraining => DrainState::NotDraining,
            State::Draining => DrainState::Draining,
            State::Completed => DrainState::Completed,
        }
    }

    pub(crate) fn event(&self) -> Option<StdArc<DrainEvent>> {
        lock(&self.home.published).event.clone()
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.home.deadline()
    }

    /// All open watchers.
    pub(crate) fn open(&self) -> usize {
        if self.is_draining() {
            self.home.pass_barrier();
        }
        let open = |shard: &Shard| shard.count().watchers() + shard.outside();
        self.home.shards().map(open).sum()
    }

    /// All open watchers that the drain concerns.
    pub(crate) fn concerned(&self) -> usize {
        if self.is_draining() {
            self.home.pass_barrier();
        }
        let is_narrow = Word::from_bits(self.home.word.load(Ordering::Acquire)).is_narrow();
        let concerned =
            |shard: &Shard| shard.count().watchers() + if is_narrow { 0 } else { shard.outside() };
        self.home.shards().map(concerned).sum()
    }

    /// Whether a watcher is open that the drain concerns.
    fn is_occupied(&self, word: Word) -> bool {
        let outside = |shard: &Shard| !word.is_narrow() && shard.outside() > 0;
        self.home
            .shards()
            .any(|shard| shard.count().watchers() > 0 || outside(shard))
    }

    fn publish(&self, published: &mut Published, word: Word) {
        published.word = word;
        for shard in self.home.shards() {
            shard.publish(published.clock(), word);
        }
        self.home.word.store(word.bits(), Ordering::Release);
    }

    /// Begins the drain; whoever comes second changes nothing.
    pub(crate) fn start(&self, event: StdArc<DrainEvent>) {
        let mut published = lock(&self.home.published);
        if published.event.is_some() {
            return;
        }
        published.deadline = event.deadline().map_or(NEVER, |_| micros(event.drain_time));
        let progress = published.progress(&event, State::Draining, 0);
        published.event = Some(event);
        self.publish(&mut published, Word::IDLE.then(progress));
        for shard in self.home.shards() {
            shard.count().begin();
        }
        self.home.ask_for_barrier();
        drop(published);
        // Whoever waits for the end of a drain that had not begun looks again.
        self.home.completion.wake();
    }

    /// The same drain for everybody. Whether it was narrower before.
    pub(crate) fn widen(&self) -> bool {
        let mut published = lock(&self.home.published);
        let Some(event) = published.event.as_deref() else {
            return false;
        };
        if event.direction == DrainDirection::All {
            return false;
        }
        let event = event.clone().with_direction(DrainDirection::All);
        let mut state = published.word.state();
        if state == State::Completed && self.home.shards().any(|shard| shard.outside() > 0) {
            state = State::Draining;
            for shard in self.home.shards() {
                shard.count().reopen();
            }
        }
        let progress = published.progress(&event, state, published.pace);
        published.event = Some(StdArc::new(event));
        let word = published.word.then(progress);
        self.publish(&mut published, word);
        drop(published);
        self.home.completion.wake();
        true
    }

    pub(crate) fn bring_forward(&self, deadline: Instant) {
        let mut published = lock(&self.home.published);
        let Some(event) = published.event.clone() else {
            return;
        };
        let deadline = micros(deadline.saturating_duration_since(event.start));
        if deadline >= published.deadline {
            return;
        }
        published.deadline = deadline;
        let progress = published.progress(&event, published.word.state(), published.pace);
        let word = published.word.then(progress);
        self.publish(&mut published, word);
        drop(published);
        // Whoever paces the drain must look again: its next step has come nearer.
        self.home.completion.wake();
    }

    /// Moves the drain on to `now`: stores the pace, wakes a batch of those whose time has come.
    pub(crate) fn advance(&self, now: Instant) -> Advance {
        let Some((event, steps, pace, is_behind)) = self.keep_pace(now) else {
            return Advance::IDLE;
        };
        let mut wakers: [Option<Waker>; BATCH] = [const { None }; BATCH];
        let (mut taken, mut parked, mut earliest) = (0, 0, u64::MAX);
        let mut shards = self.home.shards_from_mine();
        let all_seen = loop {
            let Some(shard) = shards.next() else {
                break true;
            };
            if taken == BATCH {
                break false;
            }
            let walked = shard.take_due(&mut wakers[taken..]);
            taken += walked.taken;
            parked += u64::from(walked.parked);
            earliest = earliest.min(walked.earliest);
        };
        for waker in wakers.into_iter().flatten() {
            waker.wake();
        }
        let word = Word::from_bits(self.home.word.load(Ordering::Acquire));
        let more = is_behind || !all_seen || self.home.shards().any(|shard| !shard.is_walked(word));
        let next = if more {
            Some(pace)
        } else {
            let window = telling_window(&event);
            let slot = |key| {
                let at = match (event.schedule, u16::try_from(key)) {
                    (DrainSchedule::FirstQuarter, Ok(place)) => {
                        micros(crate::schedule::Place::new(place).of(window))
                    }
                    _ => key,
                };
                at.max(pace + (parked * REST_PER_PARKED).div_ceil(1000))
            };
            let slot = (earliest != u64::MAX).then(|| slot(earliest));
            let tick = tick(&event, pace)
                .filter(|_| self.open() > 0)
                .map(|tick| pace + tick);
            [slot, tick, steps.next(pace)].into_iter().flatten().min()
        };
        Advance {
            next: next.map(|at| event.start + Duration::from_micros(at)),
            more,
        }
    }

    /// Stores how far the drain has come, unless a walk is still busy with how far it had come before: then the last value
    /// is `true`.
    fn keep_pace(&self, now: Instant) -> Option<(DrainEvent, Steps, u64, bool)> {
        let mut published = lock(&self.home.published);
        let event = published.event.as_deref()?.clone();
        let steps = Steps::new(&event, published.deadline);
        let word = published.word;
        let pace = micros(now.saturating_duration_since(event.start)).max(published.pace);
        let is_pressing = steps.at(pace) != steps.at(published.pace) || pace - published.pace >= PATIENCE;
        if pace > published.pace && (is_pressing || self.home.shards().all(|shard| shard.is_walked(word))) {
            published.pace = pace;
            let mut next = word.then(published.progress(&event, word.state(), pace));
            if next == word && next.is_envoy() {
                next = next.touched();
            }
            if next != word {
                self.publish(&mut published, next);
            }
        }
        Some((event, steps, published.pace, published.pace < pace))
    }

    /// Refuses new watchers if nobody is left. Whether the drain is completed.
    pub(crate) fn complete_if_empty(&self) -> bool {
        let mut published = lock(&self.home.published);
        let word = published.word;
        match word.state() {
            State::NotDraining => return false,
            State::Completed => return true,
            State::Draining => self.home.pass_barrier(),
        }
        if self.is_occupied(word) {
            return false;
        }
        let mut closed_empty = true;
        for shard in self.home.shards() {
            closed_empty &= shard.count().close() && (word.is_narrow() || shard.outside() == 0);
        }
        if !closed_empty {
            // A watcher that came in before the door was closed is here to stay: this was too early. One that found it
            // closed was refused, as it would be a moment later.
            for shard in self.home.shards() {
                shard.count().reopen();
            }
            return false;
        }
        self.publish_completed(&mut published);
        drop(published);
        self.home.completion.wake();
        true
    }

    /// Refuses new watchers from now on, whoever is left.
    pub(crate) fn complete(&self) {
        let mut published = lock(&self.home.published);
        if published.word.state() == State::Draining {
            self.home.pass_barrier();
            for shard in self.home.shards() {
                shard.count().close();
            }
            self.publish_completed(&mut published);
        }
        drop(published);
        self.home.completion.wake();
    }

    fn publish_completed(&self, published: &mut Published) {
        let Some(event) = published.event.clone() else {
            return;
        };
        let progress = published.progress(&event, State::Completed, published.pace);
        let word = published.word.then(progress);
        self.publish(published, word);
    }

    /// Whether the drain is over for everybody it concerns: completed, and nobody left.
    pub(crate) fn is_drained(&self) -> bool {
        let word = || Word::from_bits(self.home.word.load(Ordering::Acquire));
        if word().is_idle() {
            return false;
        }
        self.home.pass_barrier();
        // The first look spares the lock, the last is for a drain that somebody has completed meanwhile.
        !self.is_occupied(word()) && self.complete_if_empty() && !self.is_occupied(word())
    }
}
