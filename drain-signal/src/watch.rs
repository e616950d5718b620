//! The guard: as long as one is held, its connection is there.

use std::ops::Deref;
use std::time::Duration;

use crate::phase::Seat;
use crate::schedule::Place;
use crate::shard::State;
use crate::sync::Arc;
use crate::{DrainDecision, DrainHandle, node, node::Node};

/// The drain is completed: no new connection may join it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the drain is completed, so no connection can be opened under it")]
#[non_exhaustive]
pub struct DrainCompleted;

/// How a watcher is opened.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default)]
pub struct WatchOptions {
    /// Where in the queue; by default the next place of an even sequence.
    pub place: Option<Place>,
    /// What the connection needs between being told and being gone; Envoy's HCM `drain_timeout`. Only the
    /// [`Envoy140`](crate::DrainSchedule::Envoy140) schedule asks. Default 0.
    pub drain_timeout: Duration,
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
}

/// A connection under a drain: held means open, dropped means gone.
///
/// It derefs to its [`DrainHandle`], which asks and waits. A clone is another guard of the same connection (for the task
/// of an upgraded stream): same slot, told and forced together, gone when all are gone.
#[must_use = "dropping it says the connection is gone"]
#[derive(Debug)]
pub struct DrainWatch {
    handle: DrainHandle,
}

impl DrainWatch {
    pub(crate) fn open(node: &Node, options: WatchOptions) -> Result<Self, DrainCompleted> {
        let shard = node.my_shard();
        let word = shard.enter();
        if word.state() == State::Completed {
            shard.leave();
            return Err(DrainCompleted);
        }
        let opened = word.is_draining().then(|| Duration::from_micros(word.pace()));
        let place = options.place.unwrap_or_else(node::next_place);
        let seat = Seat::new(place, opened, options.drain_timeout);
        Ok(Self {
            handle: DrainHandle::new(Arc::clone(shard), seat),
        })
    }

    /// A handle that is not counted.
    pub fn handle(&self) -> DrainHandle {
        self.handle.clone()
    }
}

impl Deref for DrainWatch {
    type Target = DrainHandle;

    fn deref(&self) -> &DrainHandle {
        &self.handle
    }
}

impl DrainDecision for DrainWatch {
    fn drain_close(&self) -> bool {
        self.handle.drain_close()
    }
}

impl Clone for DrainWatch {
    /// Another guard of the same connection. It never fails, also after completion: the connection was there.
    fn clone(&self) -> Self {
        let handle = self.handle.clone();
        handle.shard.enter();
        Self { handle }
    }
}

impl Drop for DrainWatch {
    fn drop(&mut self) {
        self.handle.shard.leave();
    }
}
