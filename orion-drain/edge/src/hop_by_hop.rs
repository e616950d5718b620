//! Headers that concern one connection alone: a proxy does not pass them on (RFC 9110, section 7.6.1).

use http::header::{CONNECTION, HOST, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Version};

/// What is never passed on, whether `connection` names it or not.
const ALWAYS: [HeaderName; 6] = [
    CONNECTION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    PROXY_CONNECTION,
];

/// What old clients of proxies say in place of `connection`.
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// What a request may not name in `connection`: the upstream relies on it, and a client could make
/// the proxy remove it.
const NEVER: [HeaderName; 4] = [
    HOST,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
];

/// How many options `connection` may list; blanks between two commas are one, as in Envoy.
const MOST_OPTIONS: usize = 9;

/// Removes a request's hop-by-hop headers. `te: trailers` stays, as in Envoy: gRPC servers ask for
/// it.
///
/// # Errors
///
/// 400 if `connection` names a header that the upstream relies on, or a pseudo header, or lists
/// more than nine, as Envoy answers. A request that `switches` may list more, as in Envoy.
pub(crate) fn strip_request(headers: &mut HeaderMap, switches: bool) -> Result<(), StatusCode> {
    let all = listed(headers, &CONNECTION).filter(|option| !option.is_empty());
    let has_many = all.count() > MOST_OPTIONS;
    let has_wrong = options(headers).any(|name| {
        name.starts_with(b":")
            || NEVER
                .iter()
                .any(|never| name.eq_ignore_ascii_case(never.as_str().as_bytes()))
    });
    if has_wrong || has_many && !switches {
        return Err(StatusCode::BAD_REQUEST);
    }
    let takes_trailers = headers.get_all(TE).iter().any(|te| {
        let codings = te.to_str().unwrap_or_default().split(',');
        codings
            .into_iter()
            .any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
    });
    strip(headers);
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    Ok(())
}

/// Removes the hop-by-hop headers of any message.
pub(crate) fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = options(headers)
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .collect();
    for name in named.iter().chain(&ALWAYS) {
        headers.remove(name);
    }
}

/// Whether a client of HTTP/1 says by `proxy-connection: close` that this is its last request.
/// Envoy reads it as well. `connection: close` is read where HTTP/1 is.
pub(crate) fn is_last<B>(request: &Request<B>) -> bool {
    let mut options = listed(request.headers(), &PROXY_CONNECTION).map(<[u8]>::trim_ascii);
    request.version() < Version::HTTP_2
        && options.any(|option| option.eq_ignore_ascii_case(b"close"))
}

/// What `connection` lists, whatever else is in the list.
pub(crate) fn options(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    listed(headers, &CONNECTION).map(<[u8]>::trim_ascii)
}

fn listed<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'h [u8]> + use<'h> {
    let values = headers.get_all(name).iter();
    values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
}
