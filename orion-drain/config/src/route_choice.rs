//! Which route a request takes: the most specific domain, then the first route that matches.

use http::HeaderMap;

use super::{Route, RouteConfiguration, RouteMatch, VirtualHost};

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

impl ChosenRoute<'_> {
    /// Adds the response headers of the route, its host and the table, in this order, as
    /// [Envoy does](https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers).
    pub fn add_response_headers(&self, headers: &mut HeaderMap) {
        let lists = [
            &self.route.response_headers_to_add,
            &self.host.response_headers_to_add,
            &self.table.response_headers_to_add,
        ];
        for option in lists.into_iter().flatten() {
            option.apply(headers);
        }
    }
}

impl RouteConfiguration {
    /// The route of a request for `host` (its `host` header or `:authority`, with or without a port) and `path`
    /// (a query may follow). `None` is a 404.
    pub fn choose(&self, host: &str, path: &str) -> Option<ChosenRoute<'_>> {
        let host = self.virtual_host(host)?;
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        let route = host.routes.iter().find(|route| match &route.matches {
            RouteMatch::Prefix(prefix) => path.starts_with(prefix),
            RouteMatch::Path(exact) => path == exact,
        })?;
        Some(ChosenRoute {
            table: self,
            host,
            route,
        })
    }

    /// Exact domains first, then `*.suffix`, then `prefix.*`, longest first, then `*`, as
    /// [Envoy does](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto).
    fn virtual_host(&self, host: &str) -> Option<&VirtualHost> {
        let host = host.to_ascii_lowercase();
        let bare = without_port(&host);
        self.virtual_hosts
            .iter()
            .flat_map(|candidate| {
                candidate
                    .domains
                    .iter()
                    .map(move |domain| (domain, candidate))
            })
            .filter_map(|(domain, candidate)| {
                Some((
                    specificity(domain, &host).or_else(|| specificity(domain, bare))?,
                    candidate,
                ))
            })
            // The first of equals, as they stand in the file.
            .reduce(|best, next| if next.0 > best.0 { next } else { best })
            .map(|(_, candidate)| candidate)
    }
}

/// How closely a domain names this host: kind of pattern, then its length.
fn specificity(domain: &str, host: &str) -> Option<(u8, usize)> {
    let domain = domain.to_ascii_lowercase();
    if domain == host {
        Some((3, 0))
    } else if domain == "*" {
        Some((0, 0))
    } else if let Some(suffix) = domain.strip_prefix('*') {
        (host.len() > suffix.len() && host.ends_with(suffix)).then_some((2, suffix.len()))
    } else {
        let prefix = domain.strip_suffix('*')?;
        (host.len() > prefix.len() && host.starts_with(prefix)).then_some((1, prefix.len()))
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.is_empty() =>
        {
            name
        }
        _ => host,
    }
}
