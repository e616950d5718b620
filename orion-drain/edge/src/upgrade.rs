//! Upgrades: which one a request asks for, the handshake with an endpoint, and the tunnel behind
//! it.

use std::pin::pin;
use std::sync::Arc;

use http::header::{CONNECTION, HeaderName, UPGRADE};
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use orion_drain::config::StreamLimits;
use orion_drain::serve::{Connection, ReceivedBody};
use orion_drain::stats::HttpStats;

use crate::answers::{Answered, empty, failed, status};
use crate::exchange::{for_client, for_upstream};
use crate::extended_connect::{self, Accept};
use crate::failure::Failure;
use crate::forwarded;
use crate::hop_by_hop;
use crate::timed::{RequestBody, ResponseBody};
use crate::timeout::{StreamTimer, in_time};
use crate::tunnel::Tunnels;
use crate::upstream::Upstream;

/// The protocol that a request asks to switch to, by extended CONNECT or by `upgrade`.
pub(crate) fn asked<B>(request: &Request<B>) -> Option<HeaderValue> {
    match request.extensions().get::<Protocol>() {
        Some(protocol) => HeaderValue::from_str(protocol.as_str()).ok(),
        None => asked_by_header(request),
    }
}

/// The same in HTTP/1 (RFC 9110 section 7.8): `upgrade` counts in HTTP/1.1 alone, and only if
/// `connection` names it. A client that offers HTTP/2 is served in HTTP/1.1, as in Envoy. Several
/// protocols are a list, of which no route allows anything.
fn asked_by_header<B>(request: &Request<B>) -> Option<HeaderValue> {
    let names_it = || {
        let mut options = hop_by_hop::options(request.headers());
        options.any(|option| option.eq_ignore_ascii_case(UPGRADE.as_str().as_bytes()))
    };
    let mut tokens = request.headers().get_all(UPGRADE).iter();
    let token = tokens.next()?;
    if request.version() != Version::HTTP_11 || !names_it() {
        return None;
    }
    if let Some(more) = tokens.next() {
        return HeaderValue::from_bytes(&[token.as_bytes(), more.as_bytes()].join(&b',')).ok();
    }
    let is_h2c = token.as_bytes().eq_ignore_ascii_case(b"h2c");
    (!is_h2c).then(|| token.clone())
}

/// The headers by which HTTP/1.1 asks for it: the client's, or what a client of HTTP/2 would say.
pub(crate) fn handshake(headers: &HeaderMap, to: &HeaderValue) -> [(HeaderName, HeaderValue); 2] {
    let connection = HeaderValue::from_bytes(&forwarded::joined(headers, &CONNECTION));
    let connection = connection.ok().filter(|said| !said.is_empty());
    let connection = connection.unwrap_or(HeaderValue::from_static("upgrade"));
    [(UPGRADE, to.clone()), (CONNECTION, connection)]
}

/// An upgrade before it is answered: the client's side of it.
pub(crate) struct Handshake {
    /// Every request has its connection with it; the tunnel keeps it, so that the drain goes on
    /// counting and timing it.
    connection: Connection,
    client_side: OnUpgrade,
    is_websocket: bool,
    over_http2: bool,
    /// What a client of HTTP/1.1 gets to read when an endpoint of HTTP/2 has agreed.
    accept: Option<Accept>,
}

/// Makes an upgrade what the upstream gets.
///
/// # Errors
///
/// The status that it is answered with. Its body is not touched.
pub(crate) fn for_endpoint(
    request: &mut Request<ReceivedBody>,
    upstream: &Upstream,
    scheme: Scheme,
    token: HeaderValue,
) -> Result<Handshake, StatusCode> {
    let connection = request.extensions().get::<Connection>().cloned();
    let connection = connection.ok_or(StatusCode::INTERNAL_SERVER_ERROR)?;
    let is_websocket = is_websocket(&token);
    let client_side = hyper::upgrade::on(&mut *request);
    let over_http2 = request.version() == Version::HTTP_2;
    if over_http2 {
        extended_connect::to_handshake(request)?;
    }
    for_upstream(request, upstream, scheme, Some(token))?;
    let accept = match upstream {
        Upstream::Http1(_) | Upstream::Alpn(_) => None,
        Upstream::Http2(_) => Some(extended_connect::connect(request)?),
    };
    Ok(Handshake {
        connection,
        client_side,
        is_websocket,
        over_http2,
        accept,
    })
}

/// Forwards an upgrade; if the upstream agrees, a task of its own relays the bytes, under a guard
/// of its own.
pub(crate) async fn forward(
    upstream: &Upstream,
    request: Request<ReceivedBody>,
    handshake: Handshake,
    tunnels: Tunnels,
    limits: StreamLimits,
    stats: &Arc<HttpStats>,
) -> Answered {
    let Handshake {
        connection,
        client_side,
        is_websocket,
        over_http2,
        accept,
    } = handshake;
    let agreed = match accept {
        None => StatusCode::SWITCHING_PROTOCOLS,
        Some(_) => StatusCode::OK,
    };
    let leaves_body = !over_http2 && !request.body().is_end_stream();
    let mut request = request.map(|body| RequestBody::new(body, None));
    let upload = request.body_mut().upload();
    let sent = pin!(upstream.send(request));
    // An upgrade has no end of its own: its times run until it is answered.
    let mut timer = StreamTimer::new(limits);
    let mut response = match in_time(sent, timer.as_mut()).await {
        Ok(Ok(response)) => response,
        Ok(Err(failure)) => return Err(failed(failure, leaves_body)),
        Err(overdue) => return Err(overdue.response(!over_http2, stats)),
    };
    if response.status() != agreed {
        if over_http2 && response.status().is_success() {
            // To the client any success is an open tunnel (RFC 8441, section 4), and there is none.
            return Err(status(StatusCode::BAD_GATEWAY));
        }
        let over_endpoint_http2 = response.version() == Version::HTTP_2;
        let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if switches || for_client(&mut response).is_err() {
            return Err(failed(Failure::Protocol, leaves_body));
        }
        let upload = (upload, over_endpoint_http2);
        return Ok(response.map(|body| ResponseBody::new(body, timer, upload, stats).boxed()));
    }
    if let Some(accept) = accept {
        extended_connect::switched(&mut response, accept);
    }
    let upstream_side = hyper::upgrade::on(&mut response);
    let progress = timer.as_mut().map(StreamTimer::tunnel);
    let relayed = tunnels.relay(
        client_side,
        upstream_side,
        connection,
        is_websocket,
        progress,
    );
    let stats = Arc::clone(stats);
    tokio::spawn(async move {
        let Some(timer) = timer else {
            return relayed.await;
        };
        tokio::select! {
            () = relayed => {}
            // Both sides are closed.
            overdue = timer => overdue.count(&stats),
        }
    });
    if over_http2 {
        extended_connect::opened(&mut response);
    }
    Ok(response.map(|_| empty()))
}

pub(crate) fn is_websocket(token: &HeaderValue) -> bool {
    token.as_bytes().eq_ignore_ascii_case(b"websocket")
}
