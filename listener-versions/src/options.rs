//! Settings of a set of listeners: how many versions may live, how many connections, and who accepts during an admin drain.

use std::time::Duration;

use crate::Limits;

/// Settings of [`Listeners`](crate::Listeners). The defaults are Envoy's: no caps.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenersOptions {
    /// How many versions of one name may live, the active one included (`max_versions_per_listener`). Default: no cap, as Envoy.
    ///
    /// It is a soft cap: beyond it the oldest drain's deadline comes nearer, down to [`floor`](Self::floor). No version is ever
    /// forgotten. 0 counts as 1, since the active version is never hurried.
    pub max_versions: Option<usize>,
    /// The same cap by its policy. If both are set, the smaller one counts.
    pub cleanup_policy: Option<CleanupPolicy>,
    /// How long connections of a version beyond the cap still have, from the moment when it is found to be beyond. Default: 5 s,
    /// Envoy's default `drain_timeout`, so that they can be told in their protocol's words.
    pub floor: Duration,
    /// How many connections may be open. Default: no limits.
    pub limits: Limits,
}

/// What to do about versions that pile up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CleanupPolicy {
    /// Keep so many versions of one name, the active one included, and hurry the oldest beyond them.
    CountBasedOnly(usize),
}

/// Who accepts while an admin drain (Envoy's `/drain_listeners`) is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AcceptPolicy {
    /// Listeners go on accepting, for ever; new connections are told to leave as well (`?graceful&skip_exit`).
    Keep,
    /// Listeners accept until the drain time is over, then they are stopped (`?graceful`).
    UntilDrainTimeEnds,
    /// Listeners are stopped at once (no parameter).
    #[default]
    StopNow,
}

impl Default for ListenersOptions {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            max_versions: None,
            cleanup_policy: None,
            floor: Duration::from_secs(5),
            limits,
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

    /// Sets [`cleanup_policy`](Self::cleanup_policy).
    #[must_use]
    pub fn with_cleanup_policy(mut self, policy: CleanupPolicy) -> Self {
        self.cleanup_policy = Some(policy);
        self
    }

    /// Sets [`floor`](Self::floor).
    #[must_use]
    pub fn with_floor(mut self, floor: Duration) -> Self {
        self.floor = floor;
        self
    }

    /// Sets [`limits`](Self::limits).
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How many versions of one name may live: the smaller of both settings.
    pub(crate) fn cap(&self) -> Option<usize> {
        let policy = self
            .cleanup_policy
            .map(|CleanupPolicy::CountBasedOnly(versions)| versions);
        self.max_versions
            .into_iter()
            .chain(policy)
            .min()
            .map(|versions| versions.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_two_caps_the_smaller_one_counts_and_the_active_version_always_may_live() {
        let options = ListenersOptions::default();
        assert_eq!(options.cap(), None);
        let both = options
            .clone()
            .with_max_versions(4)
            .with_cleanup_policy(CleanupPolicy::CountBasedOnly(2));
        assert_eq!(both.cap(), Some(2));
        assert_eq!(options.with_max_versions(0).cap(), Some(1));
    }
}
