//! The lists of `/config_dump` that the bootstrap and the listeners fill: clusters, secrets, and the
//! tables that stand in a listener.

use listener_versions::VersionState;
use serde_json::{Value, json};

use super::ListenerConfigView;

/// Lists of Envoy's that are always empty here: there is no discovery service for them.
pub(super) const NEVER: [&str; 9] = [
    "dynamic_active_clusters",
    "dynamic_warming_clusters",
    "dynamic_active_secrets",
    "dynamic_warming_secrets",
    "static_endpoint_configs",
    "dynamic_endpoint_configs",
    "inline_scoped_route_configs",
    "dynamic_scoped_route_configs",
    "ecds_filters",
];

fn with_type(mut message: Value, kind: &str) -> Value {
    if let Value::Object(fields) = &mut message {
        let kind = format!("type.googleapis.com/envoy.{kind}");
        fields.insert("@type".to_owned(), kind.into());
    }
    message
}

/// What stands in this list of the bootstrap's `static_resources`: `clusters` or `secrets`.
pub(super) fn static_of(bootstrap: Option<&Value>, field: &str) -> Vec<Value> {
    let list = bootstrap.and_then(|it| it.get("static_resources")?.get(field)?.as_array());
    let each = list.into_iter().flatten().cloned();
    let each = each.map(|message| match field {
        "clusters" => json!({ "cluster": with_type(message, "config.cluster.v3.Cluster") }),
        _ => {
            let kind = "extensions.transport_sockets.tls.v3.Secret";
            json!({ "name": message["name"], "secret": with_type(message, kind) })
        }
    });
    each.collect()
}

/// The tables that stand in the listeners that serve.
pub(super) fn routes_of(listeners: &[ListenerConfigView]) -> Vec<Value> {
    let serving = listeners
        .iter()
        .filter(|one| one.state == VersionState::Active);
    let chains = serving.flat_map(|one| {
        let chains = one.listener["filter_chains"].as_array();
        let chains = chains.into_iter().flatten();
        chains.chain(one.listener.get("default_filter_chain"))
    });
    let filters = chains.flat_map(|chain| chain["filters"].as_array().into_iter().flatten());
    let tables = filters.filter_map(|filter| filter.get("typed_config")?.get("route_config"));
    let kind = "config.route.v3.RouteConfiguration";
    tables
        .map(|table| json!({ "route_config": with_type(table.clone(), kind) }))
        .collect()
}

/// The name of what an entry of a list shows.
pub(super) fn name_of(entry: &Value) -> Option<&str> {
    let shown = entry.get("cluster").or(entry.get("route_config"));
    shown.unwrap_or(entry).get("name")?.as_str()
}
