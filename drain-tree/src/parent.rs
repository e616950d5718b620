//! Parent shutdown: when, after a hot restart, the new process asks the old one to end.

use std::time::Instant;

use tokio::time::Sleep;

use crate::run::later;
use crate::{DrainManager, DrainSettings};

/// When the parent shutdown sequence of a tree was begun: once.
#[derive(Debug, Default)]
pub(crate) struct ParentShutdownStart(std::sync::OnceLock<Instant>);

impl DrainSettings {
    /// When a process replaced at `start` is asked to end: `parent_shutdown_time` (900 s) later.
    ///
    /// # Examples
    ///
    /// ```
    /// # #![allow(clippy::disallowed_methods, reason = "an example needs some instant")]
    /// use std::time::{Duration, Instant};
    /// use drain_tree::DrainSettings;
    ///
    /// let start = Instant::now();
    /// let at = DrainSettings::default().parent_shutdown_at(start);
    /// assert_eq!(at, start + Duration::from_secs(900));
    /// ```
    pub fn parent_shutdown_at(&self, start: Instant) -> Instant {
        later(start, self.parent_shutdown_time)
    }

    /// Whether a replaced process lives long enough to drain: `parent_shutdown_time` exceeds `drain_time`.
    ///
    /// Source: [`--parent-shutdown-time-s`](https://www.envoyproxy.io/docs/envoy/latest/operations/cli), "should be greater
    /// than the drain time".
    pub fn parent_outlives_drain(&self) -> bool {
        self.parent_shutdown_time > self.drain_time
    }
}

impl DrainManager {
    /// Resolves when the process this one has replaced is to be asked to end: `parent_shutdown_time` after the first
    /// call of this method in the tree. What to ask, and of whom, is the caller's; without hot restart, do not call it.
    ///
    /// A timer and no more: it drains nothing. Later calls join the first, as in
    /// [`startParentShutdownSequence`](https://github.com/envoyproxy/envoy/blob/main/source/server/drain_manager_impl.cc),
    /// which may be started once.
    ///
    /// # Panics
    ///
    /// When called outside a tokio runtime with time enabled.
    #[doc(alias = "startParentShutdownSequence")]
    pub fn start_parent_shutdown_sequence(&self) -> Sleep {
        let shared = self.shared();
        let start = &shared.parent_shutdown.0;
        let start = start.get_or_init(|| tokio::time::Instant::now().into_std());
        tokio::time::sleep_until(shared.settings.parent_shutdown_at(*start).into())
    }
}
