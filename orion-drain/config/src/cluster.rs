//! Static clusters: `config.cluster.v3.Cluster`.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    Address, Http2Options, LbPolicy, UpstreamOptions, duration,
    names::{self, Named, is_default},
};

/// A named group of endpoints.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// The name that routes refer to. Required.
    #[serde(default)]
    pub name: String,
    /// How the endpoints are found; only `STATIC` is served.
    #[serde(
        default,
        rename = "type",
        with = "names",
        skip_serializing_if = "is_default"
    )]
    pub discovery_type: DiscoveryType,
    /// How long a connection may take to be made. Default 5 s.
    #[serde(
        default,
        with = "duration::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub connect_timeout: Option<Duration>,
    /// Which endpoint is next. Default, and the only one that is served: `ROUND_ROBIN`.
    #[serde(default, with = "names", skip_serializing_if = "is_default")]
    pub lb_policy: LbPolicy,
    /// Which version of HTTP the endpoints speak. Default: HTTP/1.1.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub typed_extension_protocol_options: BTreeMap<String, UpstreamOptions>,
    /// The older way to say that they speak HTTP/2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http2_protocol_options: Option<Http2Options>,
    /// The endpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_assignment: Option<LoadAssignment>,
}

/// How endpoints are found.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DiscoveryType {
    /// `STATIC`: they stand in the file.
    #[default]
    Static,
}

impl Named for DiscoveryType {
    const NAMES: &'static [(&'static str, u64, Self)] = &[("STATIC", 0, Self::Static)];
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
}

/// An endpoint that load is balanced to: `config.endpoint.v3.LbEndpoint`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LbEndpoint {
    /// The endpoint.
    pub endpoint: Endpoint,
}

/// An endpoint: `config.endpoint.v3.Endpoint`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Where it is.
    pub address: Address,
}

impl Cluster {
    /// A cluster with these endpoints.
    pub fn new(name: impl Into<String>, addresses: impl IntoIterator<Item = Address>) -> Self {
        let name = name.into();
        let lb_endpoints = addresses
            .into_iter()
            .map(|address| LbEndpoint {
                endpoint: Endpoint { address },
            })
            .collect();
        let load_assignment = LoadAssignment {
            cluster_name: name.clone(),
            endpoints: vec![LocalityEndpoints { lb_endpoints }],
        };
        Self {
            name,
            load_assignment: Some(load_assignment),
            ..Self::default()
        }
    }

    /// The addresses of its endpoints.
    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
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

    /// Whether its endpoints are spoken to in HTTP/2.
    pub fn speaks_http2(&self) -> bool {
        let explicit = self
            .typed_extension_protocol_options
            .values()
            .any(UpstreamOptions::is_http2);
        explicit || self.http2_protocol_options.is_some()
    }

    /// The connect timeout as it takes effect.
    pub fn connect_limit(&self) -> Duration {
        self.connect_timeout.unwrap_or(Duration::from_secs(5))
    }
}
