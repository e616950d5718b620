//! The words of a drain: state, direction, strategy, schedule, reason, end.

#![expect(clippy::exhaustive_enums, reason = "most are closed in Envoy as well")]

/// The three states of a drain.
///
/// Source: Envoy's [drain
/// documentation](https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/operations/draining).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DrainState {
    /// Connections are opened, used and closed without a further thought.
    NotDraining,
    /// Connections are asked to leave.
    Draining,
    /// New connections are refused; what remained was closed.
    Completed,
}

/// Which listeners a drain covers. `InboundOnly < All`; a running drain may widen, never narrow.
///
/// Envoy's third value, `None`, means "nothing drains" and cannot be expressed here: no drain, no
/// direction. Source:
/// [`Network::DrainDirection`](https://github.com/envoyproxy/envoy/blob/main/envoy/network/drain_decision.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum DrainDirection {
    /// Only listeners whose `traffic_direction` is `INBOUND`.
    InboundOnly,
    /// Every listener.
    #[default]
    All,
}

/// Which drains concern a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(usize)]
pub enum DrainedBy {
    /// Every drain, whatever its direction: an inbound connection.
    #[default]
    Any = 0,
    /// Only a drain in direction [`DrainDirection::All`]. A drain of inbound listeners leaves the
    /// connection alone: the connection does not see it, and it does not wait for the connection.
    Full = 1,
}

impl DrainedBy {
    /// Whether a drain in `direction` concerns the connection.
    pub const fn covers(self, direction: DrainDirection) -> bool {
        matches!(self, Self::Any) || matches!(direction, DrainDirection::All)
    }
}

/// Whether connections are signaled one after the other or all at once: Envoy's `--drain-strategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DrainStrategy {
    /// Spread by the [`DrainSchedule`]. Envoy's default.
    #[default]
    Gradual,
    /// All connections at once.
    Immediate,
}

/// When connections are signaled, if the strategy is [`DrainStrategy::Gradual`].
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DrainSchedule {
    /// One slot a connection, evenly spread over the first quarter of the drain time. A response
    /// asks "has my slot come?" and the same slot wakes an idle connection.
    ///
    /// Source: Envoy's [drain
    /// hierarchy](https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/operations/draining):
    /// signals are spread out within the first 25 % of the drain time.
    #[default]
    FirstQuarter,
    /// What Envoy 1.40 does: each response rolls a die whose odds rise to one at half of the drain
    /// time, in whole seconds; idle connections are signaled in a window that begins at two thirds
    /// of it.
    Envoy140,
}

/// Why a drain was begun.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DrainReason {
    /// A listener got a new version.
    ListenerModify,
    /// A listener was removed.
    ListenerRemove,
    /// A filter chain was changed or removed in place.
    FilterChainUpdate,
    /// The process is asked to end.
    ProcessShutdown,
    /// A new process has taken the sockets over.
    HotRestart,
    /// An operator asked (`/drain_listeners`).
    Admin,
    /// Something else: a stable lower-case word for logs and metric labels.
    Other(&'static str),
}

impl DrainReason {
    /// The reason as a stable lower-case word for logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ListenerModify => "listener_modify",
            Self::ListenerRemove => "listener_remove",
            Self::FilterChainUpdate => "filter_chain_update",
            Self::ProcessShutdown => "process_shutdown",
            Self::HotRestart => "hot_restart",
            Self::Admin => "admin",
            Self::Other(word) => word,
        }
    }
}

/// What happens to connections that are left when the drain time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DrainEnd {
    /// They are closed, in the steps of the [`CloseSteps`](crate::CloseSteps).
    Close,
    /// They are left alone; the drain has no deadline.
    Leave,
}
