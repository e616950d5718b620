//! A drain as a whole: opens watches, begins, widens, comes nearer its deadline, completes. Facts
//! change under one lock.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use drain_sync::{MutexGuard, PerShard};

use super::connection::Connection;
use super::count::{Count, Found};
use super::shard::Shard;
use super::slot::Slot;
use super::state::{Published, State};
use super::word::Word;
use crate::schedule::micros;
use crate::{
    DrainCompleted, DrainDirection, DrainEvent, DrainState, DrainedBy, Phase, WatchOptions,
};

/// Shared by the trigger, the signals and the begun drain; watches and handles keep their shard and
/// the state beyond it.
#[derive(Default)]
pub(crate) struct Drain {
    pub(crate) state: Arc<State>,
    pub(crate) shards: PerShard<Arc<Shard>>,
}

/// With nothing locked, and as short however many connections there are.
impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain")
            .field("state", &self.state.word().state())
            .field("open_watches", &self.open_watches())
            .finish_non_exhaustive()
    }
}

const BOTH: [DrainedBy; 2] = [DrainedBy::Any, DrainedBy::Full];

impl Drain {
    /// All open watches.
    pub(crate) fn open_watches(&self) -> usize {
        self.watches(&BOTH)
    }

    /// All open watches that the drain concerns; all of them if none is on.
    pub(crate) fn concerned_watches(&self) -> usize {
        self.watches(concerned(self.state.word()))
    }

    fn watches(&self, which: &'static [DrainedBy]) -> usize {
        self.counts(which).map(Count::watches).sum()
    }

    /// The counts of the watches that are drained by one of `which`.
    fn counts(&self, which: &'static [DrainedBy]) -> impl Iterator<Item = &Count> {
        let shards = self.shards.iter();
        shards.flat_map(move |shard| which.iter().map(|&by| shard.count(by)))
    }

    /// A handle of every connection that waits, and that neither the drain nor a handle has
    /// notified.
    pub(crate) fn waiting(&self) -> Vec<Connection> {
        let mut found = vec![];
        for shard in self.shards.iter() {
            Connection::waiting_in(shard, &mut found);
        }
        found.retain(|connection| connection.phase() == Phase::Open);
        found
    }

    /// Opens a watch: the connection, counted in.
    #[inline]
    pub(crate) fn open(&self, options: WatchOptions) -> Result<Connection, DrainCompleted> {
        let shard = self.my_shard();
        let found = shard.count(options.drained_by).open();
        let place = options.place.unwrap_or(found.place());
        let slot = Slot::new(place, options.drained_by, options.drain_timeout);
        let connection = Connection::new(Arc::clone(shard), slot);
        if found.is_idle() {
            return Ok(connection);
        }
        Self::open_late(connection, found)
    }

    /// Under a drain: the slot lies in what is left of the window; or the drain is completed
    /// (invariant 3).
    #[cold]
    #[inline(never)]
    fn open_late(mut connection: Connection, found: Found) -> Result<Connection, DrainCompleted> {
        let shard = Arc::clone(&connection.shard);
        let published = shard.state.lock();
        if found.is_closed() && published.word.state() == DrainState::Completed {
            drop(published);
            connection.count_out();
            return Err(DrainCompleted);
        }
        if let Some(event) = &published.event {
            let opened = Duration::from_micros(published.pace);
            connection.slot = connection.slot.opened_during(event, opened);
        }
        drop(published);
        Ok(connection)
    }

    #[inline]
    fn my_shard(&self) -> &Arc<Shard> {
        let shard = self.shards.mine();
        shard.unwrap_or_else(|| self.make_shard())
    }

    #[cold]
    #[inline(never)]
    fn make_shard(&self) -> &Arc<Shard> {
        let published = self.state.lock();
        let make = || Arc::new(Shard::new(&self.state, published.word, first_turn()));
        self.shards.mine_or_init(make)
    }

