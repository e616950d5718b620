//! Metrics with labels: the `orion_*` ones, which Envoy has not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use conn_tracker::{CloseReason, ConnState, ConnTracker};
use listener_versions::{ListenerChain, VersionView};

use super::drains::{Drains, Histogram};
use super::prometheus::escaped;
use super::{Stats, StatsSnapshot};

/// One metric and all its series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) series: Vec<Series>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Series {
    pub(super) label: (&'static str, String),
    pub(super) value: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Counter(u64),
    Gauge(u64),
    Histogram(Histogram),
}

impl Series {
    /// `{label="value"}`
    pub(super) fn labels(&self) -> String {
        format!("{{{}=\"{}\"}}", self.label.0, escaped(&self.label.1))
    }

    /// The name that it has in `/stats`, by which it is also filtered.
    pub(super) fn key(&self, family: &str) -> String {
        match self.value {
            Value::Histogram(_) => format!("{family}_count{}", self.labels()),
            _ => format!("{family}{}", self.labels()),
        }
    }
}

impl StatsSnapshot {
    fn family(
        &mut self,
        name: &'static str,
        help: &'static str,
        series: impl IntoIterator<Item = ((&'static str, String), Value)>,
    ) {
        let series = series
            .into_iter()
            .map(|(label, value)| Series { label, value });
        let series: Vec<Series> = series.collect();
        for one in &series {
            let value = match &one.value {
                Value::Counter(value) | Value::Gauge(value) => *value,
                // Its sum, in seconds, is for Prometheus: here numbers are whole.
                Value::Histogram(histogram) => histogram.count,
            };
            self.set(one.key(name), value);
        }
        self.families.push(Family { name, help, series });
    }

    /// What [`StatsObserver`](crate::StatsObserver) counts.
    pub(super) fn add_drains(&mut self, drains: &Drains) {
        let by_listener = drains.by_listener();
        self.family(
            "orion_listener_drain_duration_seconds",
            "Time spent draining, one observation for each listener version or filter chain.",
            by_listener.iter().map(|(name, of)| {
                (
                    ("listener", name.clone()),
                    Value::Histogram(of.durations.clone()),
                )
            }),
        );
        self.family(
            "orion_listener_drain_timeouts_total",
            "Drains that ran into their deadline with connections left.",
            by_listener
                .iter()
                .map(|(name, of)| (("listener", name.clone()), Value::Counter(of.timeouts))),
        );
        self.family(
            "orion_drain_strategy_usage_total",
            "Drains of listener versions and filter chains by strategy.",
            drains.by_strategy().map(|(strategy, count)| {
                (("strategy", strategy.to_owned()), Value::Counter(count))
            }),
        );
    }

    /// The same snapshot with what the registry and the listeners know:
    /// `orion_listener_versions_active`, `orion_listener_drain_connections_active`,
    /// `orion_connection_state_transitions_total` and `orion_connections_closed_total`. Their
    /// series go with the versions they are of.
    #[must_use]
    pub fn with_connections(
        mut self,
        tracker: &ConnTracker,
        versions: &[VersionView],
        chains: &[Arc<ListenerChain>],
    ) -> Self {
        let mut alive: BTreeMap<&str, u64> = BTreeMap::new();
        let mut draining: BTreeMap<&str, u64> = BTreeMap::new();
        for version in versions {
            *alive.entry(&version.name).or_default() += 1;
            // It is there, at zero, while nothing drains: a rule can tell that from a listener that
            // is gone.
            let draining = draining.entry(&version.name).or_default();
            if version.drain.is_some() {
                *draining += version.connections as u64;
            }
        }
        let drains = versions.iter().filter(|version| version.drain.is_some());
        let drains: BTreeSet<u64> = drains.map(|version| version.number).collect();
        for chain in chains {
            // Those of a version that drains as well are counted with it.
            if !drains.contains(&chain.version()) {
                *draining.entry(chain.listener()).or_default() += chain.connections() as u64;
            }
        }
        let gauges = |of: BTreeMap<&str, u64>| -> Vec<_> {
            let series = of.into_iter();
            series
                .map(|(name, value)| (("listener", name.to_owned()), Value::Gauge(value)))
                .collect()
        };
        self.family(
            "orion_listener_versions_active",
            "Versions of a listener that are not gone: the one that accepts, and those that drain.",
            gauges(alive),
        );
        self.family(
            "orion_listener_drain_connections_active",
            "Open connections of versions and filter chains that drain.",
            gauges(draining),
        );
        let states = [
            ConnState::Active,
            ConnState::Draining,
            ConnState::Closing,
            ConnState::Closed,
        ];
        self.family(
            "orion_connection_state_transitions_total",
            "How often a connection entered a state.",
            states.map(|state| {
                let count = Value::Counter(tracker.transitions(state));
                (("state", state.as_str().to_owned()), count)
            }),
        );
        self.family(
            "orion_connections_closed_total",
            "Connections that ended, by reason.",
            CloseReason::ALL.iter().map(|reason| {
                let count = Value::Counter(tracker.closed(*reason));
                (("reason", reason.as_str().to_owned()), count)
            }),
        );
        self
    }
}

impl Stats {
    pub(crate) fn drains(&self) -> &Drains {
        &self.0.drains
    }
}
