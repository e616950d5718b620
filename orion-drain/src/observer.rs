//! Counts what happens to listener versions, under Envoy's names.

use drain_tree::{DrainOutcome, DrainReason};
use listener_versions::{ChainView, ListenerObserver, UpdateError, VersionView};

use crate::stats::Stats;

/// Gives what listener-versions reports to the statistics.
///
/// Source of the names and their meaning: [Envoy's listener manager
/// statistics](https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/stats#listener-manager).
#[derive(Debug, Clone)]
pub struct StatsObserver {
    stats: Stats,
}

impl StatsObserver {
    /// Counts into `stats`.
    pub const fn new(stats: Stats) -> Self {
        Self { stats }
    }
}

impl ListenerObserver for StatsObserver {
    fn created(&self, _: &VersionView) {
        self.stats.listener_manager().total_listeners_warming.inc();
    }

    fn activated(&self, _: &VersionView, replaced: Option<u64>) {
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

    fn discarded(&self, _: &VersionView) {
        self.stats.listener_manager().total_listeners_warming.dec();
    }

    fn in_place_updated(&self, _: &VersionView) {
        let stats = self.stats.listener_manager();
        stats.listener_create_success.inc();
        stats.listener_modified.inc();
        stats.listener_in_place_updated.inc();
    }

    fn chain_drain_started(&self, _: &ChainView, _: DrainReason) {
        self.stats.listener_manager().total_filter_chains_draining.inc();
    }

    fn chain_drained(&self, _: &ChainView, _: &DrainOutcome) {
        self.stats.listener_manager().total_filter_chains_draining.dec();
    }

    fn drain_started(&self, _: &VersionView, reason: DrainReason) {
        let stats = self.stats.listener_manager();
        stats.total_listeners_draining.inc();
        if reason == DrainReason::ListenerRemove {
            stats.listener_removed.inc();
            stats.total_listeners_active.dec();
        }
    }

    fn drained(&self, _: &VersionView, _: &DrainOutcome) {
        self.stats.listener_manager().total_listeners_draining.dec();
    }

    fn stopped(&self, _: &VersionView) {
        self.stats.listener_manager().listener_stopped.inc();
    }

    fn update_rejected(&self, error: &UpdateError) {
        if matches!(error, UpdateError::Bind { .. }) {
            self.stats.listener_manager().listener_create_failure.inc();
        }
    }
}
