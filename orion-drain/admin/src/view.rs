//! What the admin interface shows, as JSON has it. Durations are in milliseconds.

use std::time::{Duration, Instant};

use drain_signal::DrainReason;
use serde::{Serialize, Serializer};
use serde_json::Value;

use orion_drain_shutdown::ShutdownProgress;

/// Whether traffic should come here: Envoy's `ServerInfo.State`.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServerState {
    /// Yes.
    Live,
    /// No: the health check is failed.
    Draining,
    /// Not yet: started, but not ready.
    PreInitializing,
    /// Not yet: waiting for the first configuration.
    Initializing,
}

impl ServerState {
    /// Envoy's number, in `server.state`.
    pub fn number(self) -> u64 {
        match self {
            Self::Live => 0,
            Self::Draining => 1,
            Self::PreInitializing => 2,
            Self::Initializing => 3,
        }
    }

    /// Envoy's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "LIVE",
            Self::Draining => "DRAINING",
            Self::PreInitializing => "PRE_INITIALIZING",
            Self::Initializing => "INITIALIZING",
        }
    }
}

/// `/server_info`
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerInfo {
    /// Name and version of the program.
    pub version: String,
    /// Whether traffic should come here.
    pub state: ServerState,
    /// Since the process was started.
    #[serde(serialize_with = "protobuf")]
    pub uptime_current_epoch: Duration,
    /// Since the first one of the processes was started that replaced each other by hot restart.
    #[serde(serialize_with = "protobuf")]
    pub uptime_all_epochs: Duration,
    /// Which processes can replace it by hot restart: see
    /// [`AdminHost::hot_restart_version`](crate::AdminHost::hot_restart_version).
    pub hot_restart_version: String,
    /// How it was started.
    pub command_line_options: CommandLineOptions,
    /// The bootstrap's `node`.
    pub node: Value,
}

/// The options of the command line that concern draining, under Envoy's names.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CommandLineOptions {
    /// `--drain-time-s`
    #[serde(serialize_with = "protobuf")]
    pub drain_time: Duration,
    /// `--drain-strategy`: `Gradual` or `Immediate`.
    pub drain_strategy: String,
    /// `--parent-shutdown-time-s`
    #[serde(serialize_with = "protobuf")]
    pub parent_shutdown_time: Duration,
    /// `--restart-epoch`: how many processes were replaced by hot restart before this one.
    pub restart_epoch: u32,
}

impl ServerInfo {
    /// This crate's version, Envoy's default options, no uptime.
    pub fn new(state: ServerState) -> Self {
        Self {
            version: concat!("orion-drain/", env!("CARGO_PKG_VERSION")).to_owned(),
            state,
            uptime_current_epoch: Duration::ZERO,
            uptime_all_epochs: Duration::ZERO,
            hot_restart_version: "disabled".to_owned(),
            node: Value::Object(serde_json::Map::new()),
            command_line_options: CommandLineOptions {
                drain_time: drain_tree::DEFAULT_DRAIN_TIME,
                drain_strategy: "Gradual".to_owned(),
                parent_shutdown_time: drain_tree::DEFAULT_PARENT_SHUTDOWN_TIME,
                restart_epoch: 0,
            },
        }
    }
}

/// A listener in `/listeners`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerView {
    /// Its name.
    pub name: String,
    /// Where it really listens, with the port that the system chose. Of several addresses, the
    /// first.
    pub local_address: String,
    /// Its other addresses (Envoy's `additional_local_addresses`), also after it was stopped.
    pub additional_local_addresses: Vec<String>,
}

impl ListenerView {
    /// A listener and where it listens.
    pub fn new(name: impl Into<String>, local_address: impl ToString) -> Self {
        Self {
            name: name.into(),
            local_address: local_address.to_string(),
            additional_local_addresses: Vec::new(),
        }
    }
}

/// A listener's version in `/connections?summary`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct VersionSummary {
    /// The listener.
    pub listener: String,
    /// The number of the version.
    pub version: u64,
    /// The xDS `version_info` of the update that brought it.
    pub version_info: String,
    /// `warming`, `active`, `draining` or `drained`.
    pub state: String,
    /// Whether it takes new connections.
    pub accepting: bool,
    /// Its connections that are open.
    pub connections: usize,
}

/// A drain in `/drain`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DrainView {
    /// The drain's id, as log events have it.
    #[serde(rename = "drain_id")]
    pub id: String,
    /// The listener; absent for a drain of the whole process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// The version of the listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The filter chain, if only that one drains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_chain: Option<String>,
    /// Why: `listener_modify`, `listener_remove`, `filter_chain_update`, `process_shutdown`,
    /// `hot_restart`, `admin`.
    pub reason: String,
    /// `gradual` or `immediate`.
    pub strategy: String,
    /// Since it began.
    #[serde(rename = "elapsed_ms", serialize_with = "millis")]
    pub elapsed: Duration,
    /// How long it may take.
    #[serde(rename = "drain_time_ms", serialize_with = "millis")]
    pub drain_time: Duration,
    /// Until what is left is closed; absent if nothing is.
    #[serde(
        rename = "deadline_in_ms",
        serialize_with = "optional_millis",
        skip_serializing_if = "Option::is_none"
    )]
    pub deadline_in: Option<Duration>,
    /// The connections that are left.
    pub connections: usize,
}

/// `shutdown` in `/drain`: how far the process is from its end.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ShutdownView {
    /// `serving`, `lead_time`, `draining`, `minimum`, `done`.
    pub state: String,
    /// Whether `/ready` says 200, as far as the shutdown is concerned.
    pub ready: bool,
    /// Since it is in that state; absent while it is serving.
    #[serde(
        rename = "elapsed_ms",
        serialize_with = "optional_millis",
        skip_serializing_if = "Option::is_none"
    )]
    pub elapsed: Option<Duration>,
    /// Why: `process_shutdown`, `hot_restart`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What happens next by time alone: `health`, `drain`, `stop_accepting`, `minimum`, `deadline`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Until then.
    #[serde(
        rename = "next_in_ms",
        serialize_with = "optional_millis",
        skip_serializing_if = "Option::is_none"
    )]
    pub next_in: Option<Duration>,
    /// Until what is left is closed.
    #[serde(
        rename = "deadline_in_ms",
        serialize_with = "optional_millis",
        skip_serializing_if = "Option::is_none"
    )]
    pub deadline_in: Option<Duration>,
    /// The connections that are open.
    pub connections: usize,
}

impl ShutdownView {
    /// This progress, seen at `now`.
    pub fn of(progress: &ShutdownProgress, now: Instant) -> Self {
        Self {
            state: progress.state.as_str().to_owned(),
            ready: progress.is_ready,
            elapsed: progress
                .since
                .map(|since| now.saturating_duration_since(since)),
            reason: progress
                .reason
                .map(|reason| DrainReason::from(reason).as_str().to_owned()),
            next: progress.next.map(|next| next.step.as_str().to_owned()),
            next_in: progress
                .next
                .map(|next| next.at.saturating_duration_since(now)),
            deadline_in: progress
                .deadline
                .map(|at| at.saturating_duration_since(now)),
            connections: progress.connections,
        }
    }
}

pub(super) fn whole_millis(duration: &Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(whole_millis(duration))
}

pub(super) fn optional_millis<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    duration.as_ref().map(whole_millis).serialize(serializer)
}

fn protobuf<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&orion_drain_config::format_duration(*duration))
}
