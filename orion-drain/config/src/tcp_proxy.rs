//! The TCP proxy filter.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{duration, names::is_default};

/// Bytes to a cluster and back, as in
/// [`TcpProxy`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/filters/network/tcp_proxy/v3/tcp_proxy.proto).
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpProxy {
    /// The name in `tcp.<stat_prefix>.*`. Required.
    #[serde(default)]
    pub stat_prefix: String,
    /// Where the bytes go. Required.
    #[serde(default)]
    pub cluster: String,
    /// Whether data asks "may this connection go now?" while its listener drains. Default: no.
    #[serde(default, skip_serializing_if = "is_default")]
    pub check_drain_close: bool,
    /// How long a connection without data is kept. Default 1 h; 0: for ever.
    #[serde(
        default,
        with = "duration::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub idle_timeout: Option<Duration>,
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

    /// The idle timeout as it takes effect; `None`: no limit.
    pub fn idle_limit(&self) -> Option<Duration> {
        Some(self.idle_timeout.unwrap_or(Duration::from_secs(3600)))
            .filter(|limit| !limit.is_zero())
    }
}
