//! The HTTP service: choose a route, answer directly or forward, tunnel what is upgraded.

use std::borrow::Cow;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderName, LOCATION, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::ext::Protocol;
use orion_drain::config::{
    Action, HeaderEdits, HttpConnectionManager, PathOutcome, RequestHead, RouteAction, Underscores,
};
use orion_drain::serve::{Connection, ReceivedBody};

use crate::extended_connect;
use crate::hop_by_hop;
use crate::timeout::{RequestBody, ResponseBody, RouteTimer};
use crate::tunnel::Tunnels;
use crate::upstream::{Clusters, Upstream};

pub(crate) type Body = BoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// One HTTP connection manager: its routes, and where they lead.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    pub(crate) manager: Arc<HttpConnectionManager>,
    pub(crate) clusters: Clusters,
    /// The address that the client connects from.
    pub(crate) peer: Option<SocketAddr>,
    /// The port of the listener.
    pub(crate) local_port: Option<u16>,
    /// Whether it connects over TLS.
    pub(crate) secure: bool,
    /// How what it upgrades is relayed.
    pub(crate) tunnels: Tunnels,
}

/// What a route makes of a request.
struct Rewritten {
    path: Option<String>,
    host: Option<String>,
    headers: HeaderEdits,
}

impl Proxy {
    /// Answers one request; what goes wrong upstream becomes a status.
    pub(crate) async fn answer(
        self,
        request: Request<ReceivedBody>,
    ) -> Result<Response<Body>, Infallible> {
        if let Err(code) = one_host(&request) {
            return Ok(closing(code));
        }
        let mut request = request;
        if let Some(answer) = self.admit(&mut request) {
            discard(request.into_body()).await;
            return Ok(answer);
        }
        let host = host_of(&request).unwrap_or_default();
        let path = request.uri().path_and_query();
        let mut head = RequestHead::new(
            host,
            path.map_or("/", PathAndQuery::as_str),
            request.headers(),
        );
        head.method = request.method();
        head.version = request.version();
        head.secure = self.secure;
        head.peer = self.peer;
        head.sample = fastrand::u64(..);
        let chosen = self.manager.route_config.as_ref();
        let Some(chosen) = chosen.and_then(|routes| routes.choose(&head)) else {
            return Ok(status(StatusCode::NOT_FOUND));
        };
        let redirect = chosen.redirect(&head);
        let (mut response, edits) = match (&chosen.route.action, redirect) {
            (_, Some((code, location))) => {
                let edits = chosen.response_edits(&head, None);
                discard(request.into_body()).await;
                (redirected(code, &location), edits)
            }
            (Action::DirectResponse(direct), None) => {
                let edits = chosen.response_edits(&head, None);
                let body = direct.body.as_ref();
                let body = body.and_then(|body| body.inline_string.clone());
                let code = StatusCode::from_u16(direct.status).unwrap_or(StatusCode::OK);
                // Like every proxy, read what the client sends: an answer must not overtake the request's own bytes.
                discard(request.into_body()).await;
                (with_body(code, body.unwrap_or_default()), edits)
            }
            (Action::Route(route), None) => {
                let cluster = route.choose_cluster(&head);
                let edits = chosen.response_edits(&head, cluster.weight);
                let endpoint = self.clusters.next(&cluster.name);
                match endpoint {
                    Some(endpoint) => {
                        let hostname = endpoint.hostname.as_deref();
                        let rewritten = Rewritten {
                            path: owned(chosen.path(&head)),
                            host: chosen
                                .host(&head, cluster.weight, hostname)
                                .map(Cow::into_owned),
                            headers: chosen.request_edits(&head, cluster.weight),
                        };
                        let upstream = endpoint.http(request.version());
                        let sent = self.forward(request, route, upstream, rewritten);
                        (sent.await, edits)
                    }
                    None => (status(StatusCode::SERVICE_UNAVAILABLE), edits),
                }
            }
            (_, None) => return Ok(status(StatusCode::NOT_IMPLEMENTED)),
        };
        edits.apply(response.headers_mut());
        Ok(response)
    }

