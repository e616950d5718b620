//! Why a listener drains, and what it serves: the proposal's `DrainScenario` and its derived
//! `DrainStrategy`.

use std::time::Duration;

use drain_signal::{DrainReason, DrainStrategy};
use drain_tree::DrainType;

use crate::config::{Listener, ListenerDrainConfig, NetworkFilter};

/// Why a listener drains.
#[expect(clippy::exhaustive_enums, reason = "closed in the proposal")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DrainScenario {
    /// The server's health check is failed. A level that may clear, not a drain: it has no
    /// deadline.
    HealthCheckFail,
    /// A new version of the listener has come.
    ListenerUpdate,
    /// A new process has taken over.
    HotRestart,
}

impl DrainScenario {
    /// Whether it drains a listener of this type: `MODIFY_ONLY` ignores failed health, as in
    /// [Envoy](https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/operations/draining).
    pub const fn should_drain(self, drain_type: DrainType) -> bool {
        !matches!(
            (self, drain_type),
            (Self::HealthCheckFail, DrainType::ModifyOnly)
        )
    }

    /// The scenario of a drain that was started for this reason, if the proposal has one.
    pub const fn of(reason: DrainReason) -> Option<Self> {
        match reason {
            DrainReason::ListenerModify | DrainReason::ListenerRemove => Some(Self::ListenerUpdate),
            DrainReason::HotRestart => Some(Self::HotRestart),
            _ => None,
        }
    }

    /// The reason that the drain's event has; `None` for the level.
    pub const fn reason(self) -> Option<DrainReason> {
        match self {
            Self::HealthCheckFail => None,
            Self::ListenerUpdate => Some(DrainReason::ListenerModify),
            Self::HotRestart => Some(DrainReason::HotRestart),
        }
    }
}

/// How a listener drains, derived from its filter chains. The proposal calls it `DrainStrategy`
/// too; that name is Envoy's gradual or immediate.
///
/// A [`ListenerDrainContext`](super::ListenerDrainContext) has one. When its manager starts a
/// drain, the listener drains for `global_timeout`, or the manager's own if that is shorter;
/// [`Immediate`](Self::Immediate) asks all its connections at once. The HTTP/2 connections that the
/// context opens wait for the HTTP drain timeout between their two GOAWAYs.
#[expect(clippy::exhaustive_enums, reason = "closed in the proposal")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListenerDrainStrategy {
    /// Only TCP.
    Tcp {
        /// The drain time.
        global_timeout: Duration,
    },
    /// Only HTTP.
    Http {
        /// The drain time.
        global_timeout: Duration,
        /// The longest `drain_timeout` of its HTTP connection managers.
        drain_timeout: Duration,
    },
    /// Both.
    Mixed {
        /// The drain time.
        global_timeout: Duration,
        /// The longest `drain_timeout` of its HTTP connection managers.
        http_drain_timeout: Duration,
        /// Whether a chain serves TCP.
        tcp_connections: bool,
        /// Whether a chain serves HTTP.
        http_connections: bool,
    },
    /// All connections are asked to finish at once, within the manager's drain time.
    Immediate,
}

impl ListenerDrainStrategy {
    /// What the filter chains of `listener` say, under these settings.
    pub fn of(listener: &Listener, settings: &ListenerDrainConfig) -> Self {
        if settings.drain_strategy == DrainStrategy::Immediate {
            return Self::Immediate;
        }
        let global_timeout = settings.drain_time;
        let (mut http, mut tcp) = (None, false);
        for chain in listener.all_chains() {
            match chain.terminal() {
                Some(NetworkFilter::HttpConnectionManager(manager)) => {
                    http = http.max(Some(manager.timeouts().drain));
                }
                Some(NetworkFilter::TcpProxy(_)) => tcp = true,
                _ => {}
            }
        }
        match (http, tcp) {
            (Some(drain_timeout), false) => Self::Http {
                global_timeout,
                drain_timeout,
            },
            (Some(http_drain_timeout), true) => Self::Mixed {
                global_timeout,
                http_drain_timeout,
                tcp_connections: true,
                http_connections: true,
            },
            (None, _) => Self::Tcp { global_timeout },
        }
    }

    /// How long the listener drains, if it says so.
    pub const fn global_timeout(self) -> Option<Duration> {
        match self {
            Self::Tcp { global_timeout }
            | Self::Http { global_timeout, .. }
            | Self::Mixed { global_timeout, .. } => Some(global_timeout),
            Self::Immediate => None,
        }
    }

    /// The label in `orion_drain_strategy_usage_total`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp { .. } => "tcp",
            Self::Http { .. } => "http",
            Self::Mixed { .. } => "mixed",
            Self::Immediate => "immediate",
        }
    }

    /// The time between the two GOAWAYs of its HTTP/2 connections, where the chains have one.
    pub const fn http_drain_timeout(self) -> Option<Duration> {
        match self {
            Self::Http { drain_timeout, .. } => Some(drain_timeout),
            Self::Mixed {
                http_drain_timeout, ..
            } => Some(http_drain_timeout),
            Self::Tcp { .. } | Self::Immediate => None,
        }
    }
}