    /// Begins the drain: once, as there is one trigger.
    pub(crate) fn start(&self, event: Arc<DrainEvent>) {
        let mut published = self.state.lock();
        published.deadline = event.deadline().map(|_| micros(event.drain_time));
        published.event = Some(event);
        self.publish(published, DrainState::Draining);
    }

    /// Publishes the facts, sets the bit of every count that the drain concerns, and wakes the
    /// tasks that look again: those that pace the drain or wait for its end.
    fn publish(&self, mut published: MutexGuard<'_, Published>, state: DrainState) {
        let word = published.next_word(state);
        self.state.publish(&mut published, word);
        self.counts(concerned(word)).for_each(Count::begin);
        drop(published);
        self.state.waiters.wake_all();
    }

    /// The same drain for all connections. Whether it was narrower before.
    pub(crate) fn widen(&self) -> bool {
        let mut published = self.state.lock();
        let event = published.event.as_deref();
        let Some(event) = event.filter(|event| event.direction != DrainDirection::All) else {
            return false;
        };
        let event = Arc::new(event.clone().with_direction(DrainDirection::All));
        let mut state = published.word.state();
        if state == DrainState::Completed && !self.close_counts(&[DrainedBy::Full]) {
            state = DrainState::Draining;
            self.counts(&BOTH).for_each(Count::reopen);
        }
        published.event = Some(event);
        self.publish(published, state);
        true
    }

    pub(crate) fn bring_forward(&self, deadline: Instant) {
        let mut published = self.state.lock();
        let Some(event) = &published.event else {
            return;
        };
        let deadline = micros(deadline.saturating_duration_since(event.start));
        if published.deadline.is_some_and(|known| known <= deadline) {
            return;
        }
        published.deadline = Some(deadline);
        let state = published.word.state();
        self.publish(published, state);
    }

    /// Closes the counts of those drained by one of `which` (invariant 3). Whether all were empty.
    fn close_counts(&self, which: &'static [DrainedBy]) -> bool {
        let not_empty = self.counts(which).filter(|count| !count.close());
        not_empty.count() == 0
    }

    /// Refuses new watches from now on, if no watch is open or `also_if_open`. Whether the drain is
    /// completed.
    pub(crate) fn complete(&self, also_if_open: bool) -> bool {
        let published = self.state.lock();
        let state = published.word.state();
        if state != DrainState::Draining {
            return state == DrainState::Completed;
        }
        let which = concerned(published.word);
        // The look spares threads that open watches the wait for a decision that is known.
        if !also_if_open && self.watches(which) > 0 {
            return false;
        }
        if !self.close_counts(which) && !also_if_open {
            self.counts(which).for_each(Count::reopen);
            return false;
        }
        self.publish(published, DrainState::Completed);
        true
    }

    /// Whether every wait that is over at `word` has been taken.
    pub(crate) fn is_walked(&self, word: Word) -> bool {
        self.shards.iter().all(|shard| shard.is_walked(word))
    }

    /// Whether the drain is over: completed, and no watch that it concerns is open.
    pub(crate) fn is_drained(&self) -> bool {
        // The last look is for a drain that was completed with watches left, or widened meanwhile.
        self.concerned_watches() == 0 && self.complete(false) && self.concerned_watches() == 0
    }
}

/// Which watches the drain concerns; all, if none is on.
const fn concerned(word: Word) -> &'static [DrainedBy] {
    if word.is_idle() || word.concerns(DrainedBy::Full) {
        &BOTH
    } else {
        &[DrainedBy::Any]
    }
}

/// Each shard begins elsewhere in the queue, so that the connections of a thousand drains with a
/// connection each have as many slots.
fn first_turn() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // A model must be the same each time.
    if cfg!(any(loom, shuttle)) {
        return 0;
    }
    // Relaxed: numbers need to differ, and order nothing.
    NEXT.fetch_add(1, Ordering::Relaxed)
}