    /// Makes of a request what routes may look at: its path, its host, its headers. `Some`: it is answered here.
    fn admit<B>(&self, request: &mut Request<B>) -> Option<Response<Body>> {
        let manager = &self.manager;
        let underscored = |name: &HeaderName| name.as_str().contains('_');
        match manager.underscores() {
            Underscores::Reject if request.headers().keys().any(underscored) => {
                return Some(status(StatusCode::BAD_REQUEST));
            }
            Underscores::Drop => {
                let names = request.headers().keys().filter(|name| underscored(name));
                let names: Vec<HeaderName> = names.cloned().collect();
                for name in names {
                    request.headers_mut().remove(name);
                }
            }
            _ => {}
        }
        let path = request.uri().path_and_query();
        let path = match manager.path(path.map_or("/", PathAndQuery::as_str)) {
            PathOutcome::Goes(path) => owned(path),
            PathOutcome::Redirect(_) if is_grpc(request.headers()) => {
                return Some(status(StatusCode::BAD_REQUEST));
            }
            PathOutcome::Redirect(path) => return Some(redirected(307, &path)),
            PathOutcome::Refused => return Some(status(StatusCode::BAD_REQUEST)),
        };
        let asked = host_of(request).unwrap_or_default();
        let host = manager.host(asked, self.local_port);
        let host = (host != asked).then(|| host.to_owned());
        if path.is_none() && host.is_none() {
            return None;
        }
        let rewritten = Rewritten {
            path,
            host,
            headers: HeaderEdits::default(),
        };
        rewrite(request, rewritten, false).err().map(status)
    }

    async fn forward(
        &self,
        mut request: Request<ReceivedBody>,
        route: &RouteAction,
        upstream: &Upstream,
        rewritten: Rewritten,
    ) -> Response<Body> {
        let upgrade = match request.extensions().get::<Protocol>() {
            Some(protocol) => HeaderValue::from_str(protocol.as_str()).ok(),
            None => asked_upgrade(&request).cloned(),
        };
        let upgrade = upgrade.filter(|token| {
            token
                .to_str()
                .is_ok_and(|token| route.allows_upgrade(token, &self.manager))
        });
        // Before anything is added: what the client's `connection` names is the client's own.
        if let Err(refused) = hop_by_hop::strip_request(request.headers_mut()) {
            return status(refused);
        }
        if let Some(peer) = self.peer.filter(|_| self.manager.appends_x_forwarded_for()) {
            append_x_forwarded_for(request.headers_mut(), peer.ip());
        }
        if let Err(code) = rewrite(&mut request, rewritten, route.append_x_forwarded_host) {
            return status(code);
        }
        let sent = match upgrade {
            Some(token) => {
                let answered = upgrade_over(upstream, request, token, self.tunnels);
                match route.time_limit() {
                    // An upgrade has no end of its own: the clock runs until it is answered.
                    Some(limit) => tokio::time::timeout(limit, answered)
                        .await
                        .unwrap_or(Err(StatusCode::GATEWAY_TIMEOUT)),
                    None => answered.await,
                }
            }
            None => exchange(upstream, request, route).await,
        };
        sent.unwrap_or_else(status)
    }
}

fn owned(text: Cow<'_, str>) -> Option<String> {
    match text {
        Cow::Owned(text) => Some(text),
        Cow::Borrowed(_) => None,
    }
}

/// Whom a request is for.
fn host_of<B>(request: &Request<B>) -> Option<&str> {
    let authority = request.uri().authority().map(Authority::as_str);
    authority.or_else(|| host_header(request.headers()))
}

/// Refuses a request that does not name one host (RFC 9112, section 3.2). Of two lengths hyper keeps `chunked` and closes the
/// connection (section 6.1).
fn one_host<B>(request: &Request<B>) -> Result<(), StatusCode> {
    let headers = request.headers();
    let hosts = headers.get_all(HOST).iter().count();
    let named = hosts == 1 || (hosts == 0 && request.uri().authority().is_some());
    let needs_none = hosts == 0 && request.version() <= Version::HTTP_10;
    if !named && !needs_none {
        return Err(StatusCode::BAD_REQUEST);
    }
    Ok(())
}

