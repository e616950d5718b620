//! The proxy's own answers.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};

use crate::failure::Failure;

/// The body of any response.
pub(crate) type Body = BoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// An endpoint's response, or the proxy's own answer in its place.
pub(crate) type Answered = Result<Response<Body>, Response<Body>>;

pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

pub(crate) fn status(code: StatusCode) -> Response<Body> {
    with_body(code, code.canonical_reason().unwrap_or_default())
}

pub(crate) fn with_body(code: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let body = body.into();
    let is_text = !body.is_empty();
    let mut response = Response::new(Full::new(body).map_err(|never| match never {}).boxed());
    *response.status_mut() = code;
    if is_text {
        let text = HeaderValue::from_static("text/plain");
        response.headers_mut().insert(CONTENT_TYPE, text);
    }
    response
}

/// A redirect to this location.
pub(crate) fn redirected(code: u16, location: &str) -> Response<Body> {
    let Ok(location) = HeaderValue::from_str(location) else {
        return status(StatusCode::BAD_REQUEST);
    };
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::FOUND);
    response.headers_mut().insert(LOCATION, location);
    response
}

/// The same answer, after which nothing is read from the connection any more.
pub(crate) fn closing(mut response: Response<Body>) -> Response<Body> {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    response
}

/// The answer to a request whose endpoint has given none. An HTTP/1 connection ends with an answer
/// that leaves a part of the request's body unread.
pub(crate) fn failed(failure: Failure, leaves_body: bool) -> Response<Body> {
    let text = format!(
        "upstream connect error or disconnect/reset before headers. reset reason: {failure}"
    );
    let answer = with_body(failure.status(), text);
    match leaves_body {
        true => closing(answer),
        false => answer,
    }
}
