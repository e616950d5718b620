//! Virtual hosts and routes: `config.route.v3`.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use super::{
    duration,
    names::{self, Named, is_default},
    numbers,
};

/// Where requests go: `config.route.v3.RouteConfiguration`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteConfiguration {
    /// A name for logs.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The hosts, told apart by their domains.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub virtual_hosts: Vec<VirtualHost>,
    /// Headers of every response.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub response_headers_to_add: Vec<HeaderValueOption>,
    /// Whether a route to a cluster that does not exist is refused. Default: yes, as Envoy for routes in a listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validate_clusters: Option<bool>,
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
    /// Headers of every response.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub response_headers_to_add: Vec<HeaderValueOption>,
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
    /// Headers of every response.
    pub response_headers_to_add: Vec<HeaderValueOption>,
}

/// Which requests: `config.route.v3.RouteMatch`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "MatchFields", into = "MatchFields")]
pub enum RouteMatch {
    /// Those whose path begins so.
    Prefix(String),
    /// Those with exactly this path; the query does not count.
    Path(String),
}

/// What to do with a request.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Answer it.
    DirectResponse(DirectResponse),
    /// Forward it.
    Route(RouteAction),
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

/// Content in the configuration itself: `config.core.v3.DataSource`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataSource {
    /// The content.
    pub inline_string: String,
}

/// Forwarding: `config.route.v3.RouteAction`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteAction {
    /// The cluster.
    pub cluster: String,
    /// From the end of the request to the end of the response. Default 15 s; 0: no limit.
    #[serde(
        default,
        with = "duration::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub timeout: Option<Duration>,
}

/// A header to add: `config.core.v3.HeaderValueOption`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderValueOption {
    /// The header.
    pub header: HeaderField,
    /// The older form of `append_action`: `false` overwrites.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub append: Option<bool>,
    /// What happens if the header is there already.
    #[serde(default, with = "names", skip_serializing_if = "is_default")]
    pub append_action: AppendAction,
}

/// A header: `config.core.v3.HeaderValue`. Substitutions such as `%REQ(..)%` are not made.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderField {
    /// Its name.
    pub key: String,
    /// Its value.
    #[serde(default)]
    pub value: String,
}

/// What happens if a header is there already.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AppendAction {
    /// `APPEND_IF_EXISTS_OR_ADD`: it is there twice.
    #[default]
    AppendIfExistsOrAdd,
    /// `ADD_IF_ABSENT`: it stays as it is.
    AddIfAbsent,
    /// `OVERWRITE_IF_EXISTS_OR_ADD`: it is replaced.
    OverwriteIfExistsOrAdd,
    /// `OVERWRITE_IF_EXISTS`: it is replaced, and not added if it was not there.
    OverwriteIfExists,
}

impl Named for AppendAction {
    const NAMES: &'static [(&'static str, u64, Self)] = &[
        ("APPEND_IF_EXISTS_OR_ADD", 0, Self::AppendIfExistsOrAdd),
        ("ADD_IF_ABSENT", 1, Self::AddIfAbsent),
        (
            "OVERWRITE_IF_EXISTS_OR_ADD",
            2,
            Self::OverwriteIfExistsOrAdd,
        ),
        ("OVERWRITE_IF_EXISTS", 3, Self::OverwriteIfExists),
    ];
}

impl HeaderValueOption {
    /// The header as HTTP has it; `None` if it is none.
    pub(super) fn parts(&self) -> Option<(HeaderName, HeaderValue)> {
        self.header.parts()
    }

    /// Adds the header to a response. A name or value that HTTP does not allow (a checked listener has none) is
    /// left out.
    pub fn apply(&self, headers: &mut HeaderMap) {
        let Some((name, value)) = self.parts() else {
            return;
        };
        let action = match self.append {
            Some(false) => AppendAction::OverwriteIfExistsOrAdd,
            _ => self.append_action,
        };
        let present = headers.contains_key(&name);
        match action {
            AppendAction::AppendIfExistsOrAdd => {
                headers.append(name, value);
            }
            AppendAction::AddIfAbsent if present => {}
            AppendAction::OverwriteIfExists if !present => {}
            _ => {
                headers.insert(name, value);
            }
        }
    }
}

impl HeaderField {
    /// The header as HTTP has it; `None` if it is none.
    pub fn parts(&self) -> Option<(HeaderName, HeaderValue)> {
        Some((
            self.key.parse().ok()?,
            HeaderValue::from_str(&self.value).ok()?,
        ))
    }
}

impl RouteAction {
    /// The timeout as it takes effect; `None`: no limit.
    pub fn time_limit(&self) -> Option<Duration> {
        Some(self.timeout.unwrap_or(Duration::from_secs(15))).filter(|limit| !limit.is_zero())
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
    route: Option<RouteAction>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    response_headers_to_add: Vec<HeaderValueOption>,
}

impl TryFrom<RouteFields> for Route {
    type Error = &'static str;

    fn try_from(fields: RouteFields) -> Result<Self, Self::Error> {
        let action = match (fields.direct_response, fields.route) {
            (Some(response), None) => Action::DirectResponse(response),
            (None, Some(route)) => Action::Route(route),
            (None, None) => return Err("expected one of `direct_response`, `route`"),
            (Some(_), Some(_)) => {
                return Err("expected one of `direct_response`, `route`, not both");
            }
        };
        let RouteFields {
            name,
            r#match: matches,
            response_headers_to_add,
            ..
        } = fields;
        Ok(Self {
            name,
            matches,
            action,
            response_headers_to_add,
        })
    }
}

impl From<Route> for RouteFields {
    fn from(route: Route) -> Self {
        let (direct_response, action) = match route.action {
            Action::DirectResponse(response) => (Some(response), None),
            Action::Route(action) => (None, Some(action)),
        };
        let Route {
            name,
            matches,
            response_headers_to_add,
            ..
        } = route;
        Self {
            name,
            r#match: matches,
            direct_response,
            route: action,
            response_headers_to_add,
        }
    }
}

#[derive(Clone, Serialize, Deserialize)]
struct MatchFields {
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

impl TryFrom<MatchFields> for RouteMatch {
    type Error = &'static str;

    fn try_from(fields: MatchFields) -> Result<Self, Self::Error> {
        match (fields.prefix, fields.path) {
            (Some(prefix), None) => Ok(Self::Prefix(prefix)),
            (None, Some(path)) => Ok(Self::Path(path)),
            (None, None) => Err("expected one of `prefix`, `path`"),
            (Some(_), Some(_)) => Err("expected one of `prefix`, `path`, not both"),
        }
    }
}

impl From<RouteMatch> for MatchFields {
    fn from(matches: RouteMatch) -> Self {
        match matches {
            RouteMatch::Prefix(prefix) => Self {
                prefix: Some(prefix),
                path: None,
            },
            RouteMatch::Path(path) => Self {
                prefix: None,
                path: Some(path),
            },
        }
    }
}
