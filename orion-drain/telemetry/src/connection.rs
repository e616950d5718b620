//! Events and spans of a connection: its states, the steps of its drain, and how it ended.

use std::future::Future;
use std::sync::OnceLock;

use conn_tracker::{CloseReason, ConnGuard, ConnState};
use drain_signal::DrainHandle;
use tracing::field::{DisplayValue, Empty, display};
use tracing::{Instrument, Span, debug, debug_span, info_span, warn};

use super::DrainId;
pub use super::listeners::ListenerTrace;
pub use super::listeners::in_update;

/// The spans of one connection; those without a subscriber are nothing.
#[derive(Debug)]
pub struct ConnTrace {
    /// From accept to close.
    connection: Span,
    /// Apart, since most connections of most servers are not leaving.
    goodbye: OnceLock<Box<GoodbyeSpans>>,
}

#[derive(Debug)]
struct GoodbyeSpans {
    /// From its goodbye to close.
    handler: Span,
    /// From the last word, or the deadline, to close.
    deadline: OnceLock<Span>,
}

fn drain_id(drain: &DrainHandle) -> Option<DisplayValue<DrainId>> {
    drain.event().map(|event| display(DrainId::of(&event)))
}

impl ConnTrace {
    /// A connection was accepted.
    pub fn opened(guard: &ConnGuard) -> Self {
        let connection = info_span!(
            target: "orion_drain::connection", parent: None, "connection",
            conn_id = %guard.id(), listener = Empty, version = Empty, protocol = Empty, drain_id = Empty, close_reason = Empty,
        );
        Self {
            connection,
            goodbye: OnceLock::new(),
        }
    }

    fn goodbye(&self, guard: &ConnGuard, drain: &DrainHandle) -> &GoodbyeSpans {
        self.goodbye.get_or_init(|| {
            let handler = debug_span!(
                target: "orion_drain::progress", parent: &self.connection, "drain_handler",
                conn_id = %guard.id(), protocol = guard.protocol().as_str(), drain_id = drain_id(drain),
            );
            Box::new(GoodbyeSpans {
                handler,
                deadline: OnceLock::new(),
            })
        })
    }

    /// Which listener, and which of its versions, it belongs to.
    pub fn entered(&self, listener: &str, version: u64) {
        self.connection.record("listener", listener);
        self.connection.record("version", version);
        let span = &self.connection;
        debug!(target: "orion_drain::connection", parent: span, listener, version, to = "active", "connection state");
    }

    /// Its state in the registry changed.
    pub fn moved(&self, guard: &ConnGuard, from: ConnState, to: ConnState) {
        debug!(
            target: "orion_drain::connection", parent: &self.connection,
            conn_id = %guard.id(), from = from.as_str(), to = to.as_str(), "connection state",
        );
    }

    /// Its goodbye began.
    pub fn started(&self, guard: &ConnGuard, drain: &DrainHandle) {
        let protocol = guard.protocol().as_str();
        if let Some(id) = drain.event().filter(|_| !self.connection.is_disabled()) {
            self.connection
                .record("drain_id", display(DrainId::of(&id)));
        }
        self.goodbye(guard, drain);
        debug!(
            target: "orion_drain::progress", parent: &self.connection,
            conn_id = %guard.id(), drain_id = drain_id(drain), protocol, kind = guard.kind().as_str(), step = "start",
            "drain step",
        );
    }

    /// It gets its last chance to end by itself.
    pub fn finishing(&self, guard: &ConnGuard, drain: &DrainHandle) {
        self.at_deadline(guard, drain);
        debug!(
            target: "orion_drain::progress", parent: &self.connection,
            conn_id = %guard.id(), drain_id = drain_id(drain), protocol = guard.protocol().as_str(),
            kind = guard.kind().as_str(), step = "finish", "drain step",
        );
    }

    /// Its deadline is over: it is cut.
    pub fn aborting(&self, guard: &ConnGuard, drain: &DrainHandle) {
        self.at_deadline(guard, drain);
        warn!(
            target: "orion_drain::progress", parent: &self.connection,
            conn_id = %guard.id(), drain_id = drain_id(drain), protocol = guard.protocol().as_str(),
            kind = guard.kind().as_str(), step = "abort", "drain timeout",
        );
    }

    fn at_deadline(&self, guard: &ConnGuard, drain: &DrainHandle) {
        let goodbye = self.goodbye(guard, drain);
        goodbye.deadline.get_or_init(|| {
            debug_span!(
                target: "orion_drain::progress", parent: &goodbye.handler, "drain_deadline",
                conn_id = %guard.id(), protocol = guard.protocol().as_str(), drain_id = drain_id(drain),
            )
        });
    }

    /// It is closed.
    pub fn closed(&self, guard: &ConnGuard, drain: &DrainHandle) {
        let told = guard.state() > ConnState::Active;
        let by_itself = match told {
            _ if std::thread::panicking() => CloseReason::Panicked,
            true => CloseReason::Drained,
            false => CloseReason::Finished,
        };
        let reason = guard.close_reason().unwrap_or(by_itself);
        let (protocol, close_reason) = (guard.protocol().as_str(), reason.as_str());
        self.connection.record("protocol", protocol);
        self.connection.record("close_reason", close_reason);
        self.moved(guard, guard.state(), ConnState::Closed);
        if reason.is_forced() {
            warn!(
                target: "orion_drain::close", parent: &self.connection,
                conn_id = %guard.id(), drain_id = drain_id(drain), protocol, close_reason, "connection closed by force",
            );
        } else {
            debug!(
                target: "orion_drain::close", parent: &self.connection,
                conn_id = %guard.id(), drain_id = drain_id(drain), protocol, close_reason, "connection closed",
            );
        }
    }

    /// Takes a step of the goodbye in its span.
    pub fn handler<T>(&self, step: impl FnOnce() -> T) -> T {
        let goodbye = self.goodbye.get();
        goodbye
            .map_or(&self.connection, |goodbye| &goodbye.handler)
            .in_scope(step)
    }

    /// Does this in the connection's span.
    pub fn inside<T>(&self, does: impl FnOnce() -> T) -> T {
        self.connection.in_scope(does)
    }

    /// Serves the connection in its span. Dropping the returned future drops `future`.
    pub fn around<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        future.instrument(self.connection.clone())
    }
}
