//! Without the feature `tracing`: there are no events, and nothing is kept.

use std::future::Future;

use conn_tracker::{ConnGuard, ConnState};
use drain_signal::DrainHandle;
use listener_versions::ListenerObserver;

/// Events and spans of a connection.
#[derive(Debug)]
#[non_exhaustive]
pub struct ConnTrace;

impl ConnTrace {
    /// A connection was accepted.
    pub const fn opened(_: &ConnGuard) -> Self {
        Self
    }

    /// Which listener, and which of its versions, it belongs to.
    pub const fn entered(&self, _: &str, _: u64) {}

    /// Its state in the registry changed.
    pub const fn moved(&self, _: &ConnGuard, _: ConnState, _: ConnState) {}

    /// Its goodbye began.
    pub const fn started(&self, _: &ConnGuard, _: &DrainHandle) {}

    /// It gets its last chance to end by itself.
    pub const fn finishing(&self, _: &ConnGuard, _: &DrainHandle) {}

    /// Its deadline is over: it is cut.
    pub const fn aborting(&self, _: &ConnGuard, _: &DrainHandle) {}

    /// It is closed.
    pub const fn closed(&self, _: &ConnGuard, _: &DrainHandle) {}

    /// Takes a step of the goodbye in its span.
    pub fn handler<T>(&self, step: impl FnOnce() -> T) -> T {
        step()
    }

    /// Does this in the connection's span.
    pub fn inside<T>(&self, does: impl FnOnce() -> T) -> T {
        does()
    }

    /// Serves the connection in its span.
    pub const fn around<F>(&self, future: F) -> F {
        future
    }
}

/// Events of listeners.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ListenerTrace;

impl ListenerTrace {
    /// No drain is known yet.
    pub const fn new() -> Self {
        Self
    }
}

impl ListenerObserver for ListenerTrace {}

/// The future of an update; with the feature `tracing` in a span. Dropping the returned future drops
/// `future`.
pub fn in_update<F: Future>(_: &str, future: F) -> impl Future<Output = F::Output> + use<F> {
    future
}
