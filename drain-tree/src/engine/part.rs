//! A node's part in a sequence, and the protocol by which nodes without connections cost nothing.
//!
//! ```text
//!  opening a watch                    taking an empty part out of the list (under the sequence's lock)
//!  1 count the watch in               1 count the part as unlisted
//!  2 fence                            2 fence
//!  3 is a part of the node unlisted?  3 is a watch open?
//!    then list it                       then take 1 back
//! ```
//!
//! Of the two reads at least one sees the other side's count, so no watch is open at a part that
//! stays unlisted (invariant 5). A drain that begins at a node counts its part as unlisted before
//! it publishes, and reads the watches afterwards: the same pair. Modelled in `tests/loom.rs`.

use std::sync::{Arc, OnceLock, Weak};
use std::task::{Wake, Waker};
use std::time::Instant;

use drain_signal::{DrainEvent, Draining};
use drain_sync::{AtomicUsize, Ordering, fence};

use super::ending::Last;
use super::sequence::Sequence;

/// How many of a node's parts are unlisted.
pub(crate) struct Unlisted(AtomicUsize);

impl Unlisted {
    pub(crate) fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// Whether there are any: a hint. Relaxed, pairs with nothing: a stale answer is corrected by
    /// [`any_after_opening`](Self::any_after_opening).
    pub(crate) fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    /// Whether a part must be listed for a watch that was just opened.
    ///
    /// The fence (SeqCst) pairs with that in [`Part::is_empty_unlisted`]. Without it the load could
    /// be done before the watch is counted, and both sides could miss each other: a watch would be
    /// open at a part that no task looks at.
    pub(crate) fn any_after_opening(&self) -> bool {
        fence(Ordering::SeqCst);
        self.any()
    }

    /// Relaxed: the fences order it against the watches, the sequence's lock against other changes.
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Relaxed, as [`add`](Self::add): it follows the listing of the part, under the same lock.
    fn remove(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A node's part in one sequence.
pub(crate) struct Part {
    pub(crate) draining: Draining,
    unlisted: Arc<Unlisted>,
    sequence: Weak<Sequence>,
    /// Among the sequence's members.
    pub(crate) member: OnceLock<usize>,
    place: AtomicUsize,
    waker: OnceLock<Waker>,
}

/// Where a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Unlisted,
    Listed(usize),
    /// The sequence is over, and the node need not ask any more.
    Released,
}

const UNLISTED: usize = usize::MAX;
const RELEASED: usize = usize::MAX - 1;

impl Part {
    /// Not listed; `unlisted` counts it already.
    pub(crate) fn new(
        draining: Draining,
        unlisted: Arc<Unlisted>,
        sequence: Weak<Sequence>,
    ) -> Self {
        Self {
            draining,
            unlisted,
            sequence,
            member: OnceLock::new(),
            place: AtomicUsize::new(UNLISTED),
            waker: OnceLock::new(),
        }
    }

    /// Relaxed: read and changed under the sequence's lock only, which orders it.
    pub(crate) fn place(&self) -> Place {
        match self.place.load(Ordering::Relaxed) {
            UNLISTED => Place::Unlisted,
            RELEASED => Place::Released,
            key => Place::Listed(key),
        }
    }

    /// Relaxed, as [`place`](Self::place).
    pub(crate) fn set_place(&self, place: Place) {
        let was_unlisted = self.place() == Place::Unlisted;
        let key = match place {
            Place::Unlisted => UNLISTED,
            Place::Released => RELEASED,
            Place::Listed(key) => key,
        };
        self.place.store(key, Ordering::Relaxed);
        match (was_unlisted, key == UNLISTED) {
            (true, false) => self.unlisted.remove(),
            (false, true) => self.unlisted.add(),
            _ => {}
        }
    }

    /// Whether no watch is open that the drain concerns.
    pub(crate) fn is_empty(&self) -> bool {
        self.draining.concerned_watches() == 0
    }

    /// The same, for a part that has just been counted as unlisted. The fence (SeqCst) pairs with
    /// that in [`Unlisted::any_after_opening`]; without it the watches could be read before the
    /// part counts as unlisted.
    pub(crate) fn is_empty_unlisted(&self) -> bool {
        fence(Ordering::SeqCst);
        self.is_empty()
    }

    /// Whether the node's drain concerns more connections than a sequence with this event.
    pub(crate) fn is_widened(&self, event: &DrainEvent) -> bool {
        let own = self.draining.event();
        own.is_some_and(|own| own.direction > event.direction)
    }

    /// The sequence with `event` is over, as `last` says.
    pub(crate) fn complete(&self, event: &DrainEvent, last: Last, now: Instant) {
        match last {
            Last::TimeOver => {
                self.draining.advance(now);
            }
            // The wider drain here goes on.
            Last::Empty if self.is_widened(event) => {
                self.draining.complete_if_empty();
            }
            Last::Empty | Last::Overdue => self.draining.complete(),
        }
    }

    /// Has its sequence look when its last watch is dropped, or its deadline comes nearer. Once:
    /// register first, look afterwards.
    pub(crate) fn register(self: &Arc<Self>) {
        let change = || {
            Waker::from(Arc::new(Change {
                part: Arc::downgrade(self),
            }))
        };
        self.draining.wake_on_change(self.waker.get_or_init(change));
    }
}

/// Reports a change of a part to its sequence. Weak: the part's own drain keeps the waker.
struct Change {
    part: Weak<Part>,
}

impl Wake for Change {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let Some(part) = self.part.upgrade() else {
            return;
        };
        if let Some(sequence) = part.sequence.upgrade() {
            sequence.changed(&part);
        }
    }
}
