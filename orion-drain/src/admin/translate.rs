//! What the crates below know, as the admin interface shows it.

use std::{collections::HashMap, time::Duration, time::Instant};

use conn_tracker::{ConnKind, ConnSnapshot, Peer};
use drain_signal::{DrainEvent, DrainStrategy};
use listener_versions::{ChainView, VersionState, VersionView};

use super::{ConnectionView, DrainView, ListenerView};

impl ListenerView {
    /// Those of `versions` that are the present one of their listener, as `/listeners` shows them: versions that were
    /// replaced are not listed, a listener that `/drain_listeners` stopped still is, as in Envoy.
    pub fn active(versions: &[VersionView]) -> Vec<Self> {
        let active = versions
            .iter()
            .filter(|version| version.state == VersionState::Active);
        active
            .map(|version| Self::new(&*version.name, &version.address))
            .collect()
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
    /// [`Listeners::draining_chains`](listener_versions::Listeners::draining_chains). `connections`
    /// counts their guards: a connection that is served holds two.
    pub fn draining_chains(chains: &[ChainView], now: Instant) -> Vec<Self> {
        let view = |chain: &ChainView| {
            let drain = Self::progress(chain.drain.as_ref()?, chain.deadline, now);
            Some(Self {
                listener: Some(chain.listener.to_string()),
                version: Some(chain.version),
                filter_chain: Some(chain.id.to_string()),
                connections: chain.open_watches,
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

impl ConnectionView {
    /// The open connections, as `/connections` shows them. `tracked_at` is the tracker's time
    /// ([`ConnTracker::now`](conn_tracker::ConnTracker::now)), `now` the time of the deadlines in `versions`.
    pub fn open(
        connections: &[ConnSnapshot],
        tracked_at: Duration,
        versions: &[VersionView],
        now: Instant,
    ) -> Vec<Self> {
        let deadlines: HashMap<_, _> = versions
            .iter()
            .filter_map(|version| Some((version.number, version.deadline?)))
            .collect();
        let view = |connection: &ConnSnapshot| {
            let deadline = deadlines.get(&connection.version);
            Self {
                deadline_in: deadline.map(|deadline| deadline.saturating_duration_since(now)),
                ..Self::of(connection, tracked_at)
            }
        };
        connections.iter().map(view).collect()
    }

    fn of(connection: &ConnSnapshot, tracked_at: Duration) -> Self {
        Self {
            id: connection.id.to_string(),
            listener: connection.listener.to_string(),
            version: connection.version,
            filter_chain: connection.chain.as_ref().map(ToString::to_string),
            protocol: connection.protocol.as_str().to_owned(),
            state: connection.state.as_str().to_owned(),
            kind: connection.kind.as_str().to_owned(),
            streams: match connection.kind {
                ConnKind::InRequest { streams } => streams,
                _ => 0,
            },
            peer: match connection.peer {
                Peer::Ip(address) => Some(address.to_string()),
                _ => None,
            },
            age: connection.age(tracked_at),
            quiet: connection.quiet(tracked_at),
            deadline_in: None,
        }
    }
}
