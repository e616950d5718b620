//! Clusters: `config.cluster.v3.Cluster`.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    Address, EndpointAddress, Http2Options, LbPolicy, Percent, UpstreamOptions,
    UpstreamTransportSocket, UpstreamVersion, duration,
    names::{self, Named, is_default},
    numbers,
};

/// A named group of endpoints.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// The name that routes refer to. Required.
    #[serde(default)]
    pub name: String,
    /// How the endpoints are found. Default `STATIC`.
    #[serde(
        default,
        rename = "type",
        with = "names",
        skip_serializing_if = "is_default"
    )]
    pub discovery_type: DiscoveryType,
    /// How long a connection may take to be made, above 0. Default 5 s.
    #[serde(
        default,
        with = "duration::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub connect_timeout: Option<Duration>,
    /// How often host names are resolved. Default 5 s. The addresses that are known are used until
    /// others are.
    #[serde(
        default,
        with = "duration::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub dns_refresh_rate: Option<Duration>,
    /// Which addresses of a host name are used. Default `AUTO`.
    #[serde(default, with = "names", skip_serializing_if = "is_default")]
    pub dns_lookup_family: DnsLookupFamily,
    /// Which endpoint is next. Default `ROUND_ROBIN`; any other is reported with the fields that
    /// have no effect.
    #[serde(default, with = "names", skip_serializing_if = "is_default")]
    pub lb_policy: LbPolicy,
    /// What becomes of requests when no endpoint is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common_lb_config: Option<CommonLbConfig>,
    /// Which version of HTTP the endpoints speak. Default: HTTP/1.1.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub typed_extension_protocol_options: BTreeMap<String, UpstreamOptions>,
    /// The older way to say that they speak HTTP/2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http2_protocol_options: Option<Http2Options>,
    /// What connections to the endpoints are wrapped in. Absent: nothing, they speak in clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport_socket: Option<UpstreamTransportSocket>,
    /// The endpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_assignment: Option<LoadAssignment>,
}

/// What all ways to choose an endpoint have in common: `config.cluster.v3.Cluster.CommonLbConfig`.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommonLbConfig {
    /// Where fewer percent of a priority's endpoints are well, and the others cannot take their
    /// requests, all of them get requests. Default 50; 0: none that is not well ever does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_panic_threshold: Option<Percent>,
}

/// How endpoints are found.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DiscoveryType {
    /// `STATIC`: they stand in the file.
    #[default]
    Static,
    /// `STRICT_DNS`: all addresses of their host names.
    StrictDns,
    /// `LOGICAL_DNS`: the first address of the one host name.
    LogicalDns,
}

/// Which addresses of a host name are used.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DnsLookupFamily {
    /// `AUTO`: those of IPv6, or else those of IPv4.
    #[default]
    Auto,
    /// `V4_ONLY`
    V4Only,
    /// `V6_ONLY`
    V6Only,
    /// `V4_PREFERRED`: those of IPv4, or else those of IPv6.
    V4Preferred,
    /// `ALL`
    All,
}

impl Named for DnsLookupFamily {
    const NAMES: &'static [(&'static str, u64, Self)] = &[
        ("AUTO", 0, Self::Auto),
        ("V4_ONLY", 1, Self::V4Only),
        ("V6_ONLY", 2, Self::V6Only),
        ("V4_PREFERRED", 3, Self::V4Preferred),
        ("ALL", 4, Self::All),
    ];
}

impl DnsLookupFamily {
    /// Those of a name's addresses that are used, in their order.
    pub fn choose(self, found: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
        let (v4, v6): (Vec<_>, Vec<_>) = found.into_iter().partition(SocketAddr::is_ipv4);
        match self {
            Self::V4Only => v4,
            Self::V6Only => v6,
            Self::Auto if v6.is_empty() => v4,
            Self::Auto => v6,
            Self::V4Preferred if v4.is_empty() => v6,
            Self::V4Preferred => v4,
            Self::All => [v4, v6].concat(),
        }
    }
}

impl Named for DiscoveryType {
    const NAMES: &'static [(&'static str, u64, Self)] = &[
        ("STATIC", 0, Self::Static),
        ("STRICT_DNS", 1, Self::StrictDns),
        ("LOGICAL_DNS", 2, Self::LogicalDns),
    ];
}

/// The endpoints of a cluster: `config.endpoint.v3.ClusterLoadAssignment`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadAssignment {
    /// The cluster's name again.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cluster_name: String,
    /// Groups of endpoints by locality.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<LocalityEndpoints>,
}

