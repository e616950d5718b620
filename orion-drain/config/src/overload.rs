//! The overload manager, as far as it limits connections: `config.overload.v3`.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{
    FieldError,
    any::{self, TypedConfig, message_name},
    numbers,
    path::FieldPath,
    read::Unknown,
};

/// What is watched so that a process is not overloaded: `config.overload.v3.OverloadManager`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverloadManager {
    /// What is watched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resource_monitors: Vec<ResourceMonitor>,
}

/// Something that is watched.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceMonitor {
    /// A name for logs.
    #[serde(default)]
    pub name: String,
    /// What it is.
    pub typed_config: ResourceMonitorConfig,
}

/// The resource monitors that have an effect. All others of Envoy, such as that of the heap, are
/// read, have no effect, and are reported with the fields that have none.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ResourceMonitorConfig {
    /// The number of connections.
    DownstreamConnections(DownstreamConnections),
    /// A monitor that is left out.
    LeftOut(Map<String, Value>),
}

/// How many connections the process may have open, over all listeners: one more is closed as soon
/// as it is accepted, and counted in `downstream_global_cx_overflow`. Envoy's
/// `extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownstreamConnections {
    #[serde(rename = "@type", default = "type_url")]
    type_url: String,
    /// That number, above 0. Required.
    #[serde(default, deserialize_with = "numbers::signed")]
    pub max_active_downstream_connections: i64,
}

const DOWNSTREAM_CONNECTIONS: &str =
    "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig";

fn type_url() -> String {
    format!("type.googleapis.com/{DOWNSTREAM_CONNECTIONS}")
}

impl TypedConfig for ResourceMonitorConfig {
    const KNOWN: &'static [&'static str] = &[DOWNSTREAM_CONNECTIONS];

    fn read<'de, D: Deserializer<'de>>(_: usize, message: D) -> Result<Self, D::Error> {
        DownstreamConnections::deserialize(message).map(Self::DownstreamConnections)
    }

    fn left_out(type_url: &str, mut message: Map<String, Value>) -> Option<Self> {
        let is_monitor = message_name(type_url).starts_with("envoy.extensions.resource_monitors.");
        is_monitor.then(|| {
            message.insert("@type".to_owned(), type_url.into());
            Self::LeftOut(message)
        })
    }
}

impl<'de> Deserialize<'de> for ResourceMonitorConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        any::deserialize(deserializer)
    }
}

impl OverloadManager {
    /// How many connections may be open; `None`: no limit.
    pub fn connection_limit(&self) -> Option<usize> {
        let limits = self.resource_monitors.iter();
        let limits = limits.filter_map(|monitor| match &monitor.typed_config {
            ResourceMonitorConfig::DownstreamConnections(limit) => {
                usize::try_from(limit.max_active_downstream_connections).ok()
            }
            ResourceMonitorConfig::LeftOut(_) => None,
        });
        limits.min()
    }

    /// The rules of Envoy's.
    pub(super) fn rules(&self, at: &FieldPath, wrong: &mut Vec<FieldError>) {
        for (index, monitor) in self.resource_monitors.iter().enumerate() {
            let ResourceMonitorConfig::DownstreamConnections(limit) = &monitor.typed_config else {
                continue;
            };
            if limit.max_active_downstream_connections <= 0 {
                let at = at.key("resource_monitors").index(index).key("typed_config");
                let at = at.key("max_active_downstream_connections");
                wrong.push(FieldError::new(&at, "must be at least 1"));
            }
        }
    }

    /// The monitors that are left out.
    pub(super) fn left_out(&self, at: &FieldPath) -> Vec<Unknown> {
        let monitors = self.resource_monitors.iter().enumerate();
        let left_out = monitors.filter_map(|(index, monitor)| match &monitor.typed_config {
            ResourceMonitorConfig::LeftOut(settings) => Some(Unknown {
                path: at.key("resource_monitors").index(index),
                value: Value::Object(settings.clone()),
            }),
            ResourceMonitorConfig::DownstreamConnections(_) => None,
        });
        left_out.collect()
    }
}

/// The fields of listeners that a limit of connections cannot stand beside.
const UNCOUNTED: &[&str] = &["bypass_overload_manager", "ignore_global_conn_limit"];

/// Finds static listeners whose connections a limit of the process is not to count.
pub(super) fn uncounted(unknown: &[Unknown], wrong: &mut Vec<FieldError>) {
    for field in unknown {
        let mut keys = field.path.keys_outwards();
        let is_uncounted = keys.next().is_some_and(|key| UNCOUNTED.contains(&key))
            && keys.eq(["listeners", "static_resources"])
            && field.value == true;
        if is_uncounted {
            let message = "not supported beside a limit of connections, which counts all";
            wrong.push(FieldError::new(&field.path, message));
        }
    }
}
