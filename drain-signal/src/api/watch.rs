//! The guard of a connection: the connection is open as long as one exists.

use std::ops::Deref;
use std::time::Duration;

use crate::schedule::Place;
use crate::{DrainHandle, DrainedBy};

/// The drain is completed: no new connection may join it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the drain is completed, so no connection can be opened under it")]
#[non_exhaustive]
pub struct DrainCompleted;

/// How a watch is opened.
///
/// # Examples
///
/// ```
/// use drain_signal::{DrainedBy, WatchOptions};
///
/// let (_trigger, signal) = drain_signal::channel();
/// // A connection of an egress listener: a drain of inbound listeners does not concern it.
/// let watch = signal.watch_with(WatchOptions::default().with_drained_by(DrainedBy::Full))?;
/// assert!(!watch.is_draining());
/// # Ok::<(), drain_signal::DrainCompleted>(())
/// ```
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default)]
pub struct WatchOptions {
    /// Where in the queue; by default the next place of an even sequence.
    pub place: Option<Place>,
    /// What the connection needs between being notified and being gone; Envoy's HCM
    /// `drain_timeout`. Only the [`Envoy140`](crate::DrainSchedule::Envoy140) schedule asks. Kept
    /// in steps of 10 ms up to 10 s, of a second up to 17 minutes, rounded up. Default 0.
    pub drain_timeout: Duration,
    /// Which drains concern the connection. Default [`DrainedBy::Any`].
    pub drained_by: DrainedBy,
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

    /// With given drains that concern the connection.
    pub const fn with_drained_by(mut self, drained_by: DrainedBy) -> Self {
        self.drained_by = drained_by;
        self
    }
}

/// A connection under a drain: open as long as this exists, gone when it is dropped.
///
/// It derefs to its [`DrainHandle`], which asks and waits. A clone is another guard of the same
/// connection (for the task of an upgraded stream): same slot, notified and forced together, gone
/// when all are gone.
#[must_use = "dropping it says the connection is gone"]
#[derive(Debug)]
pub struct DrainWatch {
    /// Of a connection that is counted in.
    pub(crate) handle: DrainHandle,
}

impl DrainWatch {
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

impl Clone for DrainWatch {
    /// Another guard of the same connection. It never fails, also after completion: the connection
    /// was there.
    fn clone(&self) -> Self {
        self.connection.count_another();
        Self {
            handle: self.handle.clone(),
        }
    }
}

impl Drop for DrainWatch {
    #[inline]
    fn drop(&mut self) {
        self.connection.count_out();
    }
}
