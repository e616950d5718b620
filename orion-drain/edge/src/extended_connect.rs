//! A WebSocket of which one side speaks HTTP/1.1 and the other HTTP/2: the handshake of the one in
//! the words of the other (RFC 8441, section 5).

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

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
    let accept = STANDARD.encode(
        Sha1::new()
            .chain_update(key)
            .chain_update(SUFFIX)
            .finalize(),
    );
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

/// Makes a handshake of a client's CONNECT, as if it had come over HTTP/1.1.
pub(crate) fn to_handshake<B>(request: &mut Request<B>) -> Result<(), StatusCode> {
    *request.method_mut() = Method::GET;
    // Sixteen bytes of chance: they keep caches from being fooled (RFC 6455, section 10.3) and are
    // no secret.
    let chance = || RandomState::new().build_hasher().finish().to_be_bytes();
    let key = STANDARD.encode([chance(), chance()].concat());
    let key = HeaderValue::from_str(&key).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    request.headers_mut().insert(SEC_WEBSOCKET_KEY, key);
    Ok(())
}

/// Makes 200 of the 101 that the client's CONNECT was answered with.
pub(crate) fn opened<B>(response: &mut Response<B>) {
    *response.status_mut() = StatusCode::OK;
    for header in [CONNECTION, UPGRADE, SEC_WEBSOCKET_ACCEPT] {
        response.headers_mut().remove(header);
    }
}
