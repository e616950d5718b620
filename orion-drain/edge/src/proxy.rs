//! The HTTP service: a request is admitted, takes its route, and is answered here or sent on with
//! the route's changes.

use std::borrow::Cow;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use orion_drain::config::{
    Action, Domains, HeaderEdits, HttpConnectionManager, RequestHead, RouteAction,
    RouteConfiguration,
};
use orion_drain::serve::ReceivedBody;
use orion_drain::stats::HttpStats;

use crate::addressed::{self, host_of};
use crate::admit::admit;
use crate::answers::{Answered, Body, closing, redirected, status, with_body};
use crate::exchange::{exchange, for_upstream};
use crate::forwarded::{self, Seen};
use crate::health::HealthChecks;
use crate::hop_by_hop;
use crate::rds::{Newest, Taken};
use crate::rewrite::{Rewritten, owned, rewrite};
use crate::timed::RequestBody;
use crate::timeout::{StreamTimer, in_time};
use crate::tunnel::Tunnels;
use crate::upgrade::{self, Handshake};
use crate::upstream::{Clusters, Endpoint, Upstream};

/// One HTTP connection manager: its routes, and where they lead.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    pub(crate) manager: Arc<HttpConnectionManager>,
    /// The domains of the manager's own table.
    pub(crate) domains: Arc<Domains>,
    /// The table that comes by itself, if the manager has none of its own.
    pub(crate) rds: Option<Arc<Newest>>,
    /// What answers health checks, if anything does.
    pub(crate) health: Option<Arc<HealthChecks>>,
    pub(crate) clusters: Clusters,
    /// The client.
    pub(crate) seen: Seen,
    /// The port that the client connected to, if hosts are compared with it.
    pub(crate) local_port: Option<u16>,
    /// How what it upgrades is relayed.
    pub(crate) tunnels: Tunnels,
}

/// What becomes of a request.
enum Decision<'a> {
    /// It is answered here.
    Answer(Response<Body>),
    /// It goes to this endpoint, as the route says.
    Forward(&'a RouteAction, Arc<Endpoint>, Forwarded),
}

/// What a request becomes on its way to an endpoint.
struct Forwarded {
    rewritten: Rewritten,
    /// The protocol that it asks to switch to, and may.
    upgrade: Option<HeaderValue>,
    /// As it was before the route's changes.
    scheme: Scheme,
}

