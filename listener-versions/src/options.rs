//! Settings of a set of listeners: how many versions may live, how many connections may be open, and
//! whether listeners accept during an admin drain.

use std::time::Duration;

use drain_tree::{DrainReason, DrainStart, DrainStrategy};

/// Settings of [`Listeners`](crate::Listeners). The defaults are Envoy's: no caps.
///
/// # Examples
///
/// ```
/// use listener_versions::ListenersOptions;
///
/// let options = ListenersOptions::default().with_max_versions(4).with_max_connections(50_000);
/// assert_eq!(options.max_connections_per_listener, None); // no limit
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenersOptions {
    /// How many versions of one name may live, the active one included
    /// (`max_versions_per_listener`, Orion's `cleanup_policy: count_based_only`). Default: no cap,
    /// as Envoy.
    ///
    /// It is a soft cap: beyond it the oldest drain's deadline comes nearer, down to
    /// [`floor`](Self::floor). No version is ever forgotten. 0 counts as 1, since the active
    /// version is never hurried.
    pub max_versions: Option<usize>,
    /// How long connections of a version beyond the cap still have, from the moment when it is
    /// found to be beyond. Default: 5 s, Envoy's default `drain_timeout`, so that they can be asked
    /// to leave in their protocol's words. With `Duration::MAX` no drain ends earlier.
    pub floor: Duration,
    /// How many connections may be open over all listeners and versions: Envoy's
    /// [`global_downstream_max_connections`](https://www.envoyproxy.io/docs/envoy/latest/configuration/operations/overload_manager/overload_manager).
    /// Default: no limit, as for each of the limits.
    ///
    /// They are counted where the connection is accepted, from the connection tracker: what is
    /// refused was accepted by the kernel and is closed at once, and
    /// [reported](crate::ListenerObserver::refused).
    pub max_connections: Option<usize>,
    /// How many may be open of one listener, over all its versions that are not reaped yet. Envoy
    /// has no such limit.
    pub max_connections_per_listener: Option<usize>,
    /// How many may be open of one listener version; a configuration may
    /// [say less](crate::ListenerConfig::max_connections).
    pub max_connections_per_version: Option<usize>,
    /// How many may be open over all listeners and versions when a connection comes while its
    /// version's drain is on (a graceful drain keeps accepting). Envoy has no such limit.
    pub max_connections_while_draining: Option<usize>,
    /// How long the drains of versions and filter chains last. Default: as the
    /// [drain tree's settings](drain_tree::DrainSettings::drain_time) say.
    pub drain_time: Option<Duration>,
    /// How the drains of versions and filter chains ask connections to finish. Default: as the
    /// [drain tree's settings](drain_tree::DrainSettings::strategy) say.
    pub drain_strategy: Option<DrainStrategy>,
}

/// Whether listeners accept during an admin drain (Envoy's
/// [`/drain_listeners`](https://www.envoyproxy.io/docs/envoy/latest/operations/admin#post--drain_listeners)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AcceptPolicy {
    /// Listeners go on accepting, for ever; new connections are asked to leave as well
    /// (`?graceful&skip_exit`).
    Keep,
    /// Listeners accept until the drain time is over, then they are stopped (`?graceful`).
    UntilDrainTimeEnds,
    /// Listeners are stopped at once (no parameter).
    #[default]
    StopNow,
}

impl Default for ListenersOptions {
    fn default() -> Self {
        Self {
            max_versions: None,
            floor: Duration::from_secs(5),
            max_connections: None,
            max_connections_per_listener: None,
            max_connections_per_version: None,
            max_connections_while_draining: None,
            drain_time: None,
            drain_strategy: None,
        }
    }
}

impl ListenersOptions {
    /// Sets [`max_versions`](Self::max_versions).
    #[must_use]
    pub fn with_max_versions(mut self, versions: usize) -> Self {
        self.max_versions = Some(versions);
        self
    }

    /// Sets [`floor`](Self::floor).
    #[must_use]
    pub fn with_floor(mut self, floor: Duration) -> Self {
        self.floor = floor;
        self
    }

    /// Sets [`max_connections`](Self::max_connections).
    #[must_use]
    pub fn with_max_connections(mut self, connections: usize) -> Self {
        self.max_connections = Some(connections);
        self
    }

    /// Sets [`max_connections_per_listener`](Self::max_connections_per_listener).
    #[must_use]
    pub fn with_max_connections_per_listener(mut self, connections: usize) -> Self {
        self.max_connections_per_listener = Some(connections);
        self
    }

    /// Sets [`max_connections_per_version`](Self::max_connections_per_version).
    #[must_use]
    pub fn with_max_connections_per_version(mut self, connections: usize) -> Self {
        self.max_connections_per_version = Some(connections);
        self
    }

    /// Sets [`max_connections_while_draining`](Self::max_connections_while_draining).
    #[must_use]
    pub fn with_max_connections_while_draining(mut self, connections: usize) -> Self {
        self.max_connections_while_draining = Some(connections);
        self
    }

    /// Sets [`drain_time`](Self::drain_time).
    #[must_use]
    pub fn with_drain_time(mut self, drain_time: Duration) -> Self {
        self.drain_time = Some(drain_time);
        self
    }

    /// Sets [`drain_strategy`](Self::drain_strategy).
    #[must_use]
    pub fn with_drain_strategy(mut self, strategy: DrainStrategy) -> Self {
        self.drain_strategy = Some(strategy);
        self
    }

    /// How the drain of a version or filter chain is started.
    pub(crate) fn drain_start(&self, reason: DrainReason) -> DrainStart {
        let mut start = DrainStart::new(reason);
        start.drain_time = self.drain_time;
        start.strategy = self.drain_strategy;
        start
    }

    /// Whether connections need not be counted.
    pub(crate) fn admits_all(&self) -> bool {
        let limits = [
            self.max_connections,
            self.max_connections_per_listener,
            self.max_connections_per_version,
            self.max_connections_while_draining,
        ];
        limits == [None; 4]
    }

    pub(crate) fn cap(&self) -> Option<usize> {
        self.max_versions.map(|versions| versions.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_active_version_always_may_live() {
        let options = ListenersOptions::default();
        assert_eq!(options.cap(), None);
        assert_eq!(options.clone().with_max_versions(4).cap(), Some(4));
        assert_eq!(options.with_max_versions(0).cap(), Some(1));
    }
}
