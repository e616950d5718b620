//! The TCP proxy filter.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Percent, WeightedClusters, duration, flags, names::is_default};

/// Bytes to a cluster and back, as in
/// [`TcpProxy`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/filters/network/tcp_proxy/v3/tcp_proxy.proto).
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpProxy {
    /// The name in `tcp.<stat_prefix>.*`. Required.
    #[serde(default)]
    pub stat_prefix: String,
    /// Where the bytes go. This or `weighted_clusters` is required.
    #[serde(default)]
    pub cluster: String,
    /// Clusters that share the connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weighted_clusters: Option<WeightedClusters>,
    /// Whether, while its listener drains, a connection is closed behind the first chunk of data
    /// after its slot. Default: no.
    #[serde(
        default,
        deserialize_with = "flags::deserialize",
        skip_serializing_if = "is_default"
    )]
    pub check_drain_close: bool,
    /// How long a connection without data is kept. Default 1 h; 0: for ever.
    #[serde(
        default,
        with = "duration::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub idle_timeout: Option<Duration>,
    /// How old a connection may get, 1 ms at least; then it ends in FIN in its next quiet moment, 5
    /// s later at the latest. Default: no limit.
    #[serde(
        default,
        with = "duration::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_downstream_connection_duration: Option<Duration>,
    /// How much older a connection may get, in percent of `max_downstream_connection_duration`;
    /// each has another share of that. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_downstream_connection_duration_jitter_percentage: Option<Percent>,
}

impl TcpProxy {
    /// A proxy to this cluster.
    pub fn new(stat_prefix: impl Into<String>, cluster: impl Into<String>) -> Self {
        Self {
            stat_prefix: stat_prefix.into(),
            cluster: cluster.into(),
            ..Self::default()
        }
    }

    /// The cluster of a connection, which this sample of chance, any number, falls to.
    pub fn choose_cluster(&self, sample: u64) -> &str {
        let weighted = self.weighted_clusters.as_ref();
        let chosen = weighted.and_then(|clusters| clusters.pick(sample));
        chosen.map_or(&self.cluster, |cluster| &cluster.name)
    }

    /// The idle timeout as it takes effect; `None`: no limit.
    pub fn idle_limit(&self) -> Option<Duration> {
        Some(self.idle_timeout.unwrap_or(Duration::from_secs(3600)))
            .filter(|limit| !limit.is_zero())
    }
}
