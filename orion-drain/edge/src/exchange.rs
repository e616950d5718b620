//! One exchange with an endpoint: the request in its version of HTTP, and the response in the
//! client's.

use std::pin::pin;
use std::sync::Arc;

use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::BodyExt;
use orion_drain::config::StreamLimits;
use orion_drain::serve::ReceivedBody;
use orion_drain::stats::HttpStats;

use crate::addressed::host_of;
use crate::answers::{Answered, closing, failed, status};
use crate::failure::Failure;
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
) -> Answered {
    let mut timer = StreamTimer::new(limits);
    let mut upload = None;
    let request = request.map(|body| {
        let mut body = RequestBody::new(body, timer.as_mut());
        upload = body.upload();
        body
    });
    let leaves_body = over_http1 && upload.is_some();
    let sent = pin!(upstream.send(request));
    let mut response = match in_time(sent, timer.as_mut()).await {
        Ok(Ok(response)) => response,
        Ok(Err(failure)) => {
            return Err(match upload {
                // The client's own fault, whatever became of the endpoint's connection.
                Some(upload) if over_http1 && upload.has_broken_off() => {
                    closing(status(StatusCode::BAD_REQUEST))
                }
                _ => failed(failure, leaves_body),
            });
        }
        Err(overdue) => return Err(overdue.response(over_http1, stats)),
    };
    let over_http2 = response.version() == Version::HTTP_2;
    // No switch was asked for: what follows is no HTTP (RFC 9110, section 15.2.2).
    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if switches || for_client(&mut response).is_err() {
        return Err(failed(Failure::Protocol, leaves_body));
    }
    let upload = (upload, over_http2);
    Ok(response.map(|body| ResponseBody::new(body, timer, upload, stats).boxed()))
}

/// Makes a request what the upstream gets: in its version of HTTP.
///
/// # Errors
///
/// The status that it is answered with. Its body is not touched.
pub(crate) fn for_upstream<B: hyper::body::Body>(
    request: &mut Request<B>,
    upstream: &Upstream,
    scheme: Scheme,
    mut upgrade: Option<HeaderValue>,
) -> Result<(), StatusCode> {
    lengths::settle(request.headers_mut())
        .map_err(|lengths::Contradiction| StatusCode::BAD_REQUEST)?;
    if request.method() == Method::CONNECT {
        return Err(StatusCode::NOT_IMPLEMENTED);
    }
    ask_here(request.headers_mut());
    let asked_for = host_of(request).unwrap_or_default().to_owned();
    let scheme = match upstream {
        // It is not sent, and the client's pool goes by it.
        Upstream::Http1(_) => Scheme::HTTP,
        Upstream::Http2(_) | Upstream::Alpn(_) => scheme,
    };
    let authority = match upstream {
        // Whom the client asked for is in `host`; the client's pool goes by one name for all.
        Upstream::Http1(_) | Upstream::Alpn(_) => {
            // Empty if no host was asked for (RFC 9112, section 3.2).
            let host = HeaderValue::from_str(&asked_for).map_err(|_| StatusCode::BAD_REQUEST)?;
            request.headers_mut().insert(HOST, host);
            join_cookies(request.headers_mut())?;
            tell_length(request);
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
            for name in [HOST, CONNECTION, UPGRADE] {
                request.headers_mut().remove(name);
            }
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
    let uri = Uri::builder().scheme(scheme).authority(authority);
    let uri = uri.path_and_query(path.map_or("/", PathAndQuery::as_str));
    *request.uri_mut() = uri.build().map_err(|_| StatusCode::BAD_REQUEST)?;
    request.extensions_mut().clear();
    Ok(())
}

/// Makes the head say how long the body is, where the upstream could not know it otherwise.
fn tell_length<B: hyper::body::Body>(request: &mut Request<B>) {
    if request.body().is_end_stream() {
        // Without it some servers wait for a body, or answer with 411 (RFC 9110, section 8.6).
        let has_none = [Method::GET, Method::HEAD, Method::DELETE, Method::TRACE];
        if !has_none.contains(request.method()) {
            let lengths = request.headers_mut().entry(CONTENT_LENGTH);
            lengths.or_insert(HeaderValue::from_static("0"));
        }
        return;
    }
    if request.body().size_hint().exact().is_none() {
        // hyper would leave out the body of a GET and of a HEAD.
        let chunked = HeaderValue::from_static("chunked");
        request.headers_mut().insert(TRANSFER_ENCODING, chunked);
    }
}

/// The client is asked for its body here, by the first read of it.
fn ask_here(headers: &mut HeaderMap) {
    let expects = headers.get(EXPECT).map(HeaderValue::as_bytes);
    if expects.is_some_and(|what| what.eq_ignore_ascii_case(b"100-continue")) {
        headers.remove(EXPECT);
    }
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

/// Makes a response of the upstream's one of ours: in our version of HTTP, no hop-by-hop headers.
///
/// With the upstream's version an HTTP/1.1 client would get a body that ends with the connection
/// where chunks can tell a whole one from a cut one.
///
/// # Errors
///
/// It says of its length what cannot be.
pub(crate) fn for_client<B>(response: &mut Response<B>) -> Result<(), lengths::Contradiction> {
    let has_no_body = response.status() == StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    lengths::settle(headers)?;
    if has_no_body {
        lengths::settle_without_body(headers)?;
    }
    hop_by_hop::strip(headers);
    *response.version_mut() = Version::HTTP_11;
    Ok(())
}
