//! Virtual hosts and routes: `config.route.v3`.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    HeaderMatcher, HeaderValueOption, HttpConnectionManager, QueryParameterMatcher, RedirectAction,
    RegexMatcher, RegexRewrite, RuntimeFraction, UpgradeConfig, WeightedClusters, duration, flags,
    names::{self, Named, is_default},
    numbers,
};

/// Where requests go: `config.route.v3.RouteConfiguration`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteConfiguration {
    /// A name for logs; of a table that comes by itself the one that listeners refer to, required.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The hosts, told apart by their domains.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub virtual_hosts: Vec<VirtualHost>,
    /// Headers of every request to an upstream.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub request_headers_to_add: Vec<HeaderValueOption>,
    /// Headers that no request to an upstream has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub request_headers_to_remove: Vec<String>,
    /// Headers of every response.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub response_headers_to_add: Vec<HeaderValueOption>,
    /// Headers that no response has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub response_headers_to_remove: Vec<String>,
    /// Whether a route to a cluster that does not exist is refused. Default, as in Envoy: yes for
    /// routes in a listener; no for a table that comes by itself, and requests to such a cluster
    /// are answered with 503.
    #[serde(
        default,
        deserialize_with = "flags::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub validate_clusters: Option<bool>,
    /// Whether the port of a host does not count where its virtual host is chosen. Default: it
    /// does, and the domain `a.example` is not that of `a.example:8080`.
    #[serde(
        default,
        deserialize_with = "flags::deserialize",
        skip_serializing_if = "is_default"
    )]
    pub ignore_port_in_host_matching: bool,
    /// How many bytes the body of a `direct_response` may have. Default 4096, as in Envoy.
    #[serde(
        default,
        deserialize_with = "numbers::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_direct_response_body_size_bytes: Option<u32>,
}

impl RouteConfiguration {
    /// What is wrong with an answer whose body is this text.
    pub(super) fn body_problem(&self, text: &str) -> Option<String> {
        let most = self.max_direct_response_body_size_bytes.unwrap_or(4096);
        let is_over = u32::try_from(text.len()).map_or(true, |bytes| bytes > most);
        is_over.then(|| {
            let bytes = text.len();
            format!("{bytes} bytes, and `max_direct_response_body_size_bytes` is {most}")
        })
    }
}

/// Routes for some domains: `config.route.v3.VirtualHost`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualHost {
    /// A name for logs and statistics. Required.
    #[serde(default)]
    pub name: String,
    /// Hosts: `a.example`, `*.example`, `a.*` or `*`. Required.
    #[serde(default)]
    pub domains: Vec<String>,
    /// The routes; the first that matches is taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// Headers of every request to an upstream.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub request_headers_to_add: Vec<HeaderValueOption>,
    /// Headers that no request to an upstream has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub request_headers_to_remove: Vec<String>,
    /// Headers of every response.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub response_headers_to_add: Vec<HeaderValueOption>,
    /// Headers that no response has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub response_headers_to_remove: Vec<String>,
    /// Whether requests in clear are sent to `https`. Default `NONE`: no.
    #[serde(default, with = "names", skip_serializing_if = "is_default")]
    pub require_tls: TlsRequirement,
}

/// What to do with some requests: `config.route.v3.Route`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RouteFields", into = "RouteFields")]
pub struct Route {
    /// A name for logs.
    pub name: String,
    /// Which requests.
    pub matches: RouteMatch,
    /// What to do with them.
    pub action: Action,
    /// Headers of every request to an upstream.
    pub request_headers_to_add: Vec<HeaderValueOption>,
    /// Headers that no request to an upstream has.
    pub request_headers_to_remove: Vec<String>,
    /// Headers of every response.
    pub response_headers_to_add: Vec<HeaderValueOption>,
    /// Headers that no response has.
    pub response_headers_to_remove: Vec<String>,
}

/// Whether requests in clear are sent to `https`.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum TlsRequirement {
    /// `NONE`: no.
    #[default]
    None,
    /// `ALL`: each.
    All,
}

impl Named for TlsRequirement {
    const NAMES: &'static [(&'static str, u64, Self)] =
        &[("NONE", 0, Self::None), ("ALL", 2, Self::All)];
}

/// Which requests: `config.route.v3.RouteMatch`. All that is named has to fit.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "MatchFields", into = "MatchFields")]
pub struct RouteMatch {
    /// The path: one of `prefix`, `path`, `safe_regex`, `path_separated_prefix`.
    pub path: PathMatch,
    /// Whether case counts in it. Default: yes. In `safe_regex` it always counts.
    pub case_sensitive: bool,
    /// The headers.
    pub headers: Vec<HeaderMatcher>,
    /// The parameters of the query.
    pub query_parameters: Vec<QueryParameterMatcher>,
    /// By chance, this share of what fits otherwise.
    pub runtime_fraction: Option<RuntimeFraction>,
    /// Only gRPC: a `content-type` of `application/grpc` or `application/grpc+..`.
    pub grpc: Option<GrpcMatch>,
}

