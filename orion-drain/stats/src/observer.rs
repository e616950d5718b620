//! Counts what happens to listener versions, under Envoy's names; with the feature `tracing` it
//! logs that too.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use drain_tree::{DrainEnding, DrainEvent, DrainOutcome, DrainReason};
use listener_versions::{
    ListenAddress, ListenerChain, ListenerObserver, Refusal, UpdateError, VersionView,
};

use orion_drain_telemetry::ListenerTrace;

use super::{ListenerStats, Stats};

/// Gives what listener-versions reports to the statistics.
///
/// Source of the names and their meaning: [Envoy's listener manager
/// statistics](https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/stats#listener-manager).
///
/// # Examples
///
/// ```
/// # use conn_tracker::ConnTracker;
/// # use drain_tree::{DrainManager, DrainSettings};
/// # use listener_versions::{ListenerConfig, Listeners, ListenersOptions};
/// use orion_drain_stats::{Stats, StatsObserver};
///
/// # fn example<C: ListenerConfig>(root: DrainManager, stats: Stats) -> Listeners<C> {
/// let observer = StatsObserver::new(stats.clone());
/// let (listeners, driver) = Listeners::new(root, ConnTracker::new(), ListenersOptions::default(), observer);
/// # drop(driver); // a program spawns it
/// # listeners }
/// ```
#[derive(Debug, Clone)]
pub struct StatsObserver {
    stats: Stats,
    /// The scope of every version that is not gone; asked when a connection is refused.
    listeners: Arc<Mutex<HashMap<u64, Alive>>>,
    trace: ListenerTrace,
}

/// A version that is not gone.
#[derive(Debug)]
struct Alive {
    scope: Arc<ListenerStats>,
    /// Its drain has been counted: that of an operator, before its own.
    drain_counted: bool,
}

impl StatsObserver {
    /// Counts into `stats`.
    pub fn new(stats: Stats) -> Self {
        Self {
            stats,
            listeners: Arc::default(),
            trace: ListenerTrace::new(),
        }
    }

    fn listeners(&self) -> MutexGuard<'_, HashMap<u64, Alive>> {
        // An insertion or a removal is whole or not there.
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn drain_begins(&self, event: Option<&Arc<DrainEvent>>) {
        if let Some(event) = event {
            self.stats.drains().started(event.strategy);
        }
    }

    fn version_drain_begins(&self, version: &VersionView) {
        let counted = match self.listeners().get_mut(&version.number) {
            Some(alive) => std::mem::replace(&mut alive.drain_counted, true),
            None => false,
        };
        if !counted {
            self.drain_begins(version.drain.as_ref());
        }
    }

    fn drain_ends(&self, listener: &str, outcome: &DrainOutcome) {
        let timed_out = outcome.ending == DrainEnding::Deadline;
        self.stats.drains().ended(listener, outcome.took, timed_out);
        #[cfg(feature = "metrics")]
        metrics::histogram!("orion_listener_drain_duration_seconds", "listener" => listener.to_owned())
            .record(outcome.took);
    }

    fn version_gone(&self, version: &VersionView) {
        self.listeners().remove(&version.number);
        self.stats.drains().version_gone(&version.name);
    }
}

impl ListenerObserver for StatsObserver {
    fn created(&self, version: &VersionView) {
        self.trace.created(version);
        // As `ServedListener` names it.
        let address = match &version.configured {
            ListenAddress::Unix(path) => path.display().to_string(),
            address => address.to_string(),
        };
        let scope = self.stats.listener(&address);
        let alive = Alive {
            scope,
            drain_counted: false,
        };
        self.listeners().insert(version.number, alive);
        self.stats.drains().version_created(&version.name);
        self.stats.listener_manager().total_listeners_warming.inc();
    }

    fn activated(&self, version: &VersionView, replaced: Option<u64>) {
        self.trace.activated(version, replaced);
        let stats = self.stats.listener_manager();
        stats.total_listeners_warming.dec();
        stats.listener_create_success.inc();
        if replaced.is_some() {
            stats.listener_modified.inc();
        } else {
            stats.listener_added.inc();
            stats.total_listeners_active.inc();
        }
    }

    fn discarded(&self, version: &VersionView) {
        self.trace.discarded(version);
        self.version_gone(version);
        self.stats.listener_manager().total_listeners_warming.dec();
    }

    fn in_place_updated(&self, version: &VersionView) {
        self.trace.in_place_updated(version);
        let stats = self.stats.listener_manager();
        stats.listener_create_success.inc();
        stats.listener_modified.inc();
        stats.listener_in_place_updated.inc();
    }

    fn chain_drain_started(&self, chain: &Arc<ListenerChain>, reason: DrainReason) {
        self.trace.chain_drain_started(chain, reason);
        self.drain_begins(chain.drain().event().as_ref());
        self.stats
            .listener_manager()
            .total_filter_chains_draining
            .inc();
    }

    fn chain_drained(&self, chain: &Arc<ListenerChain>, outcome: &DrainOutcome) {
        self.trace.chain_drained(chain, outcome);
        self.drain_ends(chain.listener(), outcome);
        self.stats
            .listener_manager()
            .total_filter_chains_draining
            .dec();
    }

    fn drain_started(&self, version: &VersionView, reason: DrainReason) {
        self.trace.drain_started(version, reason);
        self.version_drain_begins(version);
        let stats = self.stats.listener_manager();
        stats.total_listeners_draining.inc();
        if reason == DrainReason::ListenerRemove {
            stats.listener_removed.inc();
            stats.total_listeners_active.dec();
        }
    }

    fn asked_to_leave(&self, version: &VersionView, reason: DrainReason) {
        self.trace.asked_to_leave(version, reason);
        self.version_drain_begins(version);
    }

    fn drained(&self, version: &VersionView, outcome: &DrainOutcome) {
        self.trace.drained(version, outcome);
        self.drain_ends(&version.name, outcome);
        self.version_gone(version);
        self.stats.listener_manager().total_listeners_draining.dec();
    }

    fn stopped(&self, version: &VersionView) {
        self.trace.stopped(version);
        self.stats.listener_manager().listener_stopped.inc();
    }

    fn refused(&self, address: &ListenAddress, version: u64, refusal: Refusal) {
        self.trace.refused(address, version, refusal);
        if let Some(alive) = self.listeners().get(&version) {
            alive.scope.refused(refusal);
        }
    }

    fn update_rejected(&self, error: &UpdateError) {
        self.trace.update_rejected(error);
        if matches!(error, UpdateError::Bind { .. }) {
            self.stats.listener_manager().listener_create_failure.inc();
        }
    }

    fn drain_hurried(&self, version: &VersionView, deadline: Instant) {
        self.trace.drain_hurried(version, deadline);
    }

    fn accept_error(&self, address: &ListenAddress, error: &io::Error, in_a_row: u32) {
        self.trace.accept_error(address, error, in_a_row);
    }

    fn handler_panicked(&self, address: &ListenAddress, version: u64) {
        self.trace.handler_panicked(address, version);
    }
}
