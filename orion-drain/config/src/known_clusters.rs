//! Routes lead to clusters that exist, as Envoy asks for routes that stand in a listener.

use std::collections::BTreeSet;

use super::{Action, FieldError, Listener, NetworkFilter, path::FieldPath};

/// Finds the routes to clusters that are not among `known`.
pub(super) fn unknown(
    listener: &Listener,
    at: &FieldPath,
    known: &BTreeSet<String>,
    missing: &mut Vec<FieldError>,
) {
    let chains = listener.filter_chains.iter().enumerate();
    let chains = chains.map(|(index, chain)| (at.key("filter_chains").index(index), chain));
    let default = listener
        .default_filter_chain
        .iter()
        .map(|chain| (at.key("default_filter_chain"), chain));
    for (at, chain) in chains.chain(default) {
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
            let at = at
                .key("filters")
                .index(index)
                .key("typed_config")
                .key("route_config");
            for (host_index, host) in table.virtual_hosts.iter().enumerate() {
                for (route_index, route) in host.routes.iter().enumerate() {
                    let Action::Route(action) = &route.action else {
                        continue;
                    };
                    if !known.contains(&action.cluster) {
                        let at = at
                            .key("virtual_hosts")
                            .index(host_index)
                            .key("routes")
                            .index(route_index);
                        let at = at.key("route").key("cluster");
                        missing.push(FieldError::new(
                            &at,
                            format!("unknown cluster `{}`", action.cluster),
                        ));
                    }
                }
            }
        }
    }
}
