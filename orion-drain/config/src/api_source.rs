//! A control plane as the source of listeners: `ads`, and `config.core.v3.ApiConfigSource`.

use http::uri::Authority;
use serde::{Deserialize, Serialize};

use super::{
    Bootstrap, Cluster, ConfigSource, FieldError, HeaderField, flags,
    names::{self, Named, is_default},
    path::FieldPath,
};

/// Listeners come over the stream of `dynamic_resources.ads_config`:
/// `config.core.v3.AggregatedConfigSource`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AggregatedConfigSource {}

/// A control plane that is asked over gRPC: `config.core.v3.ApiConfigSource`. Needs the feature
/// `xds`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiConfigSource {
    /// What is asked for: all listeners with every response, or what changed. Required.
    #[serde(with = "names")]
    pub api_type: ApiType,
    /// The version of the protocol. Only `V3`, the default here, is spoken.
    #[serde(default, with = "names")]
    pub transport_api_version: ApiVersion,
    /// Where the control plane is; exactly one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grpc_services: Vec<GrpcService>,
    /// Whether only the first request of a stream says which proxy asks. Default: no, each does.
    #[serde(
        default,
        deserialize_with = "flags::deserialize",
        skip_serializing_if = "is_default"
    )]
    pub set_node_on_first_message_only: bool,
}

/// How a control plane sends changes.
#[expect(
    clippy::exhaustive_enums,
    reason = "a client of control planes speaks each"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ApiType {
    /// `GRPC`: every response has all listeners.
    Grpc,
    /// `DELTA_GRPC`: a response has what is new or changed, and the names of what is gone.
    DeltaGrpc,
}

impl Named for ApiType {
    const NAMES: &'static [(&'static str, u64, Self)] =
        &[("GRPC", 2, Self::Grpc), ("DELTA_GRPC", 3, Self::DeltaGrpc)];
}

/// The version of the xDS protocol.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ApiVersion {
    /// `V3`
    #[default]
    V3,
}

impl Named for ApiVersion {
    const NAMES: &'static [(&'static str, u64, Self)] = &[("V3", 2, Self::V3)];
}

/// A gRPC service: `config.core.v3.GrpcService`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrpcService {
    /// The cluster that it is in.
    pub envoy_grpc: EnvoyGrpc,
    /// Headers of the stream, such as a token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub initial_metadata: Vec<HeaderField>,
}

/// A gRPC service in a cluster: `config.core.v3.GrpcService.EnvoyGrpc`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvoyGrpc {
    /// A static cluster whose endpoints speak HTTP/2, in clear or by its `transport_socket` over
    /// TLS. Required.
    #[serde(default)]
    pub cluster_name: String,
    /// The `:authority` of the stream. Default: the cluster's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub authority: String,
}

impl Bootstrap {
    /// The control plane that listeners come from, and whether over an aggregated stream; `None` if
    /// they come from elsewhere.
    pub fn lds_control_plane(&self) -> Option<(&ApiConfigSource, bool)> {
        let dynamic = self.dynamic_resources.as_ref()?;
        let source = dynamic.lds_config.as_ref()?;
        match (&source.api_config_source, &source.ads) {
            (Some(api), _) => Some((api, false)),
            (None, Some(_)) => Some((dynamic.ads_config.as_ref()?, true)),
            (None, None) => None,
        }
    }

    /// The control plane of the aggregated stream.
    pub fn ads_control_plane(&self) -> Option<&ApiConfigSource> {
        self.dynamic_resources.as_ref()?.ads_config.as_ref()
    }

    /// The cluster of this name.
    pub fn cluster(&self, name: &str) -> Option<&Cluster> {
        self.clusters().iter().find(|cluster| cluster.name == name)
    }
}

/// Envoy's rules for where listeners come from.
pub(super) fn validate(bootstrap: &Bootstrap, wrong: &mut Vec<FieldError>) {
    let Some(dynamic) = &bootstrap.dynamic_resources else {
        return;
    };
    let at = FieldPath::root().key("dynamic_resources");
    if let Some(api) = &dynamic.ads_config {
        self::api(bootstrap, api, &at.key("ads_config"), wrong);
    }
    let Some(source) = &dynamic.lds_config else {
        return;
    };
    let at_lds = at.key("lds_config");
    let kinds = source.kinds();
    match kinds[..] {
        [] => {
            let message = "expected one of `path_config_source`, `api_config_source`, `ads`";
            wrong.push(FieldError::new(&at_lds, message));
        }
        [first, second, ..] => {
            let message = format!("expected one of `{first}`, `{second}`, not both");
            wrong.push(FieldError::new(&at_lds, message));
        }
        [_] => {}
    }
    if source.ads.is_some() && dynamic.ads_config.is_none() {
        let message = "`dynamic_resources.ads_config` is missing";
        wrong.push(FieldError::new(&at_lds.key("ads"), message));
    }
    if let Some(api) = &source.api_config_source {
        self::api(bootstrap, api, &at_lds.key("api_config_source"), wrong);
    }
    if cfg!(not(feature = "xds")) {
        for kind in kinds
            .iter()
            .filter(|kind| ["ads", "api_config_source"].contains(kind))
        {
            wrong.push(FieldError::new(
                &at_lds.key(kind),
                "needs the feature `xds`",
            ));
        }
    }
}

impl ConfigSource {
    /// The sources that it names.
    pub(super) fn kinds(&self) -> Vec<&'static str> {
        let all = [
            ("path", self.path.is_some()),
            ("path_config_source", self.path_config_source.is_some()),
            ("api_config_source", self.api_config_source.is_some()),
            ("ads", self.ads.is_some()),
        ];
        all.iter()
            .filter(|(_, set)| *set)
            .map(|(kind, _)| *kind)
            .collect()
    }
}

fn api(bootstrap: &Bootstrap, api: &ApiConfigSource, at: &FieldPath, wrong: &mut Vec<FieldError>) {
    let at = at.key("grpc_services");
    let [service] = &api.grpc_services[..] else {
        let message = format!(
            "exactly one is supported, found {}",
            api.grpc_services.len()
        );
        wrong.push(FieldError::new(&at, message));
        return;
    };
    let at = at.index(0);
    for (index, header) in service.initial_metadata.iter().enumerate() {
        if header.parts().is_none() {
            let at = at.key("initial_metadata").index(index);
            wrong.push(FieldError::new(&at, "not a header that HTTP allows"));
        }
    }
    let at = at.key("envoy_grpc");
    let authority = &service.envoy_grpc.authority;
    if !authority.is_empty() && authority.parse::<Authority>().is_err() {
        let message = "not an authority that HTTP allows";
        wrong.push(FieldError::new(&at.key("authority"), message));
    }
    let at = at.key("cluster_name");
    let name = &service.envoy_grpc.cluster_name;
    let problem = match bootstrap.cluster(name) {
        None => format!("unknown cluster `{name}`"),
        Some(cluster) if !cluster.speaks_http2() => {
            format!("cluster `{name}` does not speak HTTP/2, and gRPC needs it")
        }
        Some(cluster) if cluster.addresses().next().is_none() => {
            format!("cluster `{name}` has no endpoint")
        }
        Some(_) => return,
    };
    wrong.push(FieldError::new(&at, problem));
}
