//! What is reported to others: metrics, logs, an admin view. Nothing here can change what happens.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use drain_tree::{DrainOutcome, DrainReason};

use crate::{ListenAddress, ListenerChain, Refusal, UpdateError, VersionView};

/// Is notified of what happens to versions and sockets. Every method does nothing unless it is
/// written.
///
/// What happens to versions and filter chains is reported in the order in which it happened, one
/// call after the other, whatever thread and runtime applies updates and has the
/// [driver](crate::Listeners::new). While one thread reports, it reports also what others bring about:
/// then an update may return a moment before its events are reported. What workers have to say of
/// sockets and connections ([`accept_error`](Self::accept_error), [`refused`](Self::refused),
/// [`handler_panicked`](Self::handler_panicked)) waits for none of it.
///
/// No call holds a lock, so every method of [`Listeners`](crate::Listeners) may be called; what
/// comes of it is reported next. They must not block. A panic in one is caught and changes nothing.
pub trait ListenerObserver: Send + Sync {
    /// A version begins its life, warming.
    fn created(&self, version: &VersionView) {
        let _ = version;
    }

    /// The version accepts; `replaced` is the number of the one that accepted until now.
    fn activated(&self, version: &VersionView, replaced: Option<u64>) {
        let _ = (version, replaced);
    }

    /// A version that was warming is dropped without a drain.
    fn discarded(&self, version: &VersionView) {
        let _ = version;
    }

    /// The version accepts no more, and its connections are asked to leave.
    fn drain_started(&self, version: &VersionView, reason: DrainReason) {
        let _ = (version, reason);
    }

    /// The version's connections are asked to leave by a drain from above, an operator's or for a
    /// hot restart; the version stays, and may go on accepting.
    fn asked_to_leave(&self, version: &VersionView, reason: DrainReason) {
        let _ = (version, reason);
    }

    /// Only filter chains differ in an update: the version goes on with the new configuration
    /// (Envoy counts `listener_in_place_updated` and `listener_modified`). Drains of chains are
    /// reported next.
    fn in_place_updated(&self, version: &VersionView) {
        let _ = version;
    }

    /// The version went on without this filter chain, and the chain's connections are asked to
    /// leave.
    fn chain_drain_started(&self, chain: &Arc<ListenerChain>, reason: DrainReason) {
        let _ = (chain, reason);
    }

    /// Nothing is left of the filter chain. Called exactly once for each chain that drained by
    /// itself.
    fn chain_drained(&self, chain: &Arc<ListenerChain>, outcome: &DrainOutcome) {
        let _ = (chain, outcome);
    }

    /// Too many versions of this listener live: this one's deadline came nearer, to `deadline`.
    fn drain_hurried(&self, version: &VersionView, deadline: Instant) {
        let _ = (version, deadline);
    }

    /// Nothing is left of the version, and it is no longer listed. Called exactly once for each
    /// version that drained.
    fn drained(&self, version: &VersionView, outcome: &DrainOutcome) {
        let _ = (version, outcome);
    }

    /// The version's socket was stopped without a drain (Envoy counts `listener_stopped`).
    fn stopped(&self, version: &VersionView) {
        let _ = version;
    }

    /// A listener of an update was not taken. Its previous version goes on.
    fn update_rejected(&self, error: &UpdateError) {
        let _ = error;
    }

    /// Accepting failed and pauses before it goes on; `in_a_row` pauses so far. At most a few calls
    /// a second for each socket and worker.
    fn accept_error(&self, address: &ListenAddress, error: &io::Error, in_a_row: u32) {
        let _ = (address, error, in_a_row);
    }

    /// An accepted connection was closed at once. `version` is the number of the version that it
    /// came to.
    fn refused(&self, address: &ListenAddress, version: u64, refusal: Refusal) {
        let _ = (address, version, refusal);
    }

    /// The worker's handler panicked over a connection of this version. The connection is lost, the
    /// worker goes on.
    fn handler_panicked(&self, address: &ListenAddress, version: u64) {
        let _ = (address, version);
    }
}

/// Watches nothing.
impl ListenerObserver for () {}

/// Notifies an observer, whatever it does.
#[derive(Clone)]
pub(crate) struct Reporter(Arc<dyn ListenerObserver>);

impl Reporter {
    pub(crate) fn new(observer: Arc<dyn ListenerObserver>) -> Self {
        Self(observer)
    }

    pub(crate) fn report(&self, event: impl FnOnce(&dyn ListenerObserver)) {
        // An observer is not ours: its panic must not end an accept loop or the driver. Nothing of
        // ours is half-changed by it.
        drop(catch_unwind(AssertUnwindSafe(|| event(&*self.0))));
    }
}

impl std::fmt::Debug for Reporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reporter")
    }
}
