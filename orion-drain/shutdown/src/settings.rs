//! What an operator says of the end of a process. What is not said is derived: see
//! [`ShutdownPlan`](super::ShutdownPlan).

use std::time::Duration;

/// The times of a shutdown, and what health says meanwhile.
///
/// | here | Envoy Gateway's [`shutdown`] | Istio |
/// | --- | --- | --- |
/// | `deadline` | the pod's `terminationGracePeriodSeconds` | the same; four settings that must fit it ([#34855]) |
/// | `lead_time` | none: it accepts to the end | none |
/// | `health_delay` | `healthCheckFailureDelay`, 0 s | none |
/// | `drain_time` | `drainTimeout`, 60 s | [`terminationDrainDuration`], 5 s: the whole of it, also when no connection is left |
/// | `minimum` | `minDrainDuration`, 10 s | [`MINIMUM_DRAIN_DURATION`], 5 s, with `EXIT_ON_ZERO_ACTIVE_CONNECTIONS` |
/// | `exit_at_connections` | `--exit-at-connections`, 0 | `EXIT_ON_ZERO_ACTIVE_CONNECTIONS`, off; here it is always on |
///
/// # Examples
///
/// Envoy Gateway's sequence:
///
/// ```
/// use std::time::Duration;
/// use orion_drain_shutdown::{ShutdownHealth, ShutdownSettings};
///
/// let settings = ShutdownSettings::default()
///     .with_drain_time(Duration::from_secs(60))
///     .with_minimum(Duration::from_secs(10))
///     .with_accepting(Duration::from_secs(60))
///     .with_health(ShutdownHealth::Failed);
/// assert_eq!(settings.deadline, None);
/// ```
///
/// [`shutdown`]: https://gateway.envoyproxy.io/docs/tasks/operations/graceful-shutdown/
/// [#34855]: https://github.com/istio/istio/issues/34855
/// [`terminationDrainDuration`]: https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/
/// [`MINIMUM_DRAIN_DURATION`]: https://istio.io/latest/docs/reference/commands/pilot-agent/
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShutdownSettings {
    /// By when the process is killed if it is not gone: everything else is cut to fit, and a margin
    /// is kept. Default none.
    pub deadline: Option<Duration>,
    /// How long all is served as ever before the drain begins, so that balancers can look
    /// elsewhere. Default a sixth of the deadline, 15 s at most; without a deadline 0.
    pub lead_time: Option<Duration>,
    /// What health says. Default: not ready.
    pub health: ShutdownHealth,
    /// When it says so, from the beginning of the shutdown; it may lie in the lead time or in the
    /// drain. Default 0.
    pub health_delay: Duration,
    /// How long connections have to leave. Default the tree's drain time, or what the deadline
    /// leaves if that is less.
    pub drain_time: Option<Duration>,
    /// How long the drain lasts at least, also when no connection is left. Default the tree's
    /// `shutdown_minimum`, 10 s.
    pub minimum: Option<Duration>,
    /// How long the drain goes on accepting. Default the minimum, a quarter of the drain time at
    /// most: the last connection that is accepted must have the time to be notified and to finish.
    pub accepting: Option<Duration>,
    /// With so many connections left after the minimum, the drain time is over; they are closed in
    /// steps. Looked at once a second if it is not 0. Default 0: the last connection ends the
    /// drain.
    pub exit_at_connections: usize,
}

/// What health says from [`ShutdownSettings::health_delay`] on.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ShutdownHealth {
    /// Nothing changes: the balancer knows already.
    Unchanged,
    /// `/ready` says 503. Connections are notified in the drain, each at its slot: notified before,
    /// a client would come back through a balancer that has not noticed yet.
    #[default]
    NotReady,
    /// The health check fails, as by Envoy's
    /// [`/healthcheck/fail`](https://www.envoyproxy.io/docs/envoy/latest/operations/admin#post--healthcheck-fail):
    /// `/ready` says 503, and every response of a `DEFAULT` listener says close, without a ramp.
    Failed,
}

impl ShutdownSettings {
    /// The same, to be gone `deadline` after the beginning: Kubernetes'
    /// `terminationGracePeriodSeconds` without what a preStop hook takes of it, or systemd's
    /// `TimeoutStopSec`.
    #[must_use]
    pub const fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// The same with this lead time.
    #[must_use]
    pub const fn with_lead_time(mut self, lead_time: Duration) -> Self {
        self.lead_time = Some(lead_time);
        self
    }

    /// The same, and health says this from [`health_delay`](Self::health_delay) on.
    #[must_use]
    pub const fn with_health(mut self, health: ShutdownHealth) -> Self {
        self.health = health;
        self
    }

    /// The same, with health to change so long after the beginning.
    #[must_use]
    pub const fn with_health_delay(mut self, health_delay: Duration) -> Self {
        self.health_delay = health_delay;
        self
    }

    /// The same with a drain time of its own.
    #[must_use]
    pub const fn with_drain_time(mut self, drain_time: Duration) -> Self {
        self.drain_time = Some(drain_time);
        self
    }

    /// The same with a minimum of its own.
    #[must_use]
    pub const fn with_minimum(mut self, minimum: Duration) -> Self {
        self.minimum = Some(minimum);
        self
    }

    /// The same, accepting so long after the drain has begun; 0 closes the sockets as it begins.
    #[must_use]
    pub const fn with_accepting(mut self, accepting: Duration) -> Self {
        self.accepting = Some(accepting);
        self
    }

    /// The same, done when so many connections are left.
    #[must_use]
    pub const fn with_exit_at_connections(mut self, connections: usize) -> Self {
        self.exit_at_connections = connections;
        self
    }
}
