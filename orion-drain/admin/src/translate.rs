//! What the crates below know, as the admin interface shows it.

use std::sync::Arc;
use std::time::Instant;

use drain_signal::{DrainEvent, DrainStrategy};
use listener_versions::{ListenAddress, ListenerChain, VersionState, VersionView};

use super::{DrainView, ListenerView, VersionSummary};
use orion_drain_telemetry::DrainId;

impl ListenerView {
    /// Those of `versions` that are the present one of their listener, as `/listeners` shows them:
    /// versions that were replaced are not listed, a listener that `/drain_listeners` stopped still
    /// is, as in Envoy.
    pub fn active(versions: &[VersionView]) -> Vec<Self> {
        let active = versions
            .iter()
            .filter(|version| version.state == VersionState::Active);
        let view = |version: &VersionView| {
            let text = |address: &ListenAddress| match address {
                // As Envoy writes the address of an internal listener.
                ListenAddress::Internal => format!("envoy://{}/", version.name),
                _ => address.to_string(),
            };
            let mut addresses = version.addresses.iter().map(text);
            let first = addresses.next().unwrap_or_default();
            Self {
                additional_local_addresses: addresses.collect(),
                ..Self::new(&*version.name, first)
            }
        };
        active.map(view).collect()
    }
}

impl VersionSummary {
    /// These versions.
    pub fn all(versions: &[VersionView]) -> Vec<Self> {
        let summary = |version: &VersionView| Self {
            listener: version.name.to_string(),
            version: version.number,
            version_info: version.version_info.to_string(),
            state: state_name(version.state).to_owned(),
            accepting: version.accepting,
            connections: version.connections,
        };
        versions.iter().map(summary).collect()
    }
}

/// The word that JSON has for it.
pub(super) const fn state_name(state: VersionState) -> &'static str {
    match state {
        VersionState::Warming => "warming",
        VersionState::Active => "active",
        VersionState::Draining => "draining",
        VersionState::Drained => "drained",
    }
}

impl DrainView {
    /// Those of `versions` that drain at `now`, as `/drain` shows them.
    pub fn draining(versions: &[VersionView], now: Instant) -> Vec<Self> {
        versions
            .iter()
            .filter_map(|version| Self::of(version, now))
            .collect()
    }

    /// Filter chains that drain by themselves at `now`: see
    /// [`Listeners::draining_chains`](listener_versions::Listeners::draining_chains).
    pub fn draining_chains(chains: &[Arc<ListenerChain>], now: Instant) -> Vec<Self> {
        let view = |chain: &Arc<ListenerChain>| {
            let (event, deadline) = (chain.drain().event()?, chain.drain().deadline());
            let drain = Self::progress(&event, deadline, now);
            Some(Self {
                listener: Some(chain.listener().to_owned()),
                version: Some(chain.version()),
                filter_chain: Some(chain.id().to_string()),
                connections: chain.connections(),
                ..drain
            })
        };
        chains.iter().filter_map(view).collect()
    }

    fn of(version: &VersionView, now: Instant) -> Option<Self> {
        let drain = Self::progress(version.drain.as_ref()?, version.deadline, now);
        Some(Self {
            listener: Some(version.name.to_string()),
            version: Some(version.number),
            connections: version.connections,
            ..drain
        })
    }

    fn progress(event: &DrainEvent, deadline: Option<Instant>, now: Instant) -> Self {
        Self {
            id: DrainId::of(event).to_string(),
            reason: event.reason.as_str().to_owned(),
            strategy: match event.strategy {
                DrainStrategy::Gradual => "gradual".to_owned(),
                DrainStrategy::Immediate => "immediate".to_owned(),
            },
            elapsed: now.saturating_duration_since(event.start),
            drain_time: event.drain_time,
            deadline_in: deadline.map(|deadline| deadline.saturating_duration_since(now)),
            ..Self::default()
        }
    }
}