/// Makes the route's changes.
fn rewrite<B>(
    request: &mut Request<B>,
    rewritten: Rewritten,
    keep_host: bool,
) -> Result<(), StatusCode> {
    const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
    let bad = |_| StatusCode::BAD_REQUEST;
    rewritten.headers.apply(request.headers_mut());
    if let Some(host) = rewritten.host {
        let before = host_of(request).and_then(|host| HeaderValue::from_str(host).ok());
        if let Some(before) = before.filter(|_| keep_host) {
            request.headers_mut().append(X_FORWARDED_HOST, before);
        }
        let value = HeaderValue::from_str(&host).map_err(|_| StatusCode::BAD_REQUEST)?;
        request.headers_mut().insert(HOST, value);
        let mut parts = request.uri().clone().into_parts();
        if parts.authority.is_some() {
            parts.authority = Some(host.parse().map_err(bad)?);
            *request.uri_mut() = Uri::from_parts(parts).map_err(|_| StatusCode::BAD_REQUEST)?;
        }
    }
    if let Some(path) = rewritten.path {
        // What begins with no slash would be something else than a path.
        let path = match path.starts_with('/') {
            true => path,
            false => format!("/{path}"),
        };
        let mut parts = request.uri().clone().into_parts();
        parts.path_and_query = Some(path.parse().map_err(bad)?);
        *request.uri_mut() = Uri::from_parts(parts).map_err(|_| StatusCode::BAD_REQUEST)?;
    }
    Ok(())
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE);
    content_type.is_some_and(|it| it.as_bytes().starts_with(b"application/grpc"))
}

fn redirected(code: u16, location: &str) -> Response<Body> {
    let Ok(location) = HeaderValue::from_str(location) else {
        return status(StatusCode::BAD_REQUEST);
    };
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::FOUND);
    response.headers_mut().insert(LOCATION, location);
    response
}

/// An answer after which nothing is read from the connection any more.
fn closing(code: StatusCode) -> Response<Body> {
    let mut response = status(code);
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    response
}

async fn exchange(
    upstream: &Upstream,
    request: Request<ReceivedBody>,
    route: &RouteAction,
) -> Result<Response<Body>, StatusCode> {
    let request = for_upstream(request, upstream, None)?;
    let (parts, body) = request.into_parts();
    let (mut timer, body) = match route.time_limit() {
        Some(limit) => {
            let (timer, body) = RouteTimer::after(body, limit);
            (Some(timer), body)
        }
        None => (None, RequestBody::untimed(body)),
    };
    let sent = upstream.send(Request::from_parts(parts, body));
    let answered = match &mut timer {
        Some(timer) => tokio::select! {
            // A response that is there counts.
            biased;
            answered = sent => answered,
            () = timer => return Err(StatusCode::GATEWAY_TIMEOUT),
        },
        None => sent.await,
    };
    let mut response = answered.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    for_client(&mut response);
    Ok(response.map(|body| ResponseBody::new(body, timer).boxed()))
}

/// Forwards an upgrade; if the upstream agrees, a task of its own relays the bytes, under a guard of its own.
async fn upgrade_over(
    upstream: &Upstream,
    mut request: Request<ReceivedBody>,
    token: HeaderValue,
    tunnels: Tunnels,
) -> Result<Response<Body>, StatusCode> {
    // Every request carries its connection; the tunnel keeps it, so that the drain goes on counting and timing it.
    let connection = request.extensions().get::<Connection>().cloned();
    let connection = connection.ok_or(StatusCode::INTERNAL_SERVER_ERROR)?;
    let is_websocket = is_websocket(&token);
    let client_side = hyper::upgrade::on(&mut request);
    let over_http2 = request.version() == Version::HTTP_2;
    if over_http2 {
        extended_connect::to_handshake(&mut request)?;
    }
    let mut request = for_upstream(request, upstream, Some(token))?;
    let accept = match upstream {
        Upstream::Http1(_) | Upstream::Alpn(_) => None,
        Upstream::Http2(_) => Some(extended_connect::connect(&mut request)?),
    };
    let agreed = match accept {
        None => StatusCode::SWITCHING_PROTOCOLS,
        Some(_) => StatusCode::OK,
    };
    let answered = upstream.send(request.map(RequestBody::untimed)).await;
    let mut response = answered.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    if response.status() != agreed {
        if over_http2 && response.status().is_success() {
            // To the client any success is an open tunnel (RFC 8441, section 4), and there is none.
            return Err(StatusCode::BAD_GATEWAY);
        }
        for_client(&mut response);
        return Ok(response.map(|body| ResponseBody::new(body, None).boxed()));
    }
    if let Some(accept) = accept {
        extended_connect::switched(&mut response, accept);
    }
    let upstream_side = hyper::upgrade::on(&mut response);
    tokio::spawn(tunnels.relay(client_side, upstream_side, connection, is_websocket));
    if over_http2 {
        extended_connect::opened(&mut response);
    }
    Ok(response.map(|_| empty()))
}

