//! Who the client is, as the upstream gets to know it.

use std::net::{IpAddr, SocketAddr};

use http::header::HeaderName;
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Request};
use orion_drain::config::HttpConnectionManager;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Whose certificate a client has shown. Nothing here says it, and upstreams believe what they
/// read.
const X_FORWARDED_CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// What a client may not say: Envoys say it to each other, and act on it.
const INTERNAL: [&str; 16] = [
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
    "x-envoy-upstream-stream-duration-ms",
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
    headers.remove(X_FORWARDED_CLIENT_CERT);
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

/// Whether the client has come over TLS, as far as it is known. What several headers say is one
/// value, and `https` in it is not enough.
pub(crate) fn is_https(headers: &HeaderMap) -> bool {
    forwarded_proto(headers).is_some_and(|scheme| scheme == b"https")
}

/// The scheme of a request's URL, as its client says it, or else by `x-forwarded-proto`. `secure`:
/// the client connects over TLS, which counts where neither says anything.
pub(crate) fn scheme_of<B>(request: &Request<B>, secure: bool) -> Scheme {
    if let Some(said) = request.uri().scheme() {
        // Over HTTP/2 it may come in capitals, and is the same (RFC 3986, section 3.1).
        return match said.as_str() {
            name if name.eq_ignore_ascii_case("http") => Scheme::HTTP,
            name if name.eq_ignore_ascii_case("https") => Scheme::HTTPS,
            _ => said.clone(),
        };
    }
    let forwarded = forwarded_proto(request.headers()).unwrap_or_default();
    let is_https = forwarded.eq_ignore_ascii_case(b"https");
    match is_https || (secure && !forwarded.eq_ignore_ascii_case(b"http")) {
        true => Scheme::HTTPS,
        false => Scheme::HTTP,
    }
}

/// What `x-forwarded-proto` says, if there is one: several are a list, which is no scheme.
fn forwarded_proto(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(X_FORWARDED_PROTO).iter();
    let only = values.next()?;
    values.next().is_none().then_some(only.as_bytes())
}

/// The values of all headers of a name, with commas between them.
pub(crate) fn joined(headers: &HeaderMap, name: &HeaderName) -> Vec<u8> {
    let values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    values.collect::<Vec<_>>().join(&b',')
}

/// Adds the address that the client connects from.
fn append(headers: &mut HeaderMap, peer: IpAddr) {
    let mut hops = joined(headers, &X_FORWARDED_FOR);
    if !hops.is_empty() {
        hops.push(b',');
    }
    hops.extend_from_slice(peer.to_canonical().to_string().as_bytes());
    // Values that came as headers, a comma and an address are a value.
    if let Ok(hops) = HeaderValue::from_bytes(&hops) {
        headers.insert(X_FORWARDED_FOR, hops);
    }
}
