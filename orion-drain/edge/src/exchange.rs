//! One exchange with an endpoint: the request in its version of HTTP, and the response in the
//! client's.

use http::header::{CONNECTION, HOST, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use http_body_util::BodyExt;
use orion_drain::config::StreamLimits;
use orion_drain::serve::ReceivedBody;
use orion_drain::stats::HttpStats;

use crate::hop_by_hop;
use crate::proxy::{Body, host_header};
use crate::timed::{RequestBody, ResponseBody};
use crate::timeout::StreamTimer;
use crate::upgrade;
use crate::upstream::Upstream;

/// Forwards a request and its response, within the times that the stream may take.
pub(crate) async fn exchange(
    upstream: &Upstream,
    request: Request<ReceivedBody>,
    limits: StreamLimits,
    stats: &HttpStats,
) -> Result<Response<Body>, StatusCode> {
    let over_http1 = request.version() < Version::HTTP_2;
    let request = for_upstream(request, upstream, None)?;
    let mut timer = StreamTimer::new(limits);
    let request = request.map(|body| RequestBody::new(body, timer.as_mut()));
    let sent = upstream.send(request);
    let answered = match &mut timer {
        Some(timer) => tokio::select! {
            // A response that is there counts.
            biased;
            answered = sent => answered,
            overdue = &mut *timer => {
                overdue.count(stats);
                return Ok(overdue.response(over_http1));
            }
        },
        None => sent.await,
    };
    let mut response = answered.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    if let Some(timer) = &mut timer {
        timer.moved();
    }
    for_client(&mut response);
    Ok(response.map(|body| ResponseBody::new(body, timer).boxed()))
}

/// The request as the upstream gets it: in its version of HTTP.
pub(crate) fn for_upstream(
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
            // Empty if nobody was asked for (RFC 9112, section 3.2).
            let host = HeaderValue::from_str(&asked_for).map_err(|_| StatusCode::BAD_REQUEST)?;
            parts.headers.insert(HOST, host);
            if has_unknown_length(&body) {
                // hyper would leave out the body of a GET and of a HEAD.
                let chunked = HeaderValue::from_static("chunked");
                parts.headers.insert(TRANSFER_ENCODING, chunked);
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
            if upgrade
                .take()
                .is_some_and(|token| !upgrade::is_websocket(&token))
            {
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

/// Whether the end of a body is all that says how long it is.
fn has_unknown_length(body: &ReceivedBody) -> bool {
    !body.is_end_stream() && body.size_hint().exact().is_none()
}

/// Makes a response of the upstream's one of ours: in our version of HTTP, no hop-by-hop headers.
///
/// With the upstream's version an HTTP/1.1 client would get a body that ends with the connection
/// where chunks can tell a whole one from a cut one.
pub(crate) fn for_client<B>(response: &mut Response<B>) {
    hop_by_hop::strip(response.headers_mut());
    *response.version_mut() = Version::HTTP_11;
}
