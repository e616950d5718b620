//! The guard: as long as one is held, its connection is there.

use std::ops::Deref;
use std::time::Duration;

use crate::count::Found;
use crate::handle::Hold;
use crate::home::Home;
use crate::schedule::Place;
use crate::seat::Seat;
use crate::shard::Shard;
use crate::sync::lock;
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
    pub(crate) fn open(home: &'static Home) -> Result<Self, DrainCompleted> {
        let (shard, place, found) = home.enter();
        let seat = Seat::new(place, DrainDirection::InboundOnly, Duration::ZERO);
        if found.is_idle() {
            let handle = DrainHandle::new(shard, seat, Hold::Watcher);
            return Ok(Self { handle });
        }
        Self::open_during(shard, seat, found)
    }

    pub(crate) fn open_with(home: &'static Home, options: WatchOptions) -> Result<Self, DrainCompleted> {
        let seat = |place| {
            let place = options.place.unwrap_or(place);
            Seat::new(place, options.scope, options.drain_timeout)
        };
        if options.scope == DrainDirection::All {
            let shard = home.my_shard();
            let (place, found) = shard.enter_outside();
            return Self::open_outside(shard, seat(place), found);
        }
        let (shard, place, found) = home.enter();
        Self::open_during(shard, seat(place), found)
    }

    #[inline(never)]
    fn open_during(shard: &'static Shard, seat: Seat, found: Found) -> Result<Self, DrainCompleted> {
        let handle = DrainHandle::new(shard, seat, Hold::Watcher);
        if found.is_idle() {
            return Ok(Self { handle });
        }
        if found.is_completed() {
            return Err(DrainCompleted);
        }
        Ok(Self::open_late(handle))
    }

    fn open_outside(shard: &'static Shard, seat: Seat, found: Found) -> Result<Self, DrainCompleted> {
        let handle = DrainHandle::new(shard, seat, Hold::Outside);
        if found.is_idle() {
            return Ok(Self { handle });
        }
        let word = lock(&shard.home.published).word;
        if found.is_completed() && word.state() == State::Completed && !word.is_narrow() {
            return Err(DrainCompleted);
        }
        Ok(Self::open_late(handle))
    }

    /// During a drain: the slot lies in what is left of the window.
    #[cold]
    fn open_late(mut handle: DrainHandle) -> Self {
        let published = lock(&handle.shard.home.published);
        if let (Some(event), true) = (&published.event, handle.berth.seat.is_concerned(published.word)) {
            let opened = Duration::from_micros(published.pace);
            handle.berth.seat = handle.berth.seat.opened_during(event, opened);
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

impl AsRef<DrainHandle> for DrainWatch {
    fn as_ref(&self) -> &DrainHandle {
        &self.handle
    }
}

impl DrainDecision for DrainWatch {
    #[inline]
    fn drain_close(&self) -> bool {
        self.handle.drain_close()
    }

    fn progress(&self) -> Option<u16> {
        self.handle.progress()
    }

    fn leave_early(&self) -> bool {
        self.handle.leave_early()
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
