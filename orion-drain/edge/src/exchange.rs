//! One exchange with an endpoint: the request in its version of HTTP, and the response in the
//! client's.

use std::sync::Arc;

use http::header::{CONNECTION, COOKIE, HOST, TRANSFER_ENCODING, UPGRADE};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use orion_drain::config::StreamLimits;
use orion_drain::serve::ReceivedBody;
use orion_drain::stats::HttpStats;

use crate::addressed::host_of;
use crate::answers::{Body, closing, status, unavailable};
use crate::hop_by_hop;
use crate::lengths;
use crate::timed::{RequestBody, ResponseBody};
use crate::timeout::{StreamTimer, in_time};
use crate::upgrade;
use crate::upstream::Upstream;

/// Forwards a request that is [for the upstream](for_upstream), and its response, within the times
/// that the stream may take.
pub(crate) async fn exchange(
    upstream: &Upstream,
    request: Request<ReceivedBody>,
    over_http1: bool,
    limits: StreamLimits,
    stats: &Arc<HttpStats>,
) -> Response<Body> {
    let leaves_body = over_http1 && !request.body().is_end_stream();
    let mut timer = StreamTimer::new(limits);
    let mut request = request.map(|body| RequestBody::new(body, timer.as_mut()));
    let upload = request.body_mut().upload();
    let mut response = match in_time(upstream.send(request), timer.as_mut()).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            return match upload {
                // The client's own fault, whatever became of the endpoint's connection.
                Some(upload) if over_http1 && upload.has_broken_off() => {
                    closing(status(StatusCode::BAD_REQUEST))
                }
                _ => unavailable(leaves_body),
            };
        }
        Err(overdue) => return overdue.response(over_http1, stats),
    };
    // No switch was asked for: what follows is no HTTP (RFC 9110, section 15.2.2).
    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if switches || for_client(&mut response).is_err() {
        return unavailable(leaves_body);
    }
    response.map(|body| ResponseBody::new(body, timer, upload, stats).boxed())
}

/// Makes a request what the upstream gets: in its version of HTTP.
///
/// # Errors
///
/// The status that it is answered with. Its body is not touched.
pub(crate) fn for_upstream<B: hyper::body::Body>(
    request: &mut Request<B>,
    upstream: &Upstream,
    mut upgrade: Option<HeaderValue>,
) -> Result<(), StatusCode> {
    lengths::settle(request.headers_mut())
        .map_err(|lengths::Contradiction| StatusCode::BAD_REQUEST)?;
    if request.method() == Method::CONNECT {
        return Err(StatusCode::NOT_IMPLEMENTED);
    }
    let asked_for = host_of(request).unwrap_or_default().to_owned();
    let authority = match upstream {
        // Whom the client asked for is in `host`; the client's pool goes by one name for all.
        Upstream::Http1(_) | Upstream::Alpn(_) => {
            // Empty if no host was asked for (RFC 9112, section 3.2).
            let host = HeaderValue::from_str(&asked_for).map_err(|_| StatusCode::BAD_REQUEST)?;
            request.headers_mut().insert(HOST, host);
            join_cookies(request.headers_mut())?;
            if has_unknown_length(request.body()) {
                // hyper would leave out the body of a GET and of a HEAD.
                let chunked = HeaderValue::from_static("chunked");
                request.headers_mut().insert(TRANSFER_ENCODING, chunked);
            }
            *request.version_mut() = Version::HTTP_11;
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
            request.headers_mut().remove(HOST);
            *request.version_mut() = Version::HTTP_2;
            asked_for
        }
    };
    if let Some(token) = upgrade {
        let headers = request.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, token);
    }
    let path = request.uri().path_and_query();
    let uri = Uri::builder().scheme(Scheme::HTTP).authority(authority);
    let uri = uri.path_and_query(path.map_or("/", PathAndQuery::as_str));
    *request.uri_mut() = uri.build().map_err(|_| StatusCode::BAD_REQUEST)?;
    request.extensions_mut().clear();
    Ok(())
}

/// HTTP/2 may send a cookie field in pieces; in HTTP/1 it is one (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) -> Result<(), StatusCode> {
    let pieces: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if pieces.len() > 1 {
        let whole = HeaderValue::from_bytes(&pieces.join(&b"; "[..]));
        headers.insert(COOKIE, whole.map_err(|_| StatusCode::BAD_REQUEST)?);
    }
    Ok(())
}

/// Whether the end of a body is all that says how long it is.
fn has_unknown_length(body: &impl hyper::body::Body) -> bool {
    !body.is_end_stream() && body.size_hint().exact().is_none()
}

/// Makes a response of the upstream's one of ours: in our version of HTTP, no hop-by-hop headers.
///
/// With the upstream's version an HTTP/1.1 client would get a body that ends with the connection
/// where chunks can tell a whole one from a cut one.
///
/// # Errors
///
/// It says of its length what cannot be.
pub(crate) fn for_client<B>(response: &mut Response<B>) -> Result<(), lengths::Contradiction> {
    let headers = response.headers_mut();
    lengths::settle(headers)?;
    hop_by_hop::strip(headers);
    *response.version_mut() = Version::HTTP_11;
    Ok(())
}