impl Proxy {
    /// Answers one request; what goes wrong upstream becomes a status.
    pub(crate) async fn answer(
        &self,
        request: Request<ReceivedBody>,
        stats: &Arc<HttpStats>,
    ) -> Result<Response<Body>, Infallible> {
        let is_last = hop_by_hop::is_last(&request);
        let mut response = self.respond(request, stats).await;
        if is_last && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response = closing(response);
        }
        if let Some(health) = &self.health {
            health.mark(response.headers_mut());
        }
        Ok(response)
    }

    async fn respond(
        &self,
        mut request: Request<ReceivedBody>,
        stats: &Arc<HttpStats>,
    ) -> Response<Body> {
        if let Err(code) = addressed::check(&mut request) {
            return closing(status(code));
        }
        let upgrade = upgrade::asked(&request);
        let client = self.manager.client(request.headers(), self.seen.peer);
        let admitted = self.admit(&mut request, upgrade.as_ref());
        // The newest table at this moment, for as long as the request takes.
        let taken = self.rds.as_ref().map(|newest| newest.table());
        let table = match &taken {
            Some(taken) => taken.as_ref().map(Taken::routes),
            None => {
                let own = self.manager.route_config.as_ref();
                own.map(|own| (own, &*self.domains))
            }
        };
        let (decision, edits) = match admitted {
            Some(answer) => (Decision::Answer(answer), HeaderEdits::default()),
            None => self.decide(&request, client, upgrade, table),
        };
        let over_http1 = request.version() < Version::HTTP_2;
        let answered = match decision {
            Decision::Answer(answer) => {
                let body = request.into_body();
                Err(self.unread(body, over_http1, answer, stats).await)
            }
            Decision::Forward(route, endpoint, changes) => {
                let upstream = endpoint.http(request.version());
                // Here, so that the future below does not keep room for the changes.
                let upgrade = self.prepare(&mut request, route, upstream, changes);
                self.forward(request, over_http1, route, upstream, upgrade, stats)
                    .await
            }
        };
        match answered {
            Ok(mut response) => {
                edits.apply(response.headers_mut());
                response
            }
            Err(mut own) => {
                edit_answer(own.headers_mut(), edits);
                own
            }
        }
    }

    /// Makes of a request what routes may look at. `Some`: it is answered here.
    fn admit<B>(
        &self,
        request: &mut Request<B>,
        upgrade: Option<&HeaderValue>,
    ) -> Option<Response<Body>> {
        let handshake = upgrade.map(|to| upgrade::handshake(request.headers(), to));
        // Before anything is added: what the client's `connection` names is the client's own.
        if let Err(code) = hop_by_hop::strip_request(request.headers_mut(), upgrade.is_some()) {
            return Some(status(code));
        }
        // Routes may ask for it, as in Envoy.
        request
            .headers_mut()
            .extend(handshake.into_iter().flatten());
        forwarded::tell(request.headers_mut(), &self.manager, self.seen);
        admit(&self.manager, self.local_port, request)
    }

    /// Chooses what becomes of a request, and what its response gets on the way.
    fn decide<'a, B>(
        &'a self,
        request: &Request<B>,
        client: Option<SocketAddr>,
        upgrade: Option<HeaderValue>,
        table: Option<(&'a RouteConfiguration, &Domains)>,
    ) -> (Decision<'a>, HeaderEdits) {
        let here = |answer| (Decision::Answer(answer), HeaderEdits::default());
        let host = host_of(request).unwrap_or_default();
        let path = request.uri().path_and_query();
        let mut head = RequestHead::new(
            host,
            path.map_or("/", PathAndQuery::as_str),
            request.headers(),
        );
        head.method = match &upgrade {
            // As if it had come over HTTP/1.1.
            Some(_) if request.method() == Method::CONNECT => &Method::GET,
            _ => request.method(),
        };
        head.version = request.version();
        head.secure = forwarded::is_https(request.headers());
        let scheme = forwarded::scheme_of(request, self.seen.secure);
        head.scheme = Some(scheme.as_str());
        head.peer = self.seen.peer;
        head.client = client;
        head.sample = fastrand::u64(..);
        if let Some(answer) = self.health.as_ref().and_then(|it| it.answer(&head)) {
            return here(answer);
        }
        let chosen = table.and_then(|(routes, domains)| routes.choose(domains, &head));
        let Some(chosen) = chosen else {
            return here(status(StatusCode::NOT_FOUND));
        };
        let action = &chosen.route.action;
        if upgrade.as_ref().is_some_and(|to| !self.allows(to, action)) {
            return here(refused_upgrade(request.version()));
        }
        if let Some((code, location)) = chosen.redirect(&head) {
            let answer = Decision::Answer(redirected(code, &location));
            return (answer, chosen.response_edits(&head, None));
        }
        match action {
            Action::DirectResponse(direct) => {
                let body = direct.body.as_ref();
                let body = body.and_then(|body| body.inline_string.clone());
                let code = StatusCode::from_u16(direct.status).unwrap_or(StatusCode::OK);
                let answer = Decision::Answer(with_body(code, body.unwrap_or_default()));
                (answer, chosen.response_edits(&head, None))
            }
            Action::Route(route) => {
                let cluster = route.choose_cluster(&head);
                let edits = chosen.response_edits(&head, cluster.weight);
                let Some(endpoint) = self.clusters.next(&cluster.name) else {
                    let answer = match self.clusters.has(&cluster.name) {
                        true => with_body(StatusCode::SERVICE_UNAVAILABLE, "no healthy upstream"),
                        false => {
                            let code = route.cluster_not_found_response_code.status();
                            let code = StatusCode::from_u16(code);
                            status(code.unwrap_or(StatusCode::SERVICE_UNAVAILABLE))
                        }
                    };
                    return (Decision::Answer(answer), edits);
                };
                let hostname = endpoint.hostname.as_deref();
                let rewritten = Rewritten {
                    path: owned(chosen.path(&head)),
                    host: chosen
                        .host(&head, cluster.weight, hostname)
                        .map(Cow::into_owned),
                    headers: chosen.request_edits(&head, cluster.weight),
                };
                let changes = Forwarded {
                    rewritten,
                    upgrade,
                    scheme,
                };
                (Decision::Forward(route, endpoint, changes), edits)
            }
            _ => here(status(StatusCode::NOT_IMPLEMENTED)),
        }
    }

    /// Whether a request may switch to this protocol.
    fn allows(&self, to: &HeaderValue, action: &Action) -> bool {
        to.to_str().is_ok_and(|token| match action {
            Action::Route(route) => route.allows_upgrade(token, &self.manager),
            _ => self.manager.allows_upgrade(token),
        })
    }

    /// Answers a request whose body is of no use. Over HTTP/1 it is read first: an answer that
    /// overtakes the request's own bytes ends the connection, and what still comes of a large
    /// upload ends it in RST. A stream of HTTP/2 is answered at once: it may not end before its
    /// answer, and the reset that follows concerns nothing else.
    async fn unread(
        &self,
        body: ReceivedBody,
        over_http1: bool,
        answer: Response<Body>,
        stats: &HttpStats,
    ) -> Response<Body> {
        if !over_http1 || hyper::body::Body::is_end_stream(&body) {
            return answer;
        }
        let mut timer = StreamTimer::new(self.manager.stream_limits());
        let body = RequestBody::new(body, timer.as_mut());
        match in_time(pin!(discard(body)), timer.as_mut()).await {
            Ok(()) => answer,
            Err(overdue) => overdue.response(over_http1, stats),
        }
    }

    async fn forward(
        &self,
        request: Request<ReceivedBody>,
        over_http1: bool,
        route: &RouteAction,
        upstream: &Upstream,
        upgrade: Result<Option<Handshake>, StatusCode>,
        stats: &Arc<HttpStats>,
    ) -> Answered {
        let upgrade = match upgrade {
            Ok(upgrade) => upgrade,
            Err(code) => {
                let body = request.into_body();
                return Err(self.unread(body, over_http1, status(code), stats).await);
            }
        };
        let limits = route.stream_limits(&self.manager);
        match upgrade {
            Some(handshake) => {
                let tunnels = self.tunnels;
                // Boxed: it is larger than other requests are.
                Box::pin(upgrade::forward(
                    upstream, request, handshake, tunnels, limits, stats,
                ))
                .await
            }
            None => exchange(upstream, request, over_http1, limits, stats).await,
        }
    }

    /// Makes a request what the endpoint gets; `Some`: it is an upgrade.
    fn prepare(
        &self,
        request: &mut Request<ReceivedBody>,
        route: &RouteAction,
        upstream: &Upstream,
        changes: Forwarded,
    ) -> Result<Option<Handshake>, StatusCode> {
        let Forwarded {
            rewritten,
            upgrade,
            scheme,
        } = changes;
        rewrite(request, rewritten, route.append_x_forwarded_host)?;
        match upgrade {
            Some(token) => upgrade::for_endpoint(request, upstream, scheme, token).map(Some),
            None => for_upstream(request, upstream, scheme, None).map(|()| None),
        }
    }
}

