//! Without the feature `tracing`: nothing is told, and nothing is kept.

use std::future::Future;

use conn_tracker::{ConnGuard, ConnState};
use drain_signal::DrainHandle;
use listener_versions::ListenerObserver;

/// What a connection tells.
#[derive(Debug)]
pub(crate) struct ConnTrace;

#[expect(clippy::unused_self, reason = "the same calls as with the feature")]
impl ConnTrace {
    pub(crate) const fn opened(_: &ConnGuard) -> Self {
        Self
    }

    pub(crate) const fn entered(&self, _: &str, _: u64) {}

    pub(crate) const fn moved(&self, _: &ConnGuard, _: ConnState, _: ConnState) {}

    pub(crate) const fn started(&self, _: &ConnGuard, _: &DrainHandle) {}

    pub(crate) const fn finishing(&self, _: &ConnGuard, _: &DrainHandle) {}

    pub(crate) const fn aborting(&self, _: &ConnGuard, _: &DrainHandle) {}

    pub(crate) const fn closed(&self, _: &ConnGuard, _: &DrainHandle) {}

    pub(crate) fn handler<T>(&self, step: impl FnOnce() -> T) -> T {
        step()
    }

    pub(crate) const fn around<F>(&self, future: F) -> F {
        future
    }
}

/// What is told of listeners.
#[derive(Debug, Clone)]
pub(crate) struct ListenerTrace;

impl ListenerTrace {
    pub(crate) const fn new() -> Self {
        Self
    }
}

impl ListenerObserver for ListenerTrace {}

/// The future of an update; with the feature `tracing` in a span.
pub fn in_update<F: Future>(_: &str, future: F) -> impl Future<Output = F::Output> + use<F> {
    future
}
