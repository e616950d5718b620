//! What the rule must know of a request.

#[cfg(any(feature = "hyper", feature = "tower"))]
use http::Response;
use http::header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use http::{Method, Request, StatusCode, Version};
#[cfg(any(feature = "hyper", feature = "tower"))]
use http_body::Body;

use crate::connection_field::has_token;
#[cfg(any(feature = "hyper", feature = "tower"))]
use crate::connection_field::say_close;

/// What the rule must know of the request that is being answered.
///
/// Taken before the request is handed on, because a response does not carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestFacts {
    version: Version,
    head: bool,
    connect: bool,
    persists: bool,
    body: RequestBody,
}

/// What became of the request's body so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestBody {
    None,
    Unread,
    Read,
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
            // RFC 9112 section 9.3, from the request's side: `close` ends it, HTTP/1.1 persists,
            // HTTP/1.0 must ask.
            persists: !has_token(headers, b"close")
                && (version >= Version::HTTP_11
                    || (version == Version::HTTP_10 && has_token(headers, b"keep-alive"))),
            body: if has_body(headers) {
                RequestBody::Unread
            } else {
                RequestBody::None
            },
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
        self.body != RequestBody::None
    }

    /// The same request, whose body was read to its end.
    ///
    /// Say so before the response is asked about: what lies unread behind a head would be taken for the next request, so that a
    /// connection does not outlive an unread body (RFC 9112 section 9.3).
    #[must_use]
    pub fn with_body_read(mut self) -> Self {
        if self.has_body() {
            self.body = RequestBody::Read;
        }
        self
    }

    pub(crate) fn leaves_body_unread(&self) -> bool {
        self.body == RequestBody::Unread
    }

    pub(crate) fn persists(&self) -> bool {
        self.persists
    }

    pub(crate) fn switches(&self, status: StatusCode) -> bool {
        switches(self.connect, status)
    }

    /// Whether the end of the response body is the end of the connection (RFC 9112 section 6.3,
    /// rule 8).
    ///
    /// Only for heads that are complete: hyper adds `content-length` or `transfer-encoding` after
    /// the service has returned. A hand-written server ends the connection after such a response,
    /// whatever [`apply`](crate::apply) says.
    #[must_use]
    pub fn framed_by_close(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        self.version < Version::HTTP_2
            && !is_bodiless(self.head, self.connect, status)
            && !headers.contains_key(CONTENT_LENGTH)
            && !headers.contains_key(TRANSFER_ENCODING)
    }
}

/// The facts of a request that hyper serves. hyper itself keeps track of whether the connection
/// persists, so its headers are not looked at.
#[cfg(any(feature = "hyper", feature = "tower"))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnsweredHead {
    version: Version,
    head: bool,
    connect: bool,
}

#[cfg(any(feature = "hyper", feature = "tower"))]
impl AnsweredHead {
    #[inline]
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        Self {
            version: request.version(),
            head: request.method() == Method::HEAD,
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

    /// Whether hyper frames the body of this response by the close of the connection: an HTTP/1.0
    /// response of unknown length.
    #[inline]
    pub(crate) fn framed_by_close<B: Body>(self, response: &Response<B>) -> bool {
        (self.version == Version::HTTP_10 || response.version() == Version::HTTP_10)
            && !is_bodiless(self.head, self.connect, response.status())
            && !response.headers().contains_key(CONTENT_LENGTH)
            && response.body().size_hint().exact().is_none()
    }

    /// What [`apply`](crate::apply) does to the response of a leaving connection that does not
    /// switch protocols.
    pub(crate) fn say_close<B>(self, response: &mut Response<B>) {
        if response.status().is_informational() {
            return;
        }
        say_close(response.headers_mut());
        if self.version == Version::HTTP_10 {
            // To an HTTP/1.0 client that asked for keep-alive hyper would add `keep-alive` beside
            // our `close`, unless the response is one of HTTP/1.0, which hyper makes of it anyway.
            *response.version_mut() = Version::HTTP_10;
        }
    }
}

/// Whether a response with this status ends HTTP/1 on its connection: 101, or 2xx to CONNECT.
#[inline]
fn switches(connect: bool, status: StatusCode) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS || (connect && status.is_success())
}

/// Whether the client has said that it sends nothing behind this request.
#[cfg(any(feature = "hyper", feature = "tower"))]
#[inline]
pub(crate) fn says_close<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    match headers.get(http::header::CONNECTION) {
        None => false,
        // Nearly every field that is there says this alone, or `keep-alive`.
        Some(value) if value.as_bytes().eq_ignore_ascii_case(b"close") => true,
        Some(_) => has_token(headers, b"close"),
    }
}

/// Whether a response has no body, whatever its headers say (RFC 9112 section 6.3).
fn is_bodiless(head: bool, connect: bool, status: StatusCode) -> bool {
    head || switches(connect, status)
        || status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
}

/// RFC 9112 section 6: a request has a body if one of the two says so. Where lengths contradict
/// each other, the longest counts.
pub(crate) fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING)
        || headers
            .get_all(CONTENT_LENGTH)
            .iter()
            .any(|length| length.as_bytes() != b"0")
}
