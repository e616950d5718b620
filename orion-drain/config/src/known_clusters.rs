//! Routes lead to clusters that exist, as Envoy asks for routes that stand in a listener.

use std::collections::BTreeSet;

use super::{Action, FieldError, Listener, NetworkFilter, RouteConfiguration, path::FieldPath};

/// Finds the routes to clusters that are not among `known`.
pub(super) fn unknown(
    listener: &Listener,
    at: &FieldPath,
    known: &BTreeSet<String>,
    missing: &mut Vec<FieldError>,
) {
    for (at, chain) in listener.chains_at(at) {
        for (index, filter) in chain.filters.iter().enumerate() {
            let NetworkFilter::HttpConnectionManager(manager) = &filter.typed_config else {
                continue;
            };
            let Some(table) = &manager.route_config else {
                continue;
            };
            if table.validate_clusters == Some(false) {
                continue;
            }
            let at = at.key("filters").index(index).key("typed_config");
            in_table(table, &at.key("route_config"), known, missing);
        }
    }
}

/// The same of one table, which stands at `at`, whatever its `validate_clusters` says.
pub(super) fn in_table(
    table: &RouteConfiguration,
    at: &FieldPath,
    known: &BTreeSet<String>,
    missing: &mut Vec<FieldError>,
) {
    for (host_index, host) in table.virtual_hosts.iter().enumerate() {
        for (route_index, route) in host.routes.iter().enumerate() {
            let Action::Route(action) = &route.action else {
                continue;
            };
            let at = at.key("virtual_hosts").index(host_index);
            let at = at.key("routes").index(route_index).key("route");
            let one = (!action.cluster.is_empty()).then_some(&action.cluster);
            let one = one.map(|cluster| (at.key("cluster"), cluster));
            let weighted = action.weighted_clusters.iter();
            let weighted = weighted.flat_map(|weighted| &weighted.clusters).enumerate();
            let weighted = weighted.map(|(index, cluster)| {
                let at = at.key("weighted_clusters").key("clusters").index(index);
                (at.key("name"), &cluster.name)
            });
            let unknown = one.into_iter().chain(weighted);
            let unknown = unknown.filter(|(_, cluster)| !known.contains(*cluster));
            missing.extend(
                unknown.map(|(at, cluster)| {
                    FieldError::new(&at, format!("unknown cluster `{cluster}`"))
                }),
            );
        }
    }
}
