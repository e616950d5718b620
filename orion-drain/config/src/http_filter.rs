//! HTTP filters: the router, and those that may be left out.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{
    HeaderMatcher, RequestHead,
    any::{self, TypedConfig, message_name},
    flags,
    names::is_default,
};

/// An HTTP filter.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpFilter {
    /// A name for logs.
    #[serde(default)]
    pub name: String,
    /// What the filter is.
    pub typed_config: HttpFilterConfig,
    /// Whether it is off. Default: no.
    #[serde(
        default,
        deserialize_with = "flags::deserialize",
        skip_serializing_if = "is_default"
    )]
    pub disabled: bool,
}

/// The HTTP filters that are known. Beside the router and `health_check` these are read, have no
/// effect, and are reported with the fields that have none: `adaptive_concurrency`,
/// `admission_control`, `alternate_protocols_cache`, `buffer`, `cache`, `cdn_loop`, `compressor`,
/// `cors`, `csrf`, `decompressor`, `file_system_buffer`, `geoip`, `grpc_field_extraction`,
/// `grpc_stats`, `grpc_web`, `header_to_metadata`, `json_to_metadata`, `on_demand`,
/// `proto_message_extraction`, `set_filter_state`, `set_metadata`, `stateful_session` and `tap`;
/// `fault` without settings. All others decide who is served and how, and are refused.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum HttpFilterConfig {
    /// The router, the last filter.
    Router(Router),
    /// Answers health checks.
    HealthCheck(HealthCheck),
    /// A filter that is left out.
    LeftOut(LeftOutFilter),
}

/// The router filter; it has no settings here.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Router {
    #[serde(rename = "@type", default = "router")]
    type_url: String,
}

impl Default for Router {
    fn default() -> Self {
        Self { type_url: router() }
    }
}

fn router() -> String {
    "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router".to_owned()
}

/// Answers the health checks of load balancers with 200, and with 503 while this process is not
/// ready or its health check is failed: `extensions.filters.http.health_check.v3.HealthCheck`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    #[serde(rename = "@type", default = "health_check")]
    type_url: String,
    /// Whether a check goes on to its route as long as it does not fail here. Required.
    #[serde(
        default,
        deserialize_with = "flags::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub pass_through_mode: Option<bool>,
    /// What all has to be true of a request that is a check. None: every request is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderMatcher>,
}

impl HealthCheck {
    /// Whether this request is a check.
    pub fn is_meant_by(&self, request: &RequestHead<'_>) -> bool {
        self.headers.iter().all(|header| header.matches(request))
    }
}

fn health_check() -> String {
    format!("type.googleapis.com/{HEALTH_CHECK}")
}

const HEALTH_CHECK: &str = "envoy.extensions.filters.http.health_check.v3.HealthCheck";

/// A filter that is read and left out.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOutFilter {
    /// What it is.
    #[serde(rename = "@type")]
    pub type_url: String,
    /// Its settings, as they stand.
    #[serde(flatten)]
    pub settings: Map<String, Value>,
}

/// The packages in `envoy.extensions.filters.http` of filters that neither refuse a request nor
/// change where it goes.
const DECORATING: &[&str] = &[
    "adaptive_concurrency",
    "admission_control",
    "alternate_protocols_cache",
    "buffer",
    "cache",
    "cdn_loop",
    "compressor",
    "cors",
    "csrf",
    "decompressor",
    "file_system_buffer",
    "geoip",
    "grpc_field_extraction",
    "grpc_stats",
    "grpc_web",
    "header_to_metadata",
    "json_to_metadata",
    "on_demand",
    "proto_message_extraction",
    "set_filter_state",
    "set_metadata",
    "stateful_session",
    "tap",
];

/// Whether a message of this type belongs to a filter that may be left out.
pub(super) fn decorates(type_url: &str) -> bool {
    package(type_url).is_some_and(|package| DECORATING.contains(&package))
}

fn package(type_url: &str) -> Option<&str> {
    let name = message_name(type_url).strip_prefix("envoy.extensions.filters.http.")?;
    name.split('.').next()
}

impl TypedConfig for HttpFilterConfig {
    const KNOWN: &'static [&'static str] = &[
        "envoy.extensions.filters.http.router.v3.Router",
        HEALTH_CHECK,
    ];

    fn read<'de, D: Deserializer<'de>>(known: usize, message: D) -> Result<Self, D::Error> {
        match known {
            0 => Router::deserialize(message).map(Self::Router),
            _ => HealthCheck::deserialize(message).map(Self::HealthCheck),
        }
    }

    fn left_out(type_url: &str, settings: Map<String, Value>) -> Option<Self> {
        let harmless = decorates(type_url)
            || (package(type_url) == Some("fault") && settings.values().all(is_empty));
        harmless.then(|| {
            Self::LeftOut(LeftOutFilter {
                type_url: type_url.to_owned(),
                settings,
            })
        })
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty) || value == ""
}

impl<'de> Deserialize<'de> for HttpFilterConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        any::deserialize(deserializer)
    }
}
