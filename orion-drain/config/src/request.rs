//! The head of a request, as far as routes look at it.

use std::borrow::Cow;
use std::net::SocketAddr;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Version};

/// What routes go by, and what headers can be made of.
#[non_exhaustive]
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'r> {
    /// Whom it is for: `:authority`, or the header `host`; a port may follow.
    pub host: &'r str,
    /// Path and query.
    pub path: &'r str,
    /// The method.
    pub method: &'r Method,
    /// The headers.
    pub headers: &'r HeaderMap,
    /// The version of HTTP.
    pub version: Version,
    /// Whether its client came over TLS, as far as that is known.
    pub secure: bool,
    /// The scheme of its URL, if it may be another one than goes with `secure`.
    pub scheme: Option<&'r str>,
    /// Where it connects from.
    pub peer: Option<SocketAddr>,
    /// The address of its client, if it is not `peer`: see
    /// [`HttpConnectionManager::client`](crate::HttpConnectionManager::client).
    pub client: Option<SocketAddr>,
    /// Any number, by chance: shares of requests and weights go by it.
    pub sample: u64,
}

impl<'r> RequestHead<'r> {
    /// GET over HTTP/1.1 in clear.
    pub fn new(host: &'r str, path: &'r str, headers: &'r HeaderMap) -> Self {
        Self {
            host,
            path,
            method: &Method::GET,
            headers,
            version: Version::HTTP_11,
            secure: false,
            scheme: None,
            peer: None,
            client: None,
            sample: 0,
        }
    }

    /// The path without the query.
    pub fn path_only(&self) -> &'r str {
        let path = self.path;
        path.split_once('?').map_or(path, |(path, _)| path)
    }

    /// The scheme of its URL: `http` or `https`, unless its client says another one.
    pub const fn scheme(&self) -> &'r str {
        match (self.scheme, self.secure) {
            (Some(scheme), _) => scheme,
            (None, true) => "https",
            (None, false) => "http",
        }
    }

    /// The value of a header; several of one name have commas between them.
    pub fn header(&self, name: &str) -> Option<Cow<'r, str>> {
        match name {
            ":path" => return Some(self.path.into()),
            ":method" => return Some(self.method.as_str().into()),
            ":scheme" => return Some(self.scheme().into()),
            ":authority" => return Some(self.host.into()),
            _ if name.eq_ignore_ascii_case("host") => return Some(self.host.into()),
            _ => {}
        }
        let mut values = self.headers.get_all(name).iter();
        let first = String::from_utf8_lossy(values.next()?.as_bytes());
        Some(values.fold(first, |mut all, value| {
            let joined = all.to_mut();
            joined.push(',');
            joined.push_str(&String::from_utf8_lossy(value.as_bytes()));
            all
        }))
    }

    /// The first parameter of this name in the query, as it stands there.
    pub fn query_parameter(&self, name: &str) -> Option<&'r str> {
        let (_, query) = self.path.split_once('?')?;
        let query = query.split_once('#').map_or(query, |(query, _)| query);
        query.split('&').find_map(|parameter| {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            (key == name).then_some(value)
        })
    }
}

/// Whether a message with these headers is of gRPC, as Envoy tells: its `content-type` is
/// `application/grpc`, or that and `+` with the encoding.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE);
    content_type
        .and_then(|it| it.as_bytes().strip_prefix(b"application/grpc"))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn grpc_is_told_by_its_content_type_and_grpc_web_is_none() {
        let of = |value| HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))]);
        assert!(is_grpc(&of("application/grpc")));
        assert!(is_grpc(&of("application/grpc+proto")));
        assert!(!is_grpc(&of("application/grpc-web")));
        assert!(!is_grpc(&of("text/plain")));
        assert!(!is_grpc(&HeaderMap::new()));
    }
}
