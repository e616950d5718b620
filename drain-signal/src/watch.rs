//! The guard: as long as one is held, its connection is there.

use std::ops::Deref;
use std::time::Duration;

use crate::handle::Hold;
use crate::node::Node;
use crate::schedule::Place;
use crate::seat::Seat;
use crate::shard::Shard;
use crate::sync::{lock, thread_and_turn};
use crate::word::State;
use crate::{DrainDecision, DrainDirection, DrainHandle};

/// The drain is completed: no new connection may join it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the drain is completed, so no connection can be opened under it")]
#[non_exhaustive]
pub struct DrainCompleted;

/// How a watcher is opened.
#[non_exhaustive]
#[derive(Debug, Clone, Copy)]
pub struct WatchOptions {
    /// Where in the queue; by default the next place of an even sequence.
    pub place: Option<Place>,
    /// What the connection needs between being told and being gone; Envoy's HCM `drain_timeout`. Only the
    /// [`Envoy140`](crate::DrainSchedule::Envoy140) schedule asks. Kept in steps of 10 ms up to 10 s, of a second up to 17
    /// minutes, rounded up. Default 0.
    pub drain_timeout: Duration,
    /// The narrowest drain that concerns the connection. Default [`DrainDirection::InboundOnly`]: every drain does. A
    /// connection in scope [`DrainDirection::All`] does not see a drain of inbound listeners, and does not hold it up.
    pub scope: DrainDirection,
}

impl Default for WatchOptions {
    #[inline]
    fn default() -> Self {
        Self {
            place: None,
            drain_timeout: Duration::ZERO,
            scope: DrainDirection::InboundOnly,
        }
    }
}

impl WatchOptions {
    /// At a given place in the queue.
    pub const fn with_place(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// With a given `drain_timeout`.
    pub const fn with_drain_timeout(mut self, drain_timeout: Duration) -> Self {
        self.drain_timeout = drain_timeout;
        self
    }

    /// Concerned by drains that go at least as far as `scope`.
    pub const fn with_scope(mut self, scope: DrainDirection) -> Self {
        self.scope = scope;
        self
    }
}

/// A connection under a drain: held means open, dropped means gone.
///
/// It derefs to its [`DrainHandle`], which asks and waits. A clone is another guard of the same connection (for the task
/// of an upgraded stream): same slot, told and forced together, gone when all are gone.
#[must_use = "dropping it says the connection is gone"]
#[derive(Debug)]
pub struct DrainWatch {
    // The handle's hold makes it the guard.
    handle: DrainHandle,
}

impl DrainWatch {
    #[inline]
    pub(crate) fn open(node: &Node, options: WatchOptions) -> Result<Self, DrainCompleted> {
        let (thread, turn) = thread_and_turn();
        let shard = node.home.shard(thread);
        // The golden-ratio sequence, which fills any window evenly at every length; each thread begins elsewhere in it.
        let next = || Place::new((turn.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48) as u16);
        let place = options.place.unwrap_or_else(next);
        let seat = Seat::new(place, options.scope, options.drain_timeout);
        if seat.is_outside() {
            return Self::open_outside(shard, seat);
        }
        let before = shard.count().enter();
        let handle = DrainHandle::new(shard, seat, Hold::Watcher);
        if before.is_idle() {
            return Ok(Self { handle });
        }
        if before.is_completed() {
            return Err(DrainCompleted);
        }
        Ok(Self::open_late(handle))
    }

    #[cold]
    fn open_outside(shard: &'static Shard, seat: Seat) -> Result<Self, DrainCompleted> {
        let before = shard.enter_outside();
        let handle = DrainHandle::new(shard, seat, Hold::Outside);
        if before.is_idle() {
            return Ok(Self { handle });
        }
        let word = lock(&shard.home.published).word;
        if before.is_completed() && word.state() == State::Completed && !word.is_narrow() {
            return Err(DrainCompleted);
        }
        Ok(Self::open_late(handle))
    }

    /// During a drain: the slot lies in what is left of the window.
    #[cold]
    fn open_late(mut handle: DrainHandle) -> Self {
        let published = lock(&handle.shard.home.published);
        if let (Some(event), true) = (&published.event, handle.seat.is_concerned(published.word)) {
            let opened = Duration::from_micros(published.pace);
            handle.seat = handle.seat.opened_during(event, opened);
        }
        drop(published);
        Self { handle }
    }

    /// A handle that is not counted.
    pub fn handle(&self) -> DrainHandle {
        self.handle.clone()
    }
}

impl Deref for DrainWatch {
    type Target = DrainHandle;

    #[inline]
    fn deref(&self) -> &DrainHandle {
        &self.handle
    }
}

impl DrainDecision for DrainWatch {
    #[inline]
    fn drain_close(&self) -> bool {
        self.handle.drain_close()
    }
}

impl Clone for DrainWatch {
    /// Another guard of the same connection. It never fails, also after completion: the connection was there.
    fn clone(&self) -> Self {
        Self {
            handle: self.handle.share(self.handle.hold()),
        }
    }
}
