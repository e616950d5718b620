//! Which route a request takes: the most specific domain, then the first route that matches.

use std::borrow::Cow;

use super::{
    Action, ClusterWeight, Domains, HeaderEdits, HeaderValueOption, PathMatch, RedirectAction,
    RequestHead, Route, RouteConfiguration, RouteMatch, TlsRequirement, VirtualHost,
    request::is_grpc, rewrite::with_path,
};

/// A request's route and what its response gets on the way.
#[non_exhaustive]
#[derive(Debug, Clone, Copy)]
pub struct ChosenRoute<'a> {
    /// The table it comes from.
    pub table: &'a RouteConfiguration,
    /// The host it belongs to.
    pub host: &'a VirtualHost,
    /// The route.
    pub route: &'a Route,
}

impl<'a> ChosenRoute<'a> {
    /// The changes of a request on its way to `cluster`: its entry's, the route's, its host's and
    /// the table's, in this order, as [Envoy makes
    /// them](https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers).
    pub fn request_edits(
        &self,
        request: &RequestHead<'_>,
        cluster: Option<&ClusterWeight>,
    ) -> HeaderEdits {
        let (route, host, table) = (self.route, self.host, self.table);
        let entry = cluster.map(|it| (&it.request_headers_to_remove, &it.request_headers_to_add));
        let levels = [
            (
                &route.request_headers_to_remove,
                &route.request_headers_to_add,
            ),
            (
                &host.request_headers_to_remove,
                &host.request_headers_to_add,
            ),
            (
                &table.request_headers_to_remove,
                &table.request_headers_to_add,
            ),
        ];
        edits(entry.into_iter().chain(levels), request)
    }

    /// The same of the response to this request.
    pub fn response_edits(
        &self,
        request: &RequestHead<'_>,
        cluster: Option<&ClusterWeight>,
    ) -> HeaderEdits {
        let (route, host, table) = (self.route, self.host, self.table);
        let entry = cluster.map(|it| (&it.response_headers_to_remove, &it.response_headers_to_add));
        let levels = [
            (
                &route.response_headers_to_remove,
                &route.response_headers_to_add,
            ),
            (
                &host.response_headers_to_remove,
                &host.response_headers_to_add,
            ),
            (
                &table.response_headers_to_remove,
                &table.response_headers_to_add,
            ),
        ];
        edits(entry.into_iter().chain(levels), request)
    }

    /// Where a redirect of this request leads; `None` if it is forwarded or answered.
    pub fn redirect(&self, request: &RequestHead<'_>) -> Option<(u16, String)> {
        if self.host.require_tls == TlsRequirement::All && !request.secure {
            let redirect = RedirectAction::to_https();
            return Some((
                redirect.response_code.status(),
                redirect.location(request, 0),
            ));
        }
        let Action::Redirect(redirect) = &self.route.action else {
            return None;
        };
        let matched = self.route.matches.matched(request.path_only());
        Some((
            redirect.response_code.status(),
            redirect.location(request, matched),
        ))
    }

    /// Path and query as the upstream is asked for them.
    pub fn path<'r>(&self, request: &RequestHead<'r>) -> Cow<'r, str> {
        let Action::Route(action) = &self.route.action else {
            return request.path.into();
        };
        if !action.prefix_rewrite.is_empty() {
            let matched = self.route.matches.matched(request.path_only());
            return with_path(request.path, |path| {
                action.prefix_rewrite.clone() + path.get(matched..).unwrap_or_default()
            })
            .into();
        }
        match &action.regex_rewrite {
            Some(rewrite) => {
                with_path(request.path, |path| rewrite.apply(path).into_owned()).into()
            }
            None => request.path.into(),
        }
    }

    /// The host that the upstream is asked for, if it is not the one of the request. `hostname` is
    /// the endpoint's.
    pub fn host<'r>(
        &self,
        request: &RequestHead<'r>,
        cluster: Option<&'a ClusterWeight>,
        hostname: Option<&'r str>,
    ) -> Option<Cow<'r, str>>
    where
        'a: 'r,
    {
        let Action::Route(action) = &self.route.action else {
            return None;
        };
        let literal = |literal: &'a str| (!literal.is_empty()).then_some(Cow::Borrowed(literal));
        if let Some(host) = cluster.and_then(|cluster| literal(&cluster.host_rewrite_literal)) {
            return Some(host);
        }
        if let Some(host) = literal(&action.host_rewrite_literal) {
            return Some(host);
        }
        if !action.host_rewrite_header.is_empty() {
            return request
                .header(&action.host_rewrite_header)
                .filter(|host| !host.is_empty());
        }
        hostname
            .filter(|_| action.auto_host_rewrite)
            .map(Cow::Borrowed)
    }
}

/// What each level removes and adds, from the innermost one on.
fn edits<'l>(
    levels: impl Iterator<Item = (&'l Vec<String>, &'l Vec<HeaderValueOption>)>,
    request: &RequestHead<'_>,
) -> HeaderEdits {
    let mut edits = HeaderEdits::default();
    for (remove, add) in levels {
        edits.then(remove, add, request);
    }
    edits
}

impl RouteMatch {
    fn matches(&self, request: &RequestHead<'_>) -> bool {
        self.matches_path(request.path_only())
            && self.headers.iter().all(|header| header.matches(request))
            && self
                .query_parameters
                .iter()
                .all(|parameter| parameter.matches(request))
            && (self.grpc.is_none() || is_grpc(request.headers))
            && self
                .runtime_fraction
                .as_ref()
                .is_none_or(|share| share.default_value.takes(request.sample))
    }

    fn matches_path(&self, path: &str) -> bool {
        let same = |a: &[u8], b: &[u8]| match self.case_sensitive {
            true => a == b,
            false => a.eq_ignore_ascii_case(b),
        };
        let (path_bytes, begins) = (path.as_bytes(), |prefix: &str| {
            path.len() >= prefix.len() && same(&path.as_bytes()[..prefix.len()], prefix.as_bytes())
        });
        match &self.path {
            PathMatch::Prefix(prefix) => begins(prefix),
            PathMatch::Path(exact) => same(path_bytes, exact.as_bytes()),
            PathMatch::SafeRegex(regex) => regex.matches(path),
            PathMatch::PathSeparatedPrefix(prefix) => {
                begins(prefix) && matches!(path_bytes.get(prefix.len()), None | Some(b'/'))
            }
        }
    }

    /// How much of a path that fits is what `prefix_rewrite` stands for.
    fn matched(&self, path: &str) -> usize {
        match &self.path {
            PathMatch::Prefix(prefix) | PathMatch::PathSeparatedPrefix(prefix) => prefix.len(),
            PathMatch::Path(_) | PathMatch::SafeRegex(_) => path.len(),
        }
    }
}

impl RouteConfiguration {
    /// The route of a request, by the [`domains`](Self::domains) of this table; as quick with ten
    /// thousand of them as with ten. `None` is a 404.
    pub fn choose(&self, domains: &Domains, request: &RequestHead<'_>) -> Option<ChosenRoute<'_>> {
        let place = domains.place(self.compared(&lowercase(request.host)))?;
        let host = self.virtual_hosts.get(place)?;
        let mut routes = host.routes.iter();
        let route = routes.find(|route| route.matches.matches(request))?;
        Some(ChosenRoute {
            table: self,
            host,
            route,
        })
    }
}

fn lowercase(host: &str) -> Cow<'_, str> {
    match host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => host.to_ascii_lowercase().into(),
        false => host.into(),
    }
}
