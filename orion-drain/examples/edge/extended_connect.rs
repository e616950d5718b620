//! A WebSocket whose client speaks HTTP/1.1 and whose endpoint speaks HTTP/2: the handshake of the one in the words of the other
//! (RFC 8441, section 5).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::ext::Protocol;
use sha1::{Digest as _, Sha1};

/// RFC 6455, section 1.3.
const SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What the client wants to hear when the endpoint has agreed.
#[derive(Debug)]
pub(crate) struct Accept(HeaderValue);

/// Makes CONNECT of a handshake that is otherwise addressed as HTTP/2 wants it.
pub(crate) fn connect<B>(request: &mut Request<B>) -> Result<Accept, StatusCode> {
    let key = request.headers_mut().remove(SEC_WEBSOCKET_KEY);
    let key = key
        .filter(|_| request.method() == Method::GET)
        .ok_or(StatusCode::BAD_REQUEST)?;
    *request.method_mut() = Method::CONNECT;
    request
        .extensions_mut()
        .insert(Protocol::from_static("websocket"));
    let accept = STANDARD.encode(Sha1::new().chain_update(key).chain_update(SUFFIX).finalize());
    let accept = HeaderValue::from_str(&accept).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(Accept(accept))
}

/// Makes 101 of the endpoint's 200.
pub(crate) fn switched<B>(response: &mut Response<B>, Accept(accept): Accept) {
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
}
