//! Events of listeners: versions, drains, refused configuration, cleaning up.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use drain_signal::DrainEvent;
use drain_tree::{DrainOutcome, DrainReason};
use listener_versions::{
    ListenAddress, ListenerChain, ListenerObserver, Refusal, UpdateError, VersionView,
};
use tracing::field::{DisplayValue, Empty, display};
use tracing::{Instrument, Level, Span, debug, enabled, info, info_span, warn};

use super::DrainId;

/// The span of an update: apply it in this, and the drains that it begins are below it.
/// [`in_update`] does so, with the feature `tracing` and without.
pub fn lds_update(version_info: &str) -> Span {
    info_span!(target: "orion_drain::listener", "lds_update", version_info)
}

/// Applies an update in its span, so that the drains that it begins are below it. Without the
/// feature `tracing` it is the future as it is. Dropping the returned future drops `future`.
///
/// ```
/// # async fn update(apply: impl Future<Output = ()>) {
/// orion_drain_telemetry::in_update("version 7", apply).await; // apply: listeners.apply(update)
/// # }
/// ```
pub fn in_update<F: Future>(
    version_info: &str,
    future: F,
) -> impl Future<Output = F::Output> + use<F> {
    future.instrument(lds_update(version_info))
}

/// Which drain: of a version, or of a filter chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Of {
    Version(u64),
    Chain(u64),
}

/// Logs what listener-versions reports. It keeps the id and the span of every drain until the drain
/// is over.
#[derive(Debug, Clone, Default)]
pub struct ListenerTrace {
    drains: Arc<Mutex<HashMap<Of, Kept>>>,
}

#[derive(Debug)]
struct Kept {
    id: Option<DrainId>,
    span: Span,
}

fn drain_id(event: Option<&Arc<DrainEvent>>) -> Option<DisplayValue<DrainId>> {
    event.map(|event| display(DrainId::of(event)))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl ListenerTrace {
    /// No drain is known yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn drains(&self) -> MutexGuard<'_, HashMap<Of, Kept>> {
        self.drains.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, of: Of, event: Option<&Arc<DrainEvent>>, span: Span) {
        let id = event.map(|event| DrainId::of(event));
        self.drains().insert(of, Kept { id, span });
    }

    fn end(&self, of: Of, outcome: &DrainOutcome) -> Span {
        let kept = self.drains().remove(&of);
        let span = kept.map_or_else(Span::none, |kept| kept.span);
        span.record("left", outcome.left);
        span
    }
}

impl ListenerObserver for ListenerTrace {
    fn created(&self, version: &VersionView) {
        info!(
            target: "orion_drain::listener", listener = &*version.name, version = version.number,
            version_info = &*version.version_info, address = %version.configured, "listener version created",
        );
    }

    fn activated(&self, version: &VersionView, replaced: Option<u64>) {
        info!(
            target: "orion_drain::listener", listener = &*version.name, version = version.number,
            version_info = &*version.version_info, replaced, "listener version active",
        );
    }

    fn discarded(&self, version: &VersionView) {
        info!(
            target: "orion_drain::close", listener = &*version.name, version = version.number,
            "listener version discarded",
        );
    }

    fn in_place_updated(&self, version: &VersionView) {
        info!(
            target: "orion_drain::listener", listener = &*version.name, version = version.number,
            version_info = &*version.version_info, "listener version updated in place",
        );
    }

    fn drain_started(&self, version: &VersionView, reason: DrainReason) {
        let event = version.drain.as_ref();
        let span = info_span!(
            target: "orion_drain::listener", "drain", drain_id = drain_id(event), listener = &*version.name,
            version = version.number, reason = reason.as_str(), left = Empty,
        );
        span.in_scope(|| drain_started(version, reason));
        self.begin(Of::Version(version.number), event, span);
    }

    fn asked_to_leave(&self, version: &VersionView, reason: DrainReason) {
        drain_started(version, reason);
        self.begin(
            Of::Version(version.number),
            version.drain.as_ref(),
            Span::none(),
        );
    }