/// The endpoints of one locality: `config.endpoint.v3.LocalityLbEndpoints`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalityEndpoints {
    /// The endpoints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lb_endpoints: Vec<LbEndpoint>,
    /// 0, the default, is best. The next one gets what the endpoints of this one that are well
    /// cannot take: each takes 1.4 times its part, so that none goes on while 72 % are well.
    #[serde(
        default,
        deserialize_with = "numbers::deserialize",
        skip_serializing_if = "is_default"
    )]
    pub priority: u32,
}

/// An endpoint that load is balanced to: `config.endpoint.v3.LbEndpoint`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LbEndpoint {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// What is known of it. One that is `DRAINING`, `UNHEALTHY` or `TIMEOUT` gets no new requests, as
    /// long as enough others are well: see `healthy_panic_threshold`.
    #[serde(default, with = "names", skip_serializing_if = "is_default")]
    pub health_status: HealthStatus,
    /// How many requests it gets for each that an endpoint of weight 1 gets. At least 1, which is
    /// the default.
    #[serde(
        default,
        deserialize_with = "numbers::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub load_balancing_weight: Option<u32>,
}

/// What is known of an endpoint: `config.core.v3.HealthStatus`.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum HealthStatus {
    /// `UNKNOWN`: it is used.
    #[default]
    Unknown,
    /// `HEALTHY`: it is used.
    Healthy,
    /// `UNHEALTHY`
    Unhealthy,
    /// `DRAINING`: the others are counted without it.
    Draining,
    /// `TIMEOUT`
    Timeout,
    /// `DEGRADED`: it gets what those that are healthy cannot take.
    Degraded,
}

impl Named for HealthStatus {
    const NAMES: &'static [(&'static str, u64, Self)] = &[
        ("UNKNOWN", 0, Self::Unknown),
        ("HEALTHY", 1, Self::Healthy),
        ("UNHEALTHY", 2, Self::Unhealthy),
        ("DRAINING", 3, Self::Draining),
        ("TIMEOUT", 4, Self::Timeout),
        ("DEGRADED", 5, Self::Degraded),
    ];
}

/// An endpoint: `config.endpoint.v3.Endpoint`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Where it is.
    pub address: EndpointAddress,
    /// The host that `auto_host_rewrite` asks it for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hostname: String,
}

impl LbEndpoint {
    /// Its weight as it takes effect.
    pub fn weight(&self) -> u32 {
        self.load_balancing_weight.unwrap_or(1)
    }
}

impl Cluster {
    /// A cluster with these endpoints.
    pub fn new(name: impl Into<String>, addresses: impl IntoIterator<Item = Address>) -> Self {
        let name = name.into();
        let lb_endpoints = addresses
            .into_iter()
            .map(|address| LbEndpoint {
                endpoint: Endpoint {
                    address: address.into(),
                    hostname: String::new(),
                },
                health_status: HealthStatus::Unknown,
                load_balancing_weight: None,
            })
            .collect();
        let load_assignment = LoadAssignment {
            cluster_name: name.clone(),
            endpoints: vec![LocalityEndpoints {
                lb_endpoints,
                priority: 0,
            }],
        };
        Self {
            name,
            load_assignment: Some(load_assignment),
            ..Self::default()
        }
    }

    /// The addresses of its endpoints.
    pub fn addresses(&self) -> impl Iterator<Item = &EndpointAddress> {
        let endpoints = self
            .localities()
            .iter()
            .flat_map(|locality| &locality.lb_endpoints);
        endpoints.map(|lb_endpoint| &lb_endpoint.endpoint.address)
    }

    pub(super) fn localities(&self) -> &[LocalityEndpoints] {
        self.load_assignment
            .as_ref()
            .map_or(&[], |assignment| &assignment.endpoints)
    }

    /// Which version of HTTP its endpoints are spoken to in.
    pub fn version(&self) -> UpstreamVersion {
        let mut explicit = self.typed_extension_protocol_options.values();
        match explicit.find_map(UpstreamOptions::version) {
            Some(version) => version,
            None if self.http2_protocol_options.is_some() => UpstreamVersion::Http2,
            None => UpstreamVersion::Http1,
        }
    }

    /// Whether its endpoints are spoken to in HTTP/2, whatever the client speaks.
    pub fn speaks_http2(&self) -> bool {
        self.version() == UpstreamVersion::Http2
    }

    /// The connect timeout as it takes effect.
    pub fn connect_limit(&self) -> Duration {
        self.connect_timeout.unwrap_or(Duration::from_secs(5))
    }

    /// How often host names are resolved, as it takes effect.
    pub fn resolve_interval(&self) -> Duration {
        self.dns_refresh_rate.unwrap_or(Duration::from_secs(5))
    }
}
