//! What a dump says of one listener version and of one route table.

use std::sync::Arc;
use std::time::SystemTime;

use listener_versions::{ListenerConfig, ListenerVersion, VersionState};
use orion_drain_config::{
    FilterChain, Listener, NetworkFilter, RouteConfiguration, format_duration,
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::redact::redact;

/// A table that came over RDS.
#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct RouteConfigView {
    /// The table's name.
    pub name: String,
    /// The xDS `version_info` of the update that brought it.
    pub version_info: String,
    /// The table as it was read.
    pub route_config: Value,
    /// When it was taken.
    pub last_updated: SystemTime,
}

impl RouteConfigView {
    /// A table, its label, and when it was taken.
    pub fn new(table: &RouteConfiguration, version_info: &str, last_updated: SystemTime) -> Self {
        Self {
            name: table.name.clone(),
            version_info: version_info.to_owned(),
            route_config: serde_json::to_value(table).unwrap_or_default(),
            last_updated,
        }
    }

    /// `DynamicRouteConfig`
    pub(super) fn json(&self) -> Value {
        let mut table = self.route_config.clone();
        if let Value::Object(fields) = &mut table {
            let kind = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
            fields.insert("@type".to_owned(), kind.into());
        }
        let last_updated = humantime::format_rfc3339_millis(self.last_updated).to_string();
        json!({ "version_info": self.version_info, "route_config": table, "last_updated": last_updated })
    }
}

/// A listener that the last update of listeners asked for, and that was refused.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedListenerView {
    /// The listener's name; empty if it could not be read.
    pub name: String,
    /// The xDS `version_info` of the update.
    pub version_info: String,
    /// What is wrong with it.
    pub details: String,
    /// When it was refused.
    pub last_update_attempt: SystemTime,
}

impl RefusedListenerView {
    /// A listener by its name, the label of its update, what is wrong with it, and when it was
    /// refused.
    pub fn new(
        name: impl Into<String>,
        version_info: impl Into<String>,
        details: impl Into<String>,
        last_update_attempt: SystemTime,
    ) -> Self {
        Self {
            name: name.into(),
            version_info: version_info.into(),
            details: details.into(),
            last_update_attempt,
        }
    }

    /// `UpdateFailureState`
    pub(super) fn json(&self) -> Value {
        let since = humantime::format_rfc3339_millis(self.last_update_attempt).to_string();
        json!({ "last_update_attempt": since, "details": self.details, "version_info": self.version_info })
    }
}

/// One version of a listener with its configuration.
#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct ListenerConfigView {
    /// The listener's name.
    pub name: String,
    /// The number of its version.
    pub version: u64,
    /// The xDS `version_info` of the update that brought it.
    pub version_info: String,
    /// Active, warming or draining.
    pub state: VersionState,
    /// Whether it came with the bootstrap.
    pub is_static: bool,
    /// The configuration as it was read.
    pub listener: Value,
    /// What it means with every default filled in.
    pub effective: Option<EffectiveListener>,
    /// When it was taken.
    pub last_updated: SystemTime,
}

/// What drains a listener's connections, with every default filled in.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EffectiveListener {
    drain_type: Value,
    traffic_direction: Value,
    filter_chains: Vec<EffectiveChain>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct EffectiveChain {
    name: String,
    protocol: &'static str,
    #[serde(flatten)]
    timeouts: Map<String, Value>,
}

impl EffectiveListener {
    /// What this configuration means.
    pub fn of(listener: &Listener) -> Self {
        use drain_tree::DrainType;
        use drain_tree::TrafficDirection;
        Self {
            drain_type: match listener.drain_type {
                DrainType::ModifyOnly => "MODIFY_ONLY".into(),
                _ => "DEFAULT".into(),
            },
            traffic_direction: match listener.traffic_direction {
                TrafficDirection::Inbound => "INBOUND".into(),
                TrafficDirection::Outbound => "OUTBOUND".into(),
                _ => "UNSPECIFIED".into(),
            },
            filter_chains: listener.all_chains().map(effective_chain).collect(),
        }
    }
}

fn effective_chain(chain: &FilterChain) -> EffectiveChain {
    let (protocol, timeouts) = match chain.terminal() {
        Some(NetworkFilter::HttpConnectionManager(manager)) => {
            let timeouts = manager.timeouts();
            let fields = [
                ("drain_timeout", Some(timeouts.drain)),
                ("delayed_close_timeout", Some(timeouts.delayed_close)),
                ("request_timeout", timeouts.request),
                ("idle_timeout", timeouts.idle),
                ("max_connection_duration", timeouts.max_connection_duration),
            ];
            ("http", fields.to_vec())
        }
        Some(NetworkFilter::TcpProxy(proxy)) => ("tcp", vec![("idle_timeout", proxy.idle_limit())]),
        _ => ("none", Vec::new()),
    };
    let timeouts = timeouts.into_iter().map(|(field, timeout)| {
        let value = timeout.map_or(Value::Null, |timeout| format_duration(timeout).into());
        (field.to_owned(), value)
    });
    EffectiveChain {
        name: chain.name.clone(),
        protocol,
        timeouts: timeouts.collect(),
    }
}

impl ListenerConfigView {
    /// Every version of these, as [`Listeners::versions`](listener_versions::Listeners::versions)
    /// gives them; `listener` is the configuration of one.
    pub fn all<C: ListenerConfig>(
        versions: &[Arc<ListenerVersion<C>>],
        listener: impl Fn(&C) -> &Listener,
    ) -> Vec<Self> {
        let view = |version: &Arc<ListenerVersion<C>>| {
            let listener = listener(version.config());
            Self {
                name: version.name().to_owned(),
                version: version.number(),
                version_info: version.version_info().to_owned(),
                state: version.state(),
                is_static: version.is_static(),
                listener: serde_json::to_value(listener).unwrap_or_default(),
                effective: Some(EffectiveListener::of(listener)),
                last_updated: version.last_updated(),
            }
        };
        versions.iter().map(view).collect()
    }

    /// `DynamicListenerState`, or with other fields `StaticListener`.
    pub(super) fn state_json(&self) -> Value {
        let mut listener = self.listener.clone();
        redact(&mut listener);
        if let Value::Object(fields) = &mut listener {
            let kind = "type.googleapis.com/envoy.config.listener.v3.Listener";
            fields.insert("@type".to_owned(), kind.into());
        }
        let last_updated = humantime::format_rfc3339_millis(self.last_updated).to_string();
        if self.is_static {
            return json!({ "listener": listener, "last_updated": last_updated });
        }
        json!({ "version_info": self.version_info, "listener": listener, "last_updated": last_updated })
    }
}
