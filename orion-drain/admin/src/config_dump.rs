//! `/config_dump`: every version's configuration as it was read, in Envoy's shape, and as it works.

use std::sync::Arc;
use std::time::SystemTime;

use http::StatusCode;
use listener_versions::{ListenerConfig, ListenerVersion, VersionState};
use regex_lite::Regex;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::query::Query;
use super::router::regex;
use super::static_dump::{NEVER, name_of, routes_of, static_of};
use super::translate::state_name;
use orion_drain_config::{
    FilterChain, Listener, NetworkFilter, RouteConfiguration, format_duration,
};

/// What `/config_dump` shows:
/// [`admin.v3.ConfigDump`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/admin/v3/config_dump.proto),
/// and one more entry with what is effective.
#[non_exhaustive]
#[derive(Debug, Clone, Default)]
pub struct ConfigDump {
    /// The bootstrap as it was read.
    pub bootstrap: Option<Value>,
    /// Every version of every listener, oldest first.
    pub listeners: Vec<ListenerConfigView>,
    /// The tables that came over RDS, by name.
    pub routes: Vec<RouteConfigView>,
    /// What the process drains by, whatever the configuration said: an object of the host's choice.
    pub effective: Option<Value>,
}

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
    fn json(&self) -> Value {
        let mut table = self.route_config.clone();
        if let Value::Object(fields) = &mut table {
            let kind = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
            fields.insert("@type".to_owned(), kind.into());
        }
        let last_updated = humantime::format_rfc3339_millis(self.last_updated).to_string();
        json!({ "version_info": self.version_info, "route_config": table, "last_updated": last_updated })
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
    fn state_json(&self) -> Value {
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

impl ConfigDump {
    /// What a query asks for: `?resource=FIELD`, `?mask=PATHS`, `?name_regex=REGEX`.
    pub(super) fn chosen(self, query: &Query) -> Result<Value, (StatusCode, String)> {
        let names = regex(query, "name_regex").map_err(|wrong| (StatusCode::BAD_REQUEST, wrong))?;
        let resource = query.get("resource");
        if let Some("bootstrap") = resource {
            let message =
                "bootstrap is not a repeated field. Use ?mask=bootstrap to get only this field";
            return Err((StatusCode::BAD_REQUEST, message.to_owned()));
        }
        let mut dump = self.to_json(resource, names.as_ref()).ok_or_else(|| {
            let resource = resource.unwrap_or_default();
            (
                StatusCode::NOT_FOUND,
                format!("{resource} not found in config dump"),
            )
        })?;
        let configs = dump["configs"]
            .as_array_mut()
            .map(std::mem::take)
            .unwrap_or_default();
        let configs = match query.get("mask") {
            Some(mask) => masked(configs, mask),
            None => configs,
        };
        // An empty list is not written, as everywhere in JSON of protobuf.
        Ok(match configs.is_empty() {
            true => json!({}),
            false => json!({ "configs": configs }),
        })
    }

    /// The JSON of the whole dump, or of one of its repeated fields
    /// (`?resource=dynamic_listeners`), with the entries of these names; `None` if there is no such
    /// field.
    pub(super) fn to_json(&self, resource: Option<&str>, names: Option<&Regex>) -> Option<Value> {
        let is_named = |name: &str| names.is_none_or(|names| names.is_match(name));
        let named = |mut entries: Vec<Value>| {
            entries.retain(|entry| name_of(entry).is_none_or(is_named));
            entries
        };
        let listeners = self.listeners.iter().filter(|one| is_named(&one.name));
        let (fixed, dynamic): (Vec<_>, Vec<_>) = listeners.partition(|one| one.is_static);
        let fixed: Vec<Value> = fixed
            .into_iter()
            .map(ListenerConfigView::state_json)
            .collect();
        let newest = dynamic
            .iter()
            .rfind(|one| one.state == VersionState::Active);
        let version_info = newest.map(|one| one.version_info.clone());
        let dynamic = dynamic_listeners(&dynamic);
        let kind = |name: &str| format!("type.googleapis.com/envoy.admin.v3.{name}");
        let typed = |name: &str, values: Vec<Value>| -> Vec<Value> {
            let each = values.into_iter().map(|mut value| {
                if let Value::Object(fields) = &mut value {
                    fields.insert("@type".to_owned(), kind(name).into());
                }
                value
            });
            each.collect()
        };
        let routes = self.routes.iter().filter(|one| is_named(&one.name));
        let routes: Vec<Value> = routes.map(RouteConfigView::json).collect();
        // Tables have names of their own, whatever their listener's is.
        let tables = named(routes_of(&self.listeners));
        let mut bootstrap = self.bootstrap.clone();
        bootstrap.iter_mut().for_each(redact);
        let fixed_of = |field: &str| named(static_of(bootstrap.as_ref(), field));
        let configs = match resource {
            Some("static_clusters") => {
                typed("ClustersConfigDump.StaticCluster", fixed_of("clusters"))
            }
            Some("static_route_configs") => typed("RoutesConfigDump.StaticRouteConfig", tables),
            Some("static_secrets") => typed("SecretsConfigDump.StaticSecret", fixed_of("secrets")),
            Some(resource) if NEVER.contains(&resource) => Vec::new(),
            Some("dynamic_route_configs") => typed("RoutesConfigDump.DynamicRouteConfig", routes),
            Some("static_listeners") => typed("ListenersConfigDump.StaticListener", fixed),
            Some("dynamic_listeners") => typed("ListenersConfigDump.DynamicListener", dynamic),
            Some(_) => return None,
            None => {
                let mut configs = Vec::new();
                if let Some(bootstrap) = &bootstrap {
                    configs.push(
                        json!({ "@type": kind("BootstrapConfigDump"), "bootstrap": bootstrap }),
                    );
                }
                configs.push(json!({
                    "@type": kind("ListenersConfigDump"), "version_info": version_info.unwrap_or_default(),
                    "static_listeners": fixed, "dynamic_listeners": dynamic,
                }));
                let routes = vec![
                    ("static_route_configs", tables),
                    ("dynamic_route_configs", routes),
                ];
                for (name, lists) in [
                    (
                        "ClustersConfigDump",
                        vec![("static_clusters", fixed_of("clusters"))],
                    ),
                    ("RoutesConfigDump", routes),
                    (
                        "SecretsConfigDump",
                        vec![("static_secrets", fixed_of("secrets"))],
                    ),
                ] {
                    let lists = lists.into_iter().filter(|(_, list)| !list.is_empty());
                    let lists = lists.map(|(field, list)| (field.to_owned(), list.into()));
                    let mut fields: Map<String, Value> = lists.collect();
                    if !fields.is_empty() {
                        fields.insert("@type".to_owned(), kind(name).into());
                        configs.push(Value::Object(fields));
                    }
                }
                configs.push(self.effective_json(is_named));
                configs
            }
        };
        Some(json!({ "configs": configs }))
    }

    /// Not Envoy's: what is in force, with every default filled in.
    fn effective_json(&self, is_named: impl Fn(&str) -> bool) -> Value {
        let listeners: Vec<_> = self
            .listeners
            .iter()
            .filter(|one| is_named(&one.name))
            .map(|one| {
                let state = state_name(one.state);
                json!({ "name": one.name, "version": one.version, "version_info": one.version_info,
                        "state": state, "effective": one.effective })
            })
            .collect();
        json!({ "@type": "type.googleapis.com/orion.drain.v1.EffectiveConfigDump",
                "process": self.effective, "listeners": listeners })
    }
}

/// Of each message what a field mask names, and its type; those of which nothing is named are left
/// out. A path ends at a list.
fn masked(configs: Vec<Value>, mask: &str) -> Vec<Value> {
    let masked = configs.into_iter().filter_map(|config| {
        let mut kept = Value::Null;
        for path in mask.split(',') {
            keep(&config, path, &mut kept);
        }
        let kept = kept.as_object_mut()?;
        if let Some(kind) = config.get("@type") {
            kept.insert("@type".to_owned(), kind.clone());
        }
        Some(Value::Object(std::mem::take(kept)))
    });
    masked.collect()
}

/// Copies what stands at a path.
fn keep(from: &Value, path: &str, to: &mut Value) {
    let (field, rest) = path.split_once('.').unwrap_or((path, ""));
    let Some(value) = from.get(field.trim()) else {
        return;
    };
    if rest.is_empty() || !value.is_object() {
        to[field.trim()] = value.clone();
        return;
    }
    let mut kept = to.get(field.trim()).cloned().unwrap_or_default();
    keep(value, rest, &mut kept);
    if !kept.is_null() {
        to[field.trim()] = kept;
    }
}

/// By name; the newest draining version of a name stands beside the active one, as in Envoy, and
/// older ones by themselves.
fn dynamic_listeners(versions: &[&ListenerConfigView]) -> Vec<Value> {
    let mut names: Vec<&str> = versions.iter().map(|one| one.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let mut listeners = Vec::new();
    for name in names {
        let mut first = Map::from_iter([("name".to_owned(), Value::from(name))]);
        let mut older = Vec::new();
        for version in versions.iter().rev().filter(|one| one.name == name) {
            let field = match version.state {
                VersionState::Active => "active_state",
                VersionState::Warming => "warming_state",
                VersionState::Draining | VersionState::Drained => "draining_state",
            };
            if first.contains_key(field) {
                older.push(json!({ "name": name, field: version.state_json() }));
            } else {
                first.insert(field.to_owned(), version.state_json());
            }
        }
        listeners.push(Value::Object(first));
        listeners.append(&mut older);
    }
    listeners
}

/// Takes out what is secret, under the names of the fields that Envoy marks `sensitive`.
fn redact(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match name.as_str() {
                    "private_key" | "password" | "token" | "secret" => blot(value),
                    _ => redact(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(redact),
        _ => {}
    }
}

/// The content of a data source is secret; the name of a file is not.
fn blot(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let inline = fields
                .iter_mut()
                .filter(|(name, _)| *name != "filename" && *name != "environment_variable");
            inline.for_each(|(_, value)| blot(value));
        }
        Value::Array(values) => values.iter_mut().for_each(blot),
        Value::Null => {}
        _ => *value = "[redacted]".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_dumped_but_the_names_of_their_files_are() {
        let certificates = json!([{
            "certificate_chain": { "filename": "chain.pem" },
            "private_key": { "inline_string": "-----BEGIN" },
            "password": { "inline_bytes": "c2VjcmV0" },
        }, { "private_key": { "filename": "key.pem" } }]);
        let socket = json!({ "common_tls_context": { "tls_certificates": certificates } });
        let dump = ConfigDump {
            bootstrap: Some(json!({ "transport_socket": socket })),
            ..ConfigDump::default()
        };
        let json = dump.to_json(None, None).expect("the whole dump");
        let certificates =
            &json["configs"][0]["bootstrap"]["transport_socket"]["common_tls_context"];
        assert_eq!(
            certificates["tls_certificates"],
            json!([{
                "certificate_chain": { "filename": "chain.pem" },
                "private_key": { "inline_string": "[redacted]" },
                "password": { "inline_bytes": "[redacted]" },
            }, { "private_key": { "filename": "key.pem" } }])
        );
    }

    #[test]
    fn every_draining_version_is_dumped_the_newest_beside_the_active_one() {
        let version = |version: u64, state| ListenerConfigView {
            name: "in".to_owned(),
            version,
            version_info: version.to_string(),
            state,
            is_static: false,
            listener: json!({}),
            effective: None,
            last_updated: SystemTime::UNIX_EPOCH,
        };
        let dump = ConfigDump {
            listeners: vec![
                version(1, VersionState::Draining),
                version(2, VersionState::Draining),
                version(3, VersionState::Active),
                version(4, VersionState::Warming),
            ],
            ..ConfigDump::default()
        };
        let json = dump
            .to_json(Some("dynamic_listeners"), None)
            .expect("a field");
        let info = |at: usize, state: &str| json["configs"][at][state]["version_info"].as_str();
        assert_eq!(
            (info(0, "active_state"), info(0, "warming_state")),
            (Some("3"), Some("4"))
        );
        assert_eq!(
            (info(0, "draining_state"), info(1, "draining_state")),
            (Some("2"), Some("1"))
        );
        assert_eq!(json["configs"].as_array().map(Vec::len), Some(2));
        let since = &json["configs"][0]["active_state"]["last_updated"];
        assert_eq!(since, "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn what_the_bootstrap_brought_is_dumped_under_envoys_names() {
        let manager = json!({ "typed_config": { "route_config": { "name": "shop" } } });
        let listener = ListenerConfigView {
            name: "in".to_owned(),
            version: 1,
            version_info: String::new(),
            state: VersionState::Active,
            is_static: true,
            listener: json!({ "filter_chains": [{ "filters": [manager] }] }),
            effective: None,
            last_updated: SystemTime::UNIX_EPOCH,
        };
        let key = json!({ "private_key": { "inline_string": "-----BEGIN" } });
        let fixed = json!({
            "clusters": [{ "name": "up" }, { "name": "down" }],
            "secrets": [{ "name": "own", "tls_certificate": key }],
        });
        let dump = ConfigDump {
            bootstrap: Some(json!({ "static_resources": fixed })),
            listeners: vec![listener],
            ..ConfigDump::default()
        };
        let chosen = |query: &str| {
            let uri = format!("/config_dump?{query}").parse().expect("a path");
            dump.clone().chosen(&Query::of(&uri))
        };
        let kind = |name: &str| format!("type.googleapis.com/envoy.{name}");
        let cluster = json!({ "@type": kind("config.cluster.v3.Cluster"), "name": "up" });
        assert_eq!(
            chosen("resource=static_clusters&name_regex=up").expect("a field"),
            json!({ "configs": [
                { "@type": kind("admin.v3.ClustersConfigDump.StaticCluster"), "cluster": cluster },
            ] })
        );
        let table = json!({ "@type": kind("config.route.v3.RouteConfiguration"), "name": "shop" });
        assert_eq!(
            chosen("resource=static_route_configs").expect("a field"),
            json!({ "configs": [
                { "@type": kind("admin.v3.RoutesConfigDump.StaticRouteConfig"), "route_config": table },
            ] })
        );
        // Each list by the names of its own entries.
        let shop = chosen("resource=static_route_configs&name_regex=shop").expect("a field");
        assert_eq!(shop["configs"][0]["route_config"]["name"], "shop");
        let listener = chosen("resource=static_route_configs&name_regex=^in$");
        assert_eq!(listener.expect("a field"), json!({}));
        let up = chosen("name_regex=^up$").expect("all")["configs"].to_string();
        let (_, behind_bootstrap) = up.split_once("ListenersConfigDump").expect("a list");
        assert!(behind_bootstrap.contains("\"up\""), "{up}");
        for other in ["\"down\"", "\"own\"", "\"shop\""] {
            assert!(!behind_bootstrap.contains(other), "{other} in {up}");
        }
        let secrets = chosen("resource=static_secrets").expect("a field");
        let secret = &secrets["configs"][0]["secret"];
        assert_eq!(secrets["configs"][0]["name"], "own");
        assert_eq!(
            secret["tls_certificate"]["private_key"]["inline_string"],
            "[redacted]"
        );
        let whole = chosen("").expect("all").to_string();
        for part in [
            "ClustersConfigDump",
            "RoutesConfigDump",
            "SecretsConfigDump",
        ] {
            assert!(whole.contains(&format!("admin.v3.{part}\"")), "{whole}");
        }
        for never in ["dynamic_active_clusters", "dynamic_endpoint_configs"] {
            let none = chosen(&format!("resource={never}"));
            assert_eq!(none.expect("a field"), json!({}));
        }
        let wrong = |query: &str| chosen(query).expect_err("no such list").0;
        assert_eq!(wrong("resource=bootstrap"), StatusCode::BAD_REQUEST);
        assert_eq!(wrong("resource=clusters"), StatusCode::NOT_FOUND);
    }

    #[test]
    fn tables_that_came_by_themselves_are_dumped_under_envoys_names() {
        let mut table = RouteConfiguration::default();
        table.name = "shop".to_owned();
        let dump = ConfigDump {
            routes: vec![RouteConfigView::new(&table, "7", SystemTime::UNIX_EPOCH)],
            ..ConfigDump::default()
        };
        let state = json!({
            "version_info": "7", "last_updated": "1970-01-01T00:00:00.000Z", "route_config": {
                "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "name": "shop",
            },
        });
        let json = dump.to_json(None, None).expect("the whole dump");
        let routes = json!({
            "@type": "type.googleapis.com/envoy.admin.v3.RoutesConfigDump", "dynamic_route_configs": [state],
        });
        assert!(
            json["configs"]
                .as_array()
                .is_some_and(|all| all.contains(&routes)),
            "{json}"
        );
        let one = dump
            .to_json(Some("dynamic_route_configs"), None)
            .expect("a field");
        assert_eq!(one["configs"][0]["route_config"]["name"], "shop");
    }
}
