//! Whom a request is for, and whether it says so, and how long it is, as HTTP wants it. What
//! another server may read otherwise is answered with an error (RFC 9112, sections 3.2 and 6.1).

use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, StatusCode, Uri, Version};

use crate::lengths;

/// Whom a request is for.
pub(crate) fn host_of<B>(request: &Request<B>) -> Option<&str> {
    let authority = request.uri().authority().map(Authority::as_str);
    authority.or_else(|| host_header(request.headers()))
}

pub(crate) fn host_header(headers: &HeaderMap) -> Option<&str> {
    headers.get(HOST)?.to_str().ok()
}

/// Refuses a request that does not name one host, or that is sent in a coding which is not known
/// here. Of two lengths hyper keeps `chunked` and closes the connection.
///
/// A user in an absolute form is left out, as Envoy does.
pub(crate) fn check<B>(request: &mut Request<B>) -> Result<(), StatusCode> {
    let is_http1 = request.version() < Version::HTTP_2;
    if is_http1 {
        check_target(request)?;
        if lengths::in_chunks(request.headers()) == Some(false) {
            return Err(StatusCode::NOT_IMPLEMENTED);
        }
    }
    if request.uri().path() == "*" && request.method() != Method::OPTIONS {
        return Err(StatusCode::BAD_REQUEST);
    }
    let headers = request.headers();
    let hosts = headers.get_all(HOST).iter().count();
    let authority = request.uri().authority();
    let named = hosts == 1 || (hosts == 0 && authority.is_some());
    let needs_none = hosts == 0 && request.version() <= Version::HTTP_10;
    let is_sound = |host: &[u8]| host.iter().all(|byte| is_of_host(*byte));
    if !(named || needs_none)
        || !headers
            .get(HOST)
            .is_none_or(|host| is_sound(host.as_bytes()))
        || !authority.is_none_or(|host| is_sound(host.as_str().as_bytes()))
    {
        return Err(StatusCode::BAD_REQUEST);
    }
    Ok(())
}

/// `GET /path`, `GET http://host/path` and `OPTIONS *`. hyper takes `host:port` with any method.
/// What follows CONNECT is for somebody else, whatever it looks like.
fn check_target<B>(request: &mut Request<B>) -> Result<(), StatusCode> {
    if request.method() == Method::CONNECT {
        return Err(StatusCode::NOT_IMPLEMENTED);
    }
    let uri = request.uri();
    let is_form_of_method = match (uri.scheme(), uri.authority()) {
        (Some(scheme), _) => *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS,
        (None, authority) => authority.is_none(),
    };
    // Raw bytes beyond ASCII are for nothing that a URI may have.
    let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    if !is_form_of_method || !path.is_ascii() {
        return Err(StatusCode::BAD_REQUEST);
    }
    let user = uri.authority().and_then(|it| it.as_str().rsplit_once('@'));
    if let Some((_, host)) = user.filter(|_| uri.scheme().is_some()) {
        let authority = host.parse().map_err(|_| StatusCode::BAD_REQUEST)?;
        let mut parts = uri.clone().into_parts();
        parts.authority = Some(authority);
        *request.uri_mut() = Uri::from_parts(parts).map_err(|_| StatusCode::BAD_REQUEST)?;
    }
    Ok(())
}

/// A host and its port (RFC 3986, section 3.2): no user, no path, no list with spaces.
fn is_of_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]%".contains(&byte)
}
