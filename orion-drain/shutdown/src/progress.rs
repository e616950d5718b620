//! How far a shutdown is, as a program may read it.

use std::time::Instant;

use drain_signal::DrainReason;

/// Why a process ends.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShutdownReason {
    /// A signal, or an operator.
    ProcessShutdown,
    /// A new process has taken the sockets over.
    HotRestart,
}

impl From<ShutdownReason> for DrainReason {
    fn from(reason: ShutdownReason) -> Self {
        match reason {
            ShutdownReason::ProcessShutdown => Self::ProcessShutdown,
            ShutdownReason::HotRestart => Self::HotRestart,
        }
    }
}

/// Where a process is in its life. States only follow in this order, and may be left out; `Minimum`
/// goes back to `Draining` when a connection comes after all.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ShutdownState {
    /// No shutdown has begun.
    Serving,
    /// Everything is served as ever, so that balancers have the time to look elsewhere.
    LeadTime,
    /// Connections are asked to leave.
    Draining,
    /// No connection is left, but the minimum time is not over.
    Minimum,
    /// The process may exit.
    Done,
}

impl ShutdownState {
    /// As in `/drain`: `serving`, `lead_time`, `draining`, `minimum`, `done`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::LeadTime => "lead_time",
            Self::Draining => "draining",
            Self::Minimum => "minimum",
            Self::Done => "done",
        }
    }
}

/// What happens next in a shutdown by time alone.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShutdownStep {
    /// `/ready` begins to say 503.
    Health,
    /// The drain begins.
    Drain,
    /// The sockets close.
    StopAccepting,
    /// The minimum is over: from now on the last connection ends the drain.
    Minimum,
    /// The deadline: what is left is closed in steps.
    Deadline,
}

impl ShutdownStep {
    /// As in `/drain`: `health`, `drain`, `stop_accepting`, `minimum`, `deadline`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Drain => "drain",
            Self::StopAccepting => "stop_accepting",
            Self::Minimum => "minimum",
            Self::Deadline => "deadline",
        }
    }
}

/// A step and its time.
#[expect(clippy::exhaustive_structs, reason = "a pair with names")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextShutdownStep {
    /// What.
    pub step: ShutdownStep,
    /// When.
    pub at: Instant,
}

/// How far a shutdown is.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShutdownProgress {
    /// Where the process is.
    pub state: ShutdownState,
    /// Since when; `None` while it is serving.
    pub since: Option<Instant>,
    /// Why it ends.
    pub reason: Option<ShutdownReason>,
    /// What happens next if nothing else does.
    pub next: Option<NextShutdownStep>,
    /// When connections that are left are closed; in the lead time, when that will be.
    pub deadline: Option<Instant>,
    /// Whether traffic should come here.
    pub is_ready: bool,
    /// The connections that are open.
    pub connections: usize,
}