    fn chain_drain_started(&self, chain: &Arc<ListenerChain>, reason: DrainReason) {
        let event = chain.drain().event();
        let event = event.as_ref();
        let span = info_span!(
            target: "orion_drain::listener", "drain", drain_id = drain_id(event), listener = chain.listener(),
            version = chain.version(), filter_chain = &**chain.id(), reason = reason.as_str(), left = Empty,
        );
        info!(
            target: "orion_drain::listener", parent: &span, drain_id = drain_id(event), listener = chain.listener(),
            version = chain.version(), filter_chain = &**chain.id(), reason = reason.as_str(),
            strategy = event.map(|event| strategy(event)), drain_time_ms = event.map(|event| millis(event.drain_time)),
            connections = chain.connections(), "drain started",
        );
        self.begin(Of::Chain(chain.number()), event, span);
    }

    fn drain_hurried(&self, version: &VersionView, _: Instant) {
        warn!(
            target: "orion_drain::close", drain_id = drain_id(version.drain.as_ref()), listener = &*version.name,
            version = version.number, connections = version.connections, "drain hurried",
        );
    }

    fn drained(&self, version: &VersionView, outcome: &DrainOutcome) {
        let span = self.end(Of::Version(version.number), outcome);
        info!(
            target: "orion_drain::close", parent: &span, drain_id = drain_id(version.drain.as_ref()),
            listener = &*version.name, version = version.number, reason = outcome.reason.as_str(),
            took_ms = millis(outcome.took), left = outcome.left, "drained",
        );
    }

    fn chain_drained(&self, chain: &Arc<ListenerChain>, outcome: &DrainOutcome) {
        let span = self.end(Of::Chain(chain.number()), outcome);
        info!(
            target: "orion_drain::close", parent: &span, drain_id = drain_id(chain.drain().event().as_ref()),
            listener = chain.listener(), version = chain.version(), filter_chain = &**chain.id(),
            reason = outcome.reason.as_str(), took_ms = millis(outcome.took), left = outcome.left, "drained",
        );
    }

    fn stopped(&self, version: &VersionView) {
        info!(
            target: "orion_drain::listener", listener = &*version.name, version = version.number, "listener stopped",
        );
    }

    fn update_rejected(&self, error: &UpdateError) {
        warn!(target: "orion_drain::config", field = %error.field(), error = %error, "listener refused");
    }

    fn accept_error(&self, address: &ListenAddress, error: &io::Error, in_a_row: u32) {
        warn!(target: "orion_drain::listener", %address, %error, in_a_row, "accept failed");
    }

    fn refused(&self, address: &ListenAddress, version: u64, refusal: Refusal) {
        if !enabled!(target: "orion_drain::close", Level::DEBUG) {
            return;
        }
        let id = self
            .drains()
            .get(&Of::Version(version))
            .and_then(|kept| kept.id);
        debug!(
            target: "orion_drain::close", drain_id = id.map(display), %address, version, close_reason = "refused", %refusal,
            "connection refused",
        );
    }

    fn handler_panicked(&self, address: &ListenAddress, version: u64) {
        warn!(target: "orion_drain::close", %address, version, close_reason = "panicked", "handler panicked");
    }
}

fn drain_started(version: &VersionView, reason: DrainReason) {
    let event = version.drain.as_ref();
    info!(
        target: "orion_drain::listener", drain_id = drain_id(event), listener = &*version.name,
        version = version.number, reason = reason.as_str(), strategy = event.map(|event| strategy(event)),
        drain_time_ms = event.map(|event| millis(event.drain_time)), connections = version.connections, "drain started",
    );
}

fn strategy(event: &DrainEvent) -> &'static str {
    match event.strategy {
        drain_signal::DrainStrategy::Gradual => "gradual",
        drain_signal::DrainStrategy::Immediate => "immediate",
    }
}
