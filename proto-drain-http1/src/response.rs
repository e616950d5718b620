//! Which response says `connection: close`, and what becomes of the connection after it: a pure rule over `http` types.
//!
//! Envoy asks while it encodes the response head and sets `Connection: close`, replacing what stood there, except on a
//! response that switches protocols ([`ConnectionManagerImpl`][hcm]). RFC 9112 section 9.6 makes the same header a
//! promise: the server closes after this response and processes no further request.
//!
//! [hcm]: https://github.com/envoyproxy/envoy/blob/main/source/common/http/conn_manager_impl.cc

use drain_signal::DrainDecision;
#[cfg(any(feature = "hyper", feature = "tower"))]
use http::Response;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{Method, Request, StatusCode, Version};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// Is this connection to be let go with the response that is about to be written?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a yes or no with a name")]
pub enum Leaving {
    /// The connection stays: the rule touches nothing.
    #[default]
    No,
    /// The connection leaves: the response says so where HTTP/1 lets it.
    Yes,
}

impl Leaving {
    /// Asks `decision` once. Ask it exactly once per response, just before its head is written.
    #[must_use]
    pub fn ask(decision: &impl DrainDecision) -> Self {
        if decision.drain_close() {
            Self::Yes
        } else {
            Self::No
        }
    }
}

/// What the rule must know of the request that is being answered.
///
/// Taken before the request is handed on, because a response does not carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestFacts {
    version: Version,
    head: bool,
    connect: bool,
    persists: bool,
    body: bool,
}

impl RequestFacts {
    /// The facts of `request`.
    #[must_use]
    pub fn of<B>(request: &Request<B>) -> Self {
        Self::new(request.method(), request.version(), request.headers())
    }

    /// The facts of a request with this method, version and headers.
    #[must_use]
    pub fn new(method: &Method, version: Version, headers: &HeaderMap) -> Self {
        Self {
            version,
            head: method == Method::HEAD,
            connect: method == Method::CONNECT,
            // RFC 9112 section 9.3, from the request's side: `close` ends it, HTTP/1.1 persists, HTTP/1.0 must ask.
            persists: !has_token(headers, b"close")
                && (version >= Version::HTTP_11
                    || (version == Version::HTTP_10 && has_token(headers, b"keep-alive"))),
            body: has_body(headers),
        }
    }

    /// The version the request was made with.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether a request body follows the head (it may be empty, if chunked).
    #[must_use]
    pub fn has_body(&self) -> bool {
        self.body
    }

    fn switches(&self, status: StatusCode) -> bool {
        switches(self.connect, status)
    }

    /// Whether the end of the response body is the end of the connection (RFC 9112 section 6.3, rule 8).
    ///
    /// Only for heads that are complete: hyper adds `content-length` or `transfer-encoding` after the service has
    /// returned. A hand-written server ends the connection after such a response, whatever [`apply`] says.
    #[must_use]
    pub fn framed_by_close(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        let bodiless = self.head
            || self.switches(status)
            || status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        self.version < Version::HTTP_2
            && !bodiless
            && !headers.contains_key(CONTENT_LENGTH)
            && !headers.contains_key(TRANSFER_ENCODING)
    }
}

/// What the rule must know of a request whose server keeps the connection's persistence itself, as hyper does: it costs
/// no look into the headers.
#[cfg(any(feature = "hyper", feature = "tower"))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnsweredHead {
    version: Version,
    connect: bool,
}

#[cfg(any(feature = "hyper", feature = "tower"))]
impl AnsweredHead {
    #[inline]
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        Self {
            version: request.version(),
            connect: request.method() == Method::CONNECT,
        }
    }

    #[inline]
    pub(crate) fn is_http1(self) -> bool {
        self.version < Version::HTTP_2
    }

    /// Whether this status ends HTTP/1 on the connection.
    #[inline]
    pub(crate) fn switches(self, status: StatusCode) -> bool {
        switches(self.connect, status)
    }

    /// What [`apply`] does to the response of a leaving connection that does not switch protocols.
    pub(crate) fn say_close<B>(self, response: &mut Response<B>) {
        if response.status().is_informational() {
            return;
        }
        say_close(response.headers_mut());
        if self.version == Version::HTTP_10 {
            // To an HTTP/1.0 client that asked for keep-alive hyper would add `keep-alive` beside our `close`, unless
            // the response is one of HTTP/1.0, which hyper makes of it anyway.
            *response.version_mut() = Version::HTTP_10;
        }
    }
}

