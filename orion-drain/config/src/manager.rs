//! Orion's `listener_manager` block: how many versions of a listener may live, and how they drain.

use std::time::Duration;

use drain_signal::DrainStrategy;
use drain_tree::{DEFAULT_DRAIN_TIME, DrainSettings};
use listener_versions::ListenersOptions;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::Value;

use super::{duration, names};

/// The `listener_manager` block of Orion's proposal "Connection Draining for Multiple Listener
/// Versions".
///
/// A bootstrap without the block has no limit of versions, as Envoy has none. Fields that are left
/// out of it have the values of the proposal's example.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListenerManagerConfig {
    /// How many versions of one listener may live, the active one included. Over it, the oldest
    /// drain's deadline comes nearer. Default 2.
    pub max_versions_per_listener: usize,
    /// Another limit of the same kind; the smaller one counts. Default `count_based_only: 2`.
    pub cleanup_policy: CleanupPolicy,
    /// How often versions are audited. Nothing is polled, so an audit finds nothing. Default 60 s.
    #[serde(with = "duration")]
    pub cleanup_interval: Duration,
    /// How versions drain.
    pub drain_config: ListenerDrainConfig,
}

/// When draining versions are hurried.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CleanupPolicy {
    /// As soon as there are more versions than this, the active one included.
    CountBasedOnly(usize),
}

/// How the versions of a listener drain.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListenerDrainConfig {
    /// Envoy's `--drain-time-s`. Default 600 s.
    #[serde(with = "duration")]
    pub drain_time: Duration,
    /// Envoy's `--drain-strategy`: `gradual` (the default) or `immediate`.
    #[serde(with = "names")]
    pub drain_strategy: DrainStrategy,
    /// How a connection is asked to finish. Default `auto`: by the protocol that it speaks.
    pub protocol_handling: ProtocolDrainBehavior,
}

/// How a connection is asked to finish.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProtocolDrainBehavior {
    /// As for HTTP/1.
    Http1 {
        /// Whether `connection: close` is sent.
        connection_close: bool,
    },
    /// As for HTTP/2.
    Http2 {
        /// Whether GOAWAY is sent.
        send_goaway: bool,
    },
    /// As for TCP.
    Tcp {
        /// How long after its slot it is closed.
        #[serde(with = "duration")]
        force_close_after: Duration,
    },
    /// By the protocol that the connection really speaks.
    #[default]
    Auto,
}

impl CleanupPolicy {
    /// How many versions of one listener may live, the active one included.
    pub const fn limit(self) -> usize {
        let Self::CountBasedOnly(limit) = self;
        limit
    }
}

impl Default for ListenerManagerConfig {
    fn default() -> Self {
        Self {
            max_versions_per_listener: 2,
            cleanup_policy: CleanupPolicy::CountBasedOnly(2),
            cleanup_interval: Duration::from_secs(60),
            drain_config: ListenerDrainConfig::default(),
        }
    }
}

impl Default for ListenerDrainConfig {
    fn default() -> Self {
        Self {
            drain_time: DEFAULT_DRAIN_TIME,
            drain_strategy: DrainStrategy::Gradual,
            protocol_handling: ProtocolDrainBehavior::Auto,
        }
    }
}

impl ListenerManagerConfig {
    /// How many versions of one listener may live, the active one included: the smaller of the two
    /// limits.
    pub fn versions_limit(&self) -> usize {
        self.max_versions_per_listener
            .min(self.cleanup_policy.limit())
    }

    /// The drain tree's settings: `drain_config`'s time and strategy, Envoy's defaults for the
    /// rest.
    pub fn drain_settings(&self) -> DrainSettings {
        DrainSettings::default()
            .with_drain_time(self.drain_config.drain_time)
            .with_strategy(self.drain_config.drain_strategy)
    }

    /// What of it concerns listener-versions: the limit of versions.
    pub fn listeners_options(&self) -> ListenersOptions {
        ListenersOptions::default().with_max_versions(self.versions_limit())
    }
}

/// Reads the block, or nothing if it is Envoy's own bootstrap field of this name, which chooses an
/// extension.
pub(super) fn deserialize_block<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<ListenerManagerConfig>, D::Error> {
    const ENVOYS: &str = "envoy.config.listener.v3.ListenerManager";

    #[derive(Deserialize)]
    struct Block {
        name: Option<String>,
        typed_config: Option<Value>,
        max_versions_per_listener: Option<usize>,
        cleanup_policy: Option<CleanupPolicy>,
        #[serde(default, with = "duration::option")]
        cleanup_interval: Option<Duration>,
        drain_config: Option<ListenerDrainConfig>,
    }

    let block = Block::deserialize(deserializer)?;
    let ours = block.max_versions_per_listener.is_some()
        || block.cleanup_policy.is_some()
        || block.cleanup_interval.is_some()
        || block.drain_config.is_some();
    if block.name.is_some() || block.typed_config.is_some() {
        let type_url = block
            .typed_config
            .as_ref()
            .and_then(|any| any.get("@type")?.as_str());
        return match type_url.map(super::any::message_name) {
            _ if ours => Err(D::Error::custom(
                "mixes Envoy's extension (`name`, `typed_config`) with Orion's block (`max_versions_per_listener`, ..)",
            )),
            None | Some(ENVOYS) => Ok(None),
            Some(other) => Err(D::Error::custom(format_args!(
                "Envoy's listener manager extension `{other}` is not supported, only its default `{ENVOYS}`"
            ))),
        };
    }
    let default = ListenerManagerConfig::default();
    Ok(Some(ListenerManagerConfig {
        max_versions_per_listener: block
            .max_versions_per_listener
            .unwrap_or(default.max_versions_per_listener),
        cleanup_policy: block.cleanup_policy.unwrap_or(default.cleanup_policy),
        cleanup_interval: block.cleanup_interval.unwrap_or(default.cleanup_interval),
        drain_config: block.drain_config.unwrap_or(default.drain_config),
    }))
}
