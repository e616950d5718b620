//! The settings of a process's drains, and those of a single start.

use std::time::{Duration, Instant};

use crate::Rounding;
use crate::engine::later;
use drain_signal::{
    CloseSteps, DrainDirection, DrainEnd, DrainReason, DrainSchedule, DrainStrategy,
};

/// How long a drain lasts unless its owner says otherwise: 600 s, Envoy's `--drain-time-s`.
///
/// Source: [Envoy's command line](https://www.envoyproxy.io/docs/envoy/latest/operations/cli).
pub const DEFAULT_DRAIN_TIME: Duration = Duration::from_secs(600);

/// How long a replaced process may live: 900 s, Envoy's `--parent-shutdown-time-s`.
///
/// Source: [Envoy's command line](https://www.envoyproxy.io/docs/envoy/latest/operations/cli).
pub const DEFAULT_PARENT_SHUTDOWN_TIME: Duration = Duration::from_secs(900);

/// Which causes drain a listener: Envoy's `Listener.drain_type`.
///
/// Source:
/// [`Listener.DrainType`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/listener.proto).
#[expect(clippy::exhaustive_enums, reason = "closed in Envoy as well")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DrainType {
    /// `DEFAULT`: failed health, listener changes and process drains.
    #[default]
    Default,
    /// `MODIFY_ONLY`: listener changes and process drains, never health. Meant for egress
    /// listeners.
    ModifyOnly,
}

/// Process-wide settings, with Envoy's defaults.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use drain_tree::{DrainManager, DrainSettings, DrainStrategy};
///
/// let settings = DrainSettings::default()
///     .with_drain_time(Duration::from_secs(60)) // --drain-time-s 60
///     .with_strategy(DrainStrategy::Immediate); // --drain-strategy immediate
/// let root = DrainManager::root(settings);
/// assert_eq!(root.settings().drain_time, Duration::from_secs(60));
/// ```
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainSettings {
    /// How long a drain lasts. Default 600 s, Envoy's `--drain-time-s`.
    pub drain_time: Duration,
    /// How long a replaced process may live. Default 900 s, Envoy's `--parent-shutdown-time-s`.
    pub parent_shutdown_time: Duration,
    /// One after the other, or all at once. Default gradual, Envoy's `--drain-strategy`.
    pub strategy: DrainStrategy,
    /// When connections are signaled under the gradual strategy. Default: within the first quarter.
    pub schedule: DrainSchedule,
    /// The steps at the deadline. Default: `finish` 1 s before it, dropped 250 ms after it.
    pub close_steps: CloseSteps,
    /// How long a process drain lasts at least, even with no connection left. Default 10 s, Envoy
    /// Gateway's
    /// [`minDrainDuration`](https://gateway.envoyproxy.io/docs/tasks/operations/graceful-shutdown/).
    pub shutdown_minimum: Duration,
    /// Whether every drain lasts its full drain time, as Envoy's do, or completes when its last
    /// connection is gone. Default: the latter.
    pub length: DrainLength,
    /// Over how much time failed health asks its connections to leave, one response in so many.
    /// Default none, as in Envoy: all responses ask to leave at once, which affects the clients of
    /// a big server all together.
    pub health_ramp: Duration,
    /// How the polled question rounds elapsed time. Default down, as Envoy's event model does; its
    /// polled one rounds up.
    pub rounding: Rounding,
}

/// When a drain whose last connection is gone completes.
#[expect(clippy::exhaustive_enums, reason = "early or not")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DrainLength {
    /// When its minimum time is over too.
    #[default]
    UntilEmpty,
    /// Always after the full drain time: Envoy's way.
    Full,
}

impl Default for DrainSettings {
    fn default() -> Self {
        Self {
            drain_time: DEFAULT_DRAIN_TIME,
            parent_shutdown_time: DEFAULT_PARENT_SHUTDOWN_TIME,
            strategy: DrainStrategy::default(),
            schedule: DrainSchedule::default(),
            close_steps: CloseSteps::default(),
            shutdown_minimum: Duration::from_secs(10),
            length: DrainLength::default(),
            health_ramp: Duration::ZERO,
            rounding: Rounding::default(),
        }
    }
}

impl DrainSettings {
    /// The same settings with another drain time.
    pub const fn with_drain_time(mut self, drain_time: Duration) -> Self {
        self.drain_time = drain_time;
        self
    }

    /// The same settings with another parent shutdown time.
    pub const fn with_parent_shutdown_time(mut self, parent_shutdown_time: Duration) -> Self {
        self.parent_shutdown_time = parent_shutdown_time;
        self
    }

