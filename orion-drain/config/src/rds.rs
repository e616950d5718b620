//! Routes by the name of a table that the control plane sends (RDS).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ConfigSource, FieldError, Listener, NetworkFilter, path::FieldPath};

/// A table that comes by itself, as in
/// [`Rds`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto).
/// Needs the feature `xds`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rds {
    /// Where it comes from: `ads`, and nothing else here. Required. A listener that is new or
    /// changed waits for its table for `initial_fetch_timeout`, and the version before it serves
    /// until then; without a table requests are answered with 404.
    pub config_source: ConfigSource,
    /// The table's name. Required.
    #[serde(default)]
    pub route_config_name: String,
}

impl Rds {
    /// How long a listener waits for this table before it serves without one; `None`: for ever.
    pub fn initial_fetch_limit(&self) -> Option<Duration> {
        let limit = self.config_source.initial_fetch_timeout;
        Some(limit.unwrap_or(Duration::from_secs(15))).filter(|limit| !limit.is_zero())
    }
}

/// What of it cannot be had here.
pub(super) fn rules(rds: &Rds, at: &FieldPath, wrong: &mut Vec<FieldError>) {
    if rds.route_config_name.is_empty() {
        let at = at.key("route_config_name");
        wrong.push(FieldError::new(&at, "must not be empty"));
    }
    let at = at.key("config_source");
    let kinds = rds.config_source.kinds();
    for kind in kinds.iter().filter(|kind| **kind != "ads") {
        let message = "not supported, routes come over `ads` only";
        wrong.push(FieldError::new(&at.key(kind), message));
    }
    if kinds.is_empty() {
        wrong.push(FieldError::new(&at, "expected `ads`, and found no source"));
    }
    if cfg!(not(feature = "xds")) && kinds.contains(&"ads") {
        let at = at.key("ads");
        wrong.push(FieldError::new(&at, "needs the feature `xds`"));
    }
}

/// Finds the tables of a listener that could come over ADS only; for a process that has none.
pub(super) fn without_ads(listener: &Listener, at: &FieldPath, wrong: &mut Vec<FieldError>) {
    for (at, chain) in listener.chains_at(at) {
        for (index, filter) in chain.filters.iter().enumerate() {
            let NetworkFilter::HttpConnectionManager(manager) = &filter.typed_config else {
                continue;
            };
            if manager
                .rds
                .as_ref()
                .is_none_or(|rds| rds.config_source.ads.is_none())
            {
                continue;
            }
            let at = at.key("filters").index(index).key("typed_config");
            let at = at.key("rds").key("config_source").key("ads");
            let message = "there is no aggregated stream: the bootstrap has no \
                           `dynamic_resources.ads_config`";
            wrong.push(FieldError::new(&at, message));
        }
    }
}
