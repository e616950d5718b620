//! The page at `/`: drains live, from the JSON of the other paths. It has no data of its own and
//! loads nothing from elsewhere.

use http::header::{ACCEPT, CONTENT_SECURITY_POLICY, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode};

use super::AdminBody;
use super::router::respond;

const PAGE: &str = include_str!("page.html");

/// Names of listeners are shown as text, and should one ever be more, it still could load and reach
/// nothing.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// Whether the client is a browser, or asks for what browsers ask for.
pub(super) fn is_asked_for(request: &Parts) -> bool {
    let mut wanted = request.headers.get_all(ACCEPT).iter();
    wanted.any(|types| {
        types
            .to_str()
            .is_ok_and(|types| types.contains("text/html"))
    })
}

pub(super) fn response() -> Response<AdminBody> {
    let mut response = respond(StatusCode::OK, "text/html; charset=UTF-8", PAGE.to_owned());
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    response
}