/// Only gRPC.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrpcMatch {}

/// The path of a [`RouteMatch`]; the query does not count.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMatch {
    /// Those whose path begins so.
    Prefix(String),
    /// Those with exactly this path.
    Path(String),
    /// Those whose path this matches whole.
    SafeRegex(RegexMatcher),
    /// Those with exactly this path, or with more after a `/`.
    PathSeparatedPrefix(String),
}

/// What to do with a request.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Answer it.
    DirectResponse(DirectResponse),
    /// Forward it.
    Route(Box<RouteAction>),
    /// Send the client elsewhere.
    Redirect(Box<RedirectAction>),
}

/// An answer without an upstream: `config.route.v3.DirectResponseAction`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectResponse {
    /// 200 to 599.
    #[serde(deserialize_with = "numbers::deserialize")]
    pub status: u16,
    /// The body; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<DataSource>,
}

/// The body of an answer: `config.core.v3.DataSource`. One of them.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataSource {
    /// The content itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline_string: Option<String>,
    /// A file, which is read when the listener is made. A relative path is relative to where the
    /// process was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<PathBuf>,
}

/// Forwarding: `config.route.v3.RouteAction`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteAction {
    /// The cluster. One of `cluster`, `weighted_clusters` and `cluster_header` is required.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// Clusters that share the requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weighted_clusters: Option<WeightedClusters>,
    /// The header of the request that names the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_header: Option<String>,
    /// The status of a request whose cluster does not exist. Default `SERVICE_UNAVAILABLE`, 503.
    #[serde(default, with = "names", skip_serializing_if = "is_default")]
    pub cluster_not_found_response_code: ClusterNotFound,
    /// What stands for the part of the path that the route's `prefix` or `path` has matched.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix_rewrite: String,
    /// What is replaced in the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regex_rewrite: Option<RegexRewrite>,
    /// The host that the upstream is asked for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host_rewrite_literal: String,
    /// The host that the upstream is asked for is in this header of the request, if it is there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host_rewrite_header: String,
    /// The upstream is asked for the name that its address was resolved from, or for its endpoint's
    /// `hostname`. Default: no.
    #[serde(
        default,
        deserialize_with = "flags::deserialize",
        skip_serializing_if = "is_default"
    )]
    pub auto_host_rewrite: bool,
    /// Which upgrades are let through, other than the connection manager says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upgrade_configs: Vec<UpgradeConfig>,
    /// Whether a host that is rewritten is added to `x-forwarded-host`. Default: no.
    #[serde(
        default,
        deserialize_with = "flags::deserialize",
        skip_serializing_if = "is_default"
    )]
    pub append_x_forwarded_host: bool,
    /// From the end of the request to the end of the response. Default 15 s; 0: no limit. With
    /// `max_stream_duration` it does not count, as in Envoy.
    #[serde(
        default,
        with = "duration::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub timeout: Option<Duration>,
    /// The connection manager's `stream_idle_timeout` for this route; 0: no limit.
    #[serde(
        default,
        with = "duration::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub idle_timeout: Option<Duration>,
    /// How long a stream may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_stream_duration: Option<MaxStreamDuration>,
}

/// What a request is answered with whose cluster does not exist.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ClusterNotFound {
    /// `SERVICE_UNAVAILABLE`: 503.
    #[default]
    ServiceUnavailable,
    /// `NOT_FOUND`: 404.
    NotFound,
    /// `INTERNAL_SERVER_ERROR`: 500.
    InternalServerError,
}

impl Named for ClusterNotFound {
    const NAMES: &'static [(&'static str, u64, Self)] = &[
        ("SERVICE_UNAVAILABLE", 0, Self::ServiceUnavailable),
        ("NOT_FOUND", 1, Self::NotFound),
        ("INTERNAL_SERVER_ERROR", 2, Self::InternalServerError),
    ];
}

impl ClusterNotFound {
    /// The status.
    pub const fn status(self) -> u16 {
        match self {
            Self::ServiceUnavailable => 503,
            Self::NotFound => 404,
            Self::InternalServerError => 500,
        }
    }
}

/// How long a stream may take: `config.route.v3.RouteAction.MaxStreamDuration`.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaxStreamDuration {
    /// The connection manager's `max_stream_duration` for this route; 0: no limit.
    #[serde(
        default,
        with = "duration::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_stream_duration: Option<Duration>,
}

impl RouteAction {
    /// Whether an upgrade to `token` is let through: what stands here counts, or else what
    /// `manager` says.
    pub fn allows_upgrade(&self, token: &str, manager: &HttpConnectionManager) -> bool {
        UpgradeConfig::allows(&self.upgrade_configs, token)
            .unwrap_or_else(|| manager.allows_upgrade(token))
    }
}

