//! What a cluster's endpoints speak, and which of them is next.

use serde::{Deserialize, Deserializer, Serialize};

use super::{
    any::{self, TypedConfig},
    names::Named,
};

/// The key of the HTTP options in `typed_extension_protocol_options`, which is also the name of
/// their type.
pub(super) const HTTP: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Which endpoint of a cluster is next.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LbPolicy {
    /// `ROUND_ROBIN`: one after the other.
    #[default]
    RoundRobin,
    /// `LEAST_REQUEST`: the one with the fewest requests in Envoy; one after the other here.
    LeastRequest,
    /// `RING_HASH`: by the route's `hash_policy` in Envoy; one after the other here.
    RingHash,
    /// `RANDOM`: by chance in Envoy; one after the other here.
    Random,
    /// `MAGLEV`: by the route's `hash_policy` in Envoy; one after the other here.
    Maglev,
}

impl Named for LbPolicy {
    const NAMES: &'static [(&'static str, u64, Self)] = &[
        ("ROUND_ROBIN", 0, Self::RoundRobin),
        ("LEAST_REQUEST", 1, Self::LeastRequest),
        ("RING_HASH", 2, Self::RingHash),
        ("RANDOM", 3, Self::Random),
        ("MAGLEV", 5, Self::Maglev),
    ];
}

/// The protocol options of a cluster that are known.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "@type")]
pub enum UpstreamOptions {
    /// HTTP.
    #[serde(rename = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions")]
    Http(UpstreamHttpOptions),
}

impl TypedConfig for UpstreamOptions {
    const KNOWN: &'static [&'static str] = &[HTTP];

    fn read<'de, D: Deserializer<'de>>(_: usize, message: D) -> Result<Self, D::Error> {
        UpstreamHttpOptions::deserialize(message).map(Self::Http)
    }
}

impl<'de> Deserialize<'de> for UpstreamOptions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        any::deserialize(deserializer)
    }
}

/// HTTP towards a cluster: `extensions.upstreams.http.v3.HttpProtocolOptions`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamHttpOptions {
    /// The version that is spoken, whatever the client speaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explicit_http_config: Option<HttpVersionConfig>,
    /// The version that the client speaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_downstream_protocol_config: Option<VersionOptions>,
    /// The version that is agreed on by ALPN; without TLS HTTP/1.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_config: Option<VersionOptions>,
}

/// Options of the versions that may be spoken; they have no settings here.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionOptions {
    /// Those of HTTP/1.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_protocol_options: Option<Http1Options>,
    /// Those of HTTP/2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http2_protocol_options: Option<Http2Options>,
}

/// Which version of HTTP endpoints are spoken to in.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum UpstreamVersion {
    /// `HTTP1`
    #[default]
    Http1,
    /// `HTTP2`
    Http2,
    /// `DOWNSTREAM`: the one that the client speaks.
    Downstream,
    /// `ALPN`: the one that is agreed on; without TLS HTTP/1.1.
    Alpn,
}

/// One version of HTTP.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Oneof", into = "Oneof")]
pub enum HttpVersionConfig {
    /// HTTP/1.1.
    Http1(Http1Options),
    /// HTTP/2, with prior knowledge.
    Http2(Http2Options),
}

/// HTTP/1.1 towards an endpoint; it has no settings here.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Http1Options {}

/// HTTP/2 towards an endpoint; it has no settings here.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Http2Options {}

#[derive(Clone, Serialize, Deserialize)]
struct Oneof {
    #[serde(skip_serializing_if = "Option::is_none")]
    http_protocol_options: Option<Http1Options>,
    #[serde(skip_serializing_if = "Option::is_none")]
    http2_protocol_options: Option<Http2Options>,
}

impl TryFrom<Oneof> for HttpVersionConfig {
    type Error = &'static str;

    fn try_from(oneof: Oneof) -> Result<Self, Self::Error> {
        match (oneof.http_protocol_options, oneof.http2_protocol_options) {
            (Some(options), None) => Ok(Self::Http1(options)),
            (None, Some(options)) => Ok(Self::Http2(options)),
            _ => Err("expected one of `http_protocol_options`, `http2_protocol_options`"),
        }
    }
}

impl From<HttpVersionConfig> for Oneof {
    fn from(version: HttpVersionConfig) -> Self {
        let (http_protocol_options, http2_protocol_options) = match version {
            HttpVersionConfig::Http1(options) => (Some(options), None),
            HttpVersionConfig::Http2(options) => (None, Some(options)),
        };
        Self {
            http_protocol_options,
            http2_protocol_options,
        }
    }
}

impl UpstreamOptions {
    pub(super) const fn version(&self) -> Option<UpstreamVersion> {
        let Self::Http(options) = self;
        Some(match options {
            UpstreamHttpOptions {
                explicit_http_config: Some(HttpVersionConfig::Http2(_)),
                ..
            } => UpstreamVersion::Http2,
            UpstreamHttpOptions {
                explicit_http_config: Some(HttpVersionConfig::Http1(_)),
                ..
            } => UpstreamVersion::Http1,
            UpstreamHttpOptions {
                use_downstream_protocol_config: Some(_),
                ..
            } => UpstreamVersion::Downstream,
            UpstreamHttpOptions {
                auto_config: Some(_),
                ..
            } => UpstreamVersion::Alpn,
            _ => return None,
        })
    }
}
