//! What changes in a request before it is sent on: its path, its host, its headers.

use std::borrow::Cow;

use http::header::{HOST, HeaderName};
use http::{HeaderValue, Request, StatusCode, Uri};
use orion_drain::config::HeaderEdits;

use crate::addressed::host_of;

/// What a route makes of a request.
#[derive(Debug, Default)]
pub(crate) struct Rewritten {
    pub(crate) path: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) headers: HeaderEdits,
}

/// A text that is not as it was.
pub(crate) fn owned(text: Cow<'_, str>) -> Option<String> {
    match text {
        Cow::Owned(text) => Some(text),
        Cow::Borrowed(_) => None,
    }
}

/// Makes the route's changes.
pub(crate) fn rewrite<B>(
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
