//! Who the client is, as the upstream gets to know it.

use std::net::{IpAddr, SocketAddr};

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use orion_drain::config::HttpConnectionManager;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_ENVOY_INTERNAL: HeaderName = HeaderName::from_static("x-envoy-internal");

/// What edge sees of a client by itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) peer: Option<SocketAddr>,
    /// It connects over TLS.
    pub(crate) secure: bool,
}

/// Says in the headers of a request where it comes from. With `use_remote_address` nothing that the
/// client says of itself counts but `x-forwarded-for`, as in Envoy.
pub(crate) fn tell(headers: &mut HeaderMap, manager: &HttpConnectionManager, seen: Seen) {
    let scheme = HeaderValue::from_static(match seen.secure {
        true => "https",
        false => "http",
    });
    if !manager.use_remote_address {
        headers.remove(X_ENVOY_INTERNAL);
        headers.entry(X_FORWARDED_PROTO).or_insert(scheme);
        return;
    }
    let names = headers.keys();
    let names = names.filter(|name| name.as_str().starts_with("x-envoy-"));
    for name in names.cloned().collect::<Vec<_>>() {
        headers.remove(name);
    }
    headers.insert(X_FORWARDED_PROTO, scheme);
    if let Some(peer) = seen.peer.filter(|_| manager.appends_x_forwarded_for()) {
        append(headers, peer.ip());
    }
}

/// Whether the client has come over TLS, as far as it is known.
pub(crate) fn is_https(headers: &HeaderMap) -> bool {
    let scheme = headers.get(X_FORWARDED_PROTO);
    scheme.is_some_and(|scheme| scheme.as_bytes().eq_ignore_ascii_case(b"https"))
}

/// Adds the address that the client connects from.
fn append(headers: &mut HeaderMap, peer: IpAddr) {
    let mut hops: Vec<u8> = Vec::new();
    for value in headers.get_all(X_FORWARDED_FOR) {
        hops.extend_from_slice(value.as_bytes());
        hops.extend_from_slice(b",");
    }
    hops.extend_from_slice(peer.to_canonical().to_string().as_bytes());
    // Values that came as headers, a comma and an address are a value.
    if let Ok(hops) = HeaderValue::from_bytes(&hops) {
        headers.insert(X_FORWARDED_FOR, hops);
    }
}
