//! What was read and is left out, as fields that are not carried out: filters, and ways to choose
//! an endpoint.

use serde_json::Value;

use super::{
    Cluster, HttpFilterConfig, LbPolicy, Listener, NetworkFilter, path::FieldPath, read::Unknown,
};

/// That of clusters that stand at `at`: endpoints take turns, whatever is asked for.
pub(super) fn find_in_clusters<'c>(
    clusters: &'c [Cluster],
    at: &FieldPath,
) -> impl Iterator<Item = Unknown> + use<'c> {
    let at = at.clone();
    let other = |(_, cluster): &(usize, &Cluster)| cluster.lb_policy != LbPolicy::RoundRobin;
    let clusters = clusters.iter().enumerate().filter(other);
    clusters.map(move |(index, cluster)| Unknown {
        path: at.index(index).key("lb_policy"),
        value: Value::String(format!("{:?}", cluster.lb_policy)),
    })
}

/// That of a listener that stands at `at`.
pub(super) fn find(listener: &Listener, at: &FieldPath) -> Vec<Unknown> {
    let mut found = Vec::new();
    for (at, chain) in listener.chains_at(at) {
        for (index, filter) in chain.filters.iter().enumerate() {
            let NetworkFilter::HttpConnectionManager(manager) = &filter.typed_config else {
                continue;
            };
            let at = at.key("filters").index(index).key("typed_config");
            for (index, filter) in manager.http_filters.iter().enumerate() {
                if let HttpFilterConfig::LeftOut(left_out) = &filter.typed_config {
                    found.push(Unknown {
                        path: at.key("http_filters").index(index),
                        value: Value::Object(left_out.settings.clone()),
                    });
                }
            }
        }
    }
    found
}