#[derive(Clone, Serialize, Deserialize)]
struct RouteFields {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    r#match: RouteMatch,
    #[serde(skip_serializing_if = "Option::is_none")]
    direct_response: Option<DirectResponse>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<Box<RouteAction>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redirect: Option<Box<RedirectAction>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    request_headers_to_add: Vec<HeaderValueOption>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    request_headers_to_remove: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    response_headers_to_add: Vec<HeaderValueOption>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    response_headers_to_remove: Vec<String>,
}

impl TryFrom<RouteFields> for Route {
    type Error = &'static str;

    fn try_from(fields: RouteFields) -> Result<Self, Self::Error> {
        let action = match (fields.direct_response, fields.route, fields.redirect) {
            (Some(response), None, None) => Action::DirectResponse(response),
            (None, Some(route), None) => Action::Route(route),
            (None, None, Some(redirect)) => Action::Redirect(redirect),
            (None, None, None) => {
                return Err("expected one of `direct_response`, `route`, `redirect`");
            }
            _ => {
                return Err("expected one of `direct_response`, `route`, `redirect`, not several");
            }
        };
        Ok(Self {
            name: fields.name,
            matches: fields.r#match,
            action,
            request_headers_to_add: fields.request_headers_to_add,
            request_headers_to_remove: fields.request_headers_to_remove,
            response_headers_to_add: fields.response_headers_to_add,
            response_headers_to_remove: fields.response_headers_to_remove,
        })
    }
}

impl From<Route> for RouteFields {
    fn from(route: Route) -> Self {
        let mut fields = Self {
            name: route.name,
            r#match: route.matches,
            direct_response: None,
            route: None,
            redirect: None,
            request_headers_to_add: route.request_headers_to_add,
            request_headers_to_remove: route.request_headers_to_remove,
            response_headers_to_add: route.response_headers_to_add,
            response_headers_to_remove: route.response_headers_to_remove,
        };
        match route.action {
            Action::DirectResponse(response) => fields.direct_response = Some(response),
            Action::Route(action) => fields.route = Some(action),
            Action::Redirect(redirect) => fields.redirect = Some(redirect),
        }
        fields
    }
}

#[derive(Clone, Serialize, Deserialize)]
struct MatchFields {
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    safe_regex: Option<RegexMatcher>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_separated_prefix: Option<String>,
    #[serde(
        default,
        deserialize_with = "flags::option",
        skip_serializing_if = "Option::is_none"
    )]
    case_sensitive: Option<bool>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<HeaderMatcher>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    query_parameters: Vec<QueryParameterMatcher>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime_fraction: Option<RuntimeFraction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grpc: Option<GrpcMatch>,
}

impl TryFrom<MatchFields> for RouteMatch {
    type Error = &'static str;

    fn try_from(fields: MatchFields) -> Result<Self, Self::Error> {
        let mut paths = [
            fields.prefix.map(PathMatch::Prefix),
            fields.path.map(PathMatch::Path),
            fields.safe_regex.map(PathMatch::SafeRegex),
            fields
                .path_separated_prefix
                .map(PathMatch::PathSeparatedPrefix),
        ]
        .into_iter()
        .flatten();
        let path = match (paths.next(), paths.next()) {
            (Some(path), None) => path,
            (None, _) => {
                return Err(
                    "expected one of `prefix`, `path`, `safe_regex`, `path_separated_prefix`",
                );
            }
            (Some(_), Some(_)) => {
                return Err(
                    "expected one of `prefix`, `path`, `safe_regex`, `path_separated_prefix`, not several",
                );
            }
        };
        Ok(Self {
            path,
            case_sensitive: fields.case_sensitive.unwrap_or(true),
            headers: fields.headers,
            query_parameters: fields.query_parameters,
            runtime_fraction: fields.runtime_fraction,
            grpc: fields.grpc,
        })
    }
}

impl From<RouteMatch> for MatchFields {
    fn from(matches: RouteMatch) -> Self {
        let mut fields = Self {
            prefix: None,
            path: None,
            safe_regex: None,
            path_separated_prefix: None,
            case_sensitive: (!matches.case_sensitive).then_some(false),
            headers: matches.headers,
            query_parameters: matches.query_parameters,
            runtime_fraction: matches.runtime_fraction,
            grpc: matches.grpc,
        };
        match matches.path {
            PathMatch::Prefix(prefix) => fields.prefix = Some(prefix),
            PathMatch::Path(path) => fields.path = Some(path),
            PathMatch::SafeRegex(regex) => fields.safe_regex = Some(regex),
            PathMatch::PathSeparatedPrefix(prefix) => fields.path_separated_prefix = Some(prefix),
        }
        fields
    }
}