    /// The same settings with another strategy.
    pub const fn with_strategy(mut self, strategy: DrainStrategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// The same settings with another schedule.
    pub const fn with_schedule(mut self, schedule: DrainSchedule) -> Self {
        self.schedule = schedule;
        self
    }

    /// The same settings with other close steps.
    pub const fn with_close_steps(mut self, close_steps: CloseSteps) -> Self {
        self.close_steps = close_steps;
        self
    }

    /// The same settings with another minimum for process drains.
    pub const fn with_shutdown_minimum(mut self, minimum: Duration) -> Self {
        self.shutdown_minimum = minimum;
        self
    }

    /// The same settings with another length.
    pub const fn with_length(mut self, length: DrainLength) -> Self {
        self.length = length;
        self
    }

    /// The same settings with a ramp for failed health.
    pub const fn with_health_ramp(mut self, ramp: Duration) -> Self {
        self.health_ramp = ramp;
        self
    }

    /// The same settings with another rounding of the polled question.
    pub const fn with_rounding(mut self, rounding: Rounding) -> Self {
        self.rounding = rounding;
        self
    }

    /// When a process replaced at `start` is asked to end: `parent_shutdown_time` (900 s) later.
    ///
    /// # Examples
    ///
    /// ```
    /// # #![allow(clippy::disallowed_methods, reason = "an example needs some instant")]
    /// use std::time::{Duration, Instant};
    /// use drain_tree::DrainSettings;
    ///
    /// let start = Instant::now();
    /// let at = DrainSettings::default().parent_shutdown_at(start);
    /// assert_eq!(at, start + Duration::from_secs(900));
    /// ```
    pub fn parent_shutdown_at(&self, start: Instant) -> Instant {
        later(start, self.parent_shutdown_time)
    }

    /// Whether a replaced process lives long enough to drain: `parent_shutdown_time` exceeds
    /// `drain_time`.
    ///
    /// Source:
    /// [`--parent-shutdown-time-s`](https://www.envoyproxy.io/docs/envoy/latest/operations/cli),
    /// "should be greater than the drain time".
    pub fn parent_outlives_drain(&self) -> bool {
        self.parent_shutdown_time > self.drain_time
    }

    /// How long a drain for `reason` lasts at least: process drains `shutdown_minimum`, others not
    /// at all.
    pub(crate) const fn minimum(&self, reason: DrainReason) -> Duration {
        match reason {
            DrainReason::ProcessShutdown => self.shutdown_minimum,
            _ => Duration::ZERO,
        }
    }
}

/// Whose traffic a listener takes: Envoy's `Listener.traffic_direction`.
#[expect(clippy::exhaustive_enums, reason = "closed in Envoy as well")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TrafficDirection {
    /// `UNSPECIFIED`: an inbound-only drain leaves it alone.
    #[default]
    Unspecified,
    /// `INBOUND`: covered by every drain.
    Inbound,
    /// `OUTBOUND`: an inbound-only drain leaves it alone.
    Outbound,
}

impl TrafficDirection {
    /// Whether a drain in `direction` covers this traffic.
    pub const fn is_covered_by(self, direction: DrainDirection) -> bool {
        match direction {
            DrainDirection::All => true,
            DrainDirection::InboundOnly => matches!(self, Self::Inbound),
        }
    }
}

/// How a child differs from its parent; what is not said is inherited. A root has Envoy's defaults,
/// [`DrainType::Default`] and [`TrafficDirection::Unspecified`].
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChildOptions {
    /// Whether failed health drains it.
    pub drain_type: Option<DrainType>,
    /// Whose traffic it takes.
    pub traffic_direction: Option<TrafficDirection>,
}

impl ChildOptions {
    /// With a drain type of its own.
    pub const fn with_drain_type(mut self, drain_type: DrainType) -> Self {
        self.drain_type = Some(drain_type);
        self
    }

    /// With a traffic direction of its own.
    pub const fn with_traffic_direction(mut self, traffic_direction: TrafficDirection) -> Self {
        self.traffic_direction = Some(traffic_direction);
        self
    }
}

/// What one start of a drain says; what it does not say comes from the [`DrainSettings`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use drain_tree::{DrainDirection, DrainReason, DrainStart};
///
/// let start = DrainStart::new(DrainReason::Admin)
///     .with_direction(DrainDirection::InboundOnly)
///     .with_drain_time(Duration::from_secs(60));
/// assert_eq!(start.strategy, None); // that of the settings
/// ```
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainStart {
    /// Why.
    pub reason: DrainReason,
    /// Which listeners. Default all.
    pub direction: DrainDirection,
    /// Another drain time for this cause.
    pub drain_time: Option<Duration>,
    /// Another strategy for this cause.
    pub strategy: Option<DrainStrategy>,
    /// Another minimum for this cause. Only [`DrainReason::ProcessShutdown`] has one by the settings
    /// ([`DrainSettings::shutdown_minimum`]); for any other reason `None` is none.
    pub minimum: Option<Duration>,
}

impl DrainStart {
    /// A drain of everything below, for `reason`.
    pub const fn new(reason: DrainReason) -> Self {
        Self {
            reason,
            direction: DrainDirection::All,
            drain_time: None,
            strategy: None,
            minimum: None,
        }
    }

    /// What becomes of the connections that are left: an operator's drain paces and, in its graceful
    /// form, stops accepting at the end, but cuts nothing, as in [Envoy's admin
    /// interface](https://www.envoyproxy.io/docs/envoy/latest/operations/admin#post--drain_listeners).
    /// Every other reason closes them.
    pub const fn end(&self) -> DrainEnd {
        match self.reason {
            DrainReason::Admin => DrainEnd::Leave,
            _ => DrainEnd::Close,
        }
    }

    /// In another direction.
    pub const fn with_direction(mut self, direction: DrainDirection) -> Self {
        self.direction = direction;
        self
    }

    /// With a drain time of its own.
    pub const fn with_drain_time(mut self, drain_time: Duration) -> Self {
        self.drain_time = Some(drain_time);
        self
    }

    /// With a strategy of its own.
    pub const fn with_strategy(mut self, strategy: DrainStrategy) -> Self {
        self.strategy = Some(strategy);
        self
    }

    /// With a minimum of its own.
    pub const fn with_minimum(mut self, minimum: Duration) -> Self {
        self.minimum = Some(minimum);
        self
    }
}