/// Whether a response with this status ends HTTP/1 on its connection: 101, or 2xx to CONNECT.
#[inline]
fn switches(connect: bool, status: StatusCode) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS || (connect && status.is_success())
}

/// RFC 9112 section 6: a request has a body if one of the two says so.
pub(crate) fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING)
        || headers
            .get(CONTENT_LENGTH)
            .is_some_and(|length| length.as_bytes() != b"0")
}

/// What becomes of the connection once this response is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AfterResponse {
    /// A 1xx response: the final one follows, and is asked about on its own.
    Interim,
    /// The connection goes on: a next request may come.
    KeepsOpen,
    /// The connection is done: no further request is processed (RFC 9112 section 9.6), the close is staged.
    Closes,
    /// The connection is no longer HTTP/1: 101, or 2xx to CONNECT.
    Switches,
}

/// What becomes of the connection after this response; the headers are as they will be written.
#[must_use]
pub fn after_response(
    leaving: Leaving,
    request: &RequestFacts,
    status: StatusCode,
    headers: &HeaderMap,
) -> AfterResponse {
    if request.version >= Version::HTTP_2 {
        // Leaving an HTTP/2 connection is a GOAWAY's business; the header is forbidden (RFC 9113 section 8.2.2).
        return AfterResponse::KeepsOpen;
    }
    if request.switches(status) {
        return AfterResponse::Switches;
    }
    if status.is_informational() {
        return AfterResponse::Interim;
    }
    if leaving == Leaving::Yes || !request.persists || has_token(headers, b"close") {
        return AfterResponse::Closes;
    }
    if request.version == Version::HTTP_10 && !has_token(headers, b"keep-alive") {
        // An HTTP/1.0 client believes in a persistent connection only if the answer says so too.
        return AfterResponse::Closes;
    }
    AfterResponse::KeepsOpen
}

/// Applies the rule to a response head and says what becomes of the connection.
///
/// If the connection is leaving and the response is a final one of HTTP/1.x that does not switch protocols, its
/// `Connection` field ends up as one value: the options that stood there, without `keep-alive`, then `close`; a
/// `Keep-Alive` field is removed. In every other case the headers are not touched.
///
/// # Examples
///
/// ```
/// use http::{HeaderMap, Request, StatusCode};
/// use proto_drain_http1::{AfterResponse, Leaving, RequestFacts, apply};
///
/// let request = RequestFacts::of(&Request::get("/").body(()).unwrap());
/// let mut headers = HeaderMap::new();
/// headers.insert("connection", "keep-alive, x-hop".parse().unwrap());
///
/// let after = apply(Leaving::Yes, &request, StatusCode::OK, &mut headers);
/// assert_eq!(after, AfterResponse::Closes);
/// assert_eq!(headers["connection"], "x-hop, close");
/// ```
pub fn apply(
    leaving: Leaving,
    request: &RequestFacts,
    status: StatusCode,
    headers: &mut HeaderMap,
) -> AfterResponse {
    let after = after_response(leaving, request, status, headers);
    if leaving == Leaving::Yes && after == AfterResponse::Closes {
        say_close(headers);
    }
    after
}

/// One `Connection` value: what stood there but `keep-alive`, then `close`.
fn say_close(headers: &mut HeaderMap) {
    headers.remove(KEEP_ALIVE);
    let mut options = Vec::new();
    for value in headers.get_all(CONNECTION) {
        for option in options_of(value) {
            if !option.eq_ignore_ascii_case(b"keep-alive") && !option.eq_ignore_ascii_case(b"close") {
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
    // Pieces of valid values joined by ", " are a valid value; were they not, `close` alone is what must be said.
    headers.insert(CONNECTION, HeaderValue::from_bytes(&options).unwrap_or(CLOSE));
}

fn has_token(headers: &HeaderMap, token: &[u8]) -> bool {
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
