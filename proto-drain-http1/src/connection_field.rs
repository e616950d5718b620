//! The `Connection` field of a head: its options, and `close` among them.

use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// One `Connection` value: what stood there but `keep-alive`, then `close`.
pub(crate) fn say_close(headers: &mut HeaderMap) {
    headers.remove(KEEP_ALIVE);
    let mut options = Vec::new();
    for value in headers.get_all(CONNECTION) {
        for option in options_of(value) {
            if !option.eq_ignore_ascii_case(b"keep-alive") && !option.eq_ignore_ascii_case(b"close")
            {
                options.extend_from_slice(option);
                options.extend_from_slice(b", ");
            }
        }
    }
    if options.is_empty() {
        headers.insert(CONNECTION, CLOSE);
        return;
    }
    options.extend_from_slice(b"close");
    // Pieces of valid values joined by ", " are a valid value; were they not, `close` alone is what
    // must be said.
    headers.insert(
        CONNECTION,
        HeaderValue::from_bytes(&options).unwrap_or(CLOSE),
    );
}

/// Whether `token` is one of the connection options, in any case.
pub(crate) fn has_token(headers: &HeaderMap, token: &[u8]) -> bool {
    headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(options_of)
        .any(|option| option.eq_ignore_ascii_case(token))
}

/// The connection options of one field value, without white space and empty elements.
fn options_of(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value
        .as_bytes()
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|option| !option.is_empty())
}