/// Makes a route's changes in an answer of the proxy's own. What the body is, it says unless the
/// route does; without a body there is none, as in Envoy.
fn edit_answer(headers: &mut HeaderMap, edits: HeaderEdits) {
    let own = headers.remove(CONTENT_TYPE);
    edits.apply(headers);
    match own {
        Some(own) => _ = headers.entry(CONTENT_TYPE).or_insert(own),
        None => _ = headers.remove(CONTENT_TYPE),
    }
}

/// The answer to a request for a switch that is not allowed. What follows over HTTP/1 may be meant
/// in the other protocol already, so it is not read, as in Envoy.
fn refused_upgrade(version: Version) -> Response<Body> {
    let answer = status(StatusCode::FORBIDDEN);
    match version {
        Version::HTTP_2 => answer,
        _ => closing(answer),
    }
}

async fn discard(mut body: RequestBody) {
    while let Some(Ok(_)) = body.frame().await {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<'a, F>(
        _: impl Fn(&'a Proxy, Request<ReceivedBody>, &'a Arc<HttpStats>) -> F,
    ) -> usize {
        size_of::<F>()
    }

    /// It took 8 500 bytes, and the next connection's buffer of 8 KiB lay where one had been, on
    /// pages that were written to: 2 KiB more for each idle connection.
    #[test]
    fn a_request_keeps_a_small_future() {
        let bytes = size_of_future(Proxy::answer);
        assert!(bytes <= 4_096, "{bytes} bytes");
    }
}
