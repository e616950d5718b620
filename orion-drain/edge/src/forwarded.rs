//! Who the client is, as the upstream gets to know it.

use std::net::{IpAddr, SocketAddr};

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use orion_drain::config::HttpConnectionManager;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What a client may not say: Envoys say it to each other, and act on it.
const INTERNAL: [&str; 15] = [
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-force-trace",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-internal",
    "x-envoy-ip-tags",
    "x-envoy-max-retries",
    "x-envoy-original-url",
    "x-envoy-retriable-header-names",
    "x-envoy-retriable-status-codes",
    "x-envoy-retry-grpc-on",
    "x-envoy-retry-on",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-upstream-rq-timeout-ms",
];

/// What it may not say either where no other proxy stands in front.
const EDGE: [&str; 6] = [
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-external-address",
    "x-envoy-original-host",
    "x-envoy-original-path",
];

/// What edge sees of a client by itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) peer: Option<SocketAddr>,
    /// It connects over TLS.
    pub(crate) secure: bool,
}

/// Says in the headers of a request where it comes from, before any route looks at them. With
/// `use_remote_address` nothing that the client says of itself counts but `x-forwarded-for`, as in
/// Envoy, and `x-forwarded-proto` only if proxies in front are trusted.
pub(crate) fn tell(headers: &mut HeaderMap, manager: &HttpConnectionManager, seen: Seen) {
    let is_for_envoys = |name: &&HeaderName| {
        let name = name.as_str();
        name.starts_with("x-envoy-")
            && (INTERNAL.contains(&name) || manager.use_remote_address && EDGE.contains(&name))
    };
    let names: Vec<_> = headers.keys().filter(is_for_envoys).cloned().collect();
    for name in names {
        headers.remove(name);
    }
    let scheme = HeaderValue::from_static(match seen.secure {
        true => "https",
        false => "http",
    });
    if !manager.use_remote_address {
        headers.entry(X_FORWARDED_PROTO).or_insert(scheme);
        return;
    }
    match manager.xff_num_trusted_hops {
        0 => _ = headers.insert(X_FORWARDED_PROTO, scheme),
        _ => _ = headers.entry(X_FORWARDED_PROTO).or_insert(scheme),
    }
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