/// The protocol that a request asks to switch to (RFC 9110 section 7.8): `upgrade` counts in HTTP/1.1 alone, and only if
/// `connection` names it.
fn asked_upgrade(request: &Request<ReceivedBody>) -> Option<&HeaderValue> {
    let names_it = || {
        let mut options = hop_by_hop::options(request.headers());
        options.any(|option| option.eq_ignore_ascii_case(UPGRADE.as_str()))
    };
    let token = request.headers().get(UPGRADE)?;
    (request.version() == Version::HTTP_11 && names_it()).then_some(token)
}

/// Adds the address that the client connects from, as Envoy does with `use_remote_address`.
fn append_x_forwarded_for(headers: &mut HeaderMap, peer: IpAddr) {
    const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
    let mut hops: Vec<u8> = Vec::new();
    for value in headers.get_all(X_FORWARDED_FOR) {
        hops.extend_from_slice(value.as_bytes());
        hops.extend_from_slice(b",");
    }
    hops.extend_from_slice(peer.to_canonical().to_string().as_bytes());
    // Values that came as headers, a comma and an address are a value.
    if let Ok(hops) = HeaderValue::from_bytes(&hops) {
        headers.insert(X_FORWARDED_FOR, hops);
    }
}

fn is_websocket(token: &HeaderValue) -> bool {
    token.as_bytes().eq_ignore_ascii_case(b"websocket")
}

/// The request as the upstream gets it: in its version of HTTP.
fn for_upstream(
    request: Request<ReceivedBody>,
    upstream: &Upstream,
    mut upgrade: Option<HeaderValue>,
) -> Result<Request<ReceivedBody>, StatusCode> {
    let (mut parts, body) = request.into_parts();
    if parts.method == Method::CONNECT {
        return Err(StatusCode::NOT_IMPLEMENTED);
    }
    let asked_for = parts.uri.authority().map(Authority::as_str);
    let asked_for = asked_for
        .or_else(|| host_header(&parts.headers))
        .unwrap_or_default()
        .to_owned();
    let authority = match upstream {
        // Whom the client asked for is in `host`; the client's pool goes by one name for all.
        Upstream::Http1(_) | Upstream::Alpn(_) => {
            if !asked_for.is_empty() {
                let host =
                    HeaderValue::from_str(&asked_for).map_err(|_| StatusCode::BAD_REQUEST)?;
                parts.headers.insert(HOST, host);
            }
            parts.version = Version::HTTP_11;
            match upstream {
                // If HTTP/2 is agreed on, it is the `:authority`.
                Upstream::Alpn(_) if !asked_for.is_empty() => asked_for,
                _ => "endpoint".to_owned(),
            }
        }
        // Whom the client asked for is in `:authority`.
        Upstream::Http2(_) => {
            // It has words for one upgrade only.
            if upgrade.take().is_some_and(|token| !is_websocket(&token)) {
                return Err(StatusCode::NOT_IMPLEMENTED);
            }
            parts.headers.remove(HOST);
            parts.version = Version::HTTP_2;
            asked_for
        }
    };
    if let Some(token) = upgrade {
        parts
            .headers
            .insert(CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(UPGRADE, token);
    }
    let mut uri = Uri::builder().scheme(Scheme::HTTP).authority(authority);
    uri = uri.path_and_query(parts.uri.path_and_query().map_or("/", |path| path.as_str()));
    parts.uri = uri.build().map_err(|_| StatusCode::BAD_REQUEST)?;
    parts.extensions.clear();
    Ok(Request::from_parts(parts, body))
}

/// Makes a response of the upstream's one of ours: in our version of HTTP, no hop-by-hop headers.
///
/// With the upstream's version an HTTP/1.1 client would get a body that ends with the connection where chunks can tell
/// a whole one from a cut one.
fn for_client<B>(response: &mut Response<B>) {
    hop_by_hop::strip(response.headers_mut());
    *response.version_mut() = Version::HTTP_11;
}

fn host_header(headers: &HeaderMap) -> Option<&str> {
    headers.get(HOST)?.to_str().ok()
}

async fn discard(mut body: ReceivedBody) {
    while let Some(Ok(_)) = body.frame().await {}
}

pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

pub(crate) fn with_body(code: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(
        Full::new(body.into())
            .map_err(|never| match never {})
            .boxed(),
    );
    *response.status_mut() = code;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

fn status(code: StatusCode) -> Response<Body> {
    with_body(code, code.canonical_reason().unwrap_or_default())
}
