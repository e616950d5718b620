//! Which response says `connection: close`, and what becomes of the connection after it: a pure
//! rule over `http` types.
//!
//! Envoy asks while it encodes the response head and sets `Connection: close`, replacing what stood
//! there, except on a response that switches protocols ([`ConnectionManagerImpl`][hcm]). RFC 9112
//! section 9.6 makes the same header a promise: the server closes after this response and processes
//! no further request.
//!
//! [hcm]: https://github.com/envoyproxy/envoy/blob/main/source/common/http/conn_manager_impl.cc

use drain_signal::DrainDecision;
use http::header::HeaderMap;
use http::{StatusCode, Version};

use crate::connection_field::{has_token, say_close};
use crate::request::RequestFacts;

/// Whether the connection is to be closed after the response that is about to be written.
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
        if decision.leave_if_due() {
            Self::Yes
        } else {
            Self::No
        }
    }
}

/// What becomes of the connection once this response is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AfterResponse {
    /// A 1xx response: the final one follows, and is asked about on its own.
    Interim,
    /// The connection goes on: a next request may come.
    KeepsOpen,
    /// The connection is done: no further request is processed (RFC 9112 section 9.6), the close is
    /// staged.
    Closes,
    /// The connection is no longer HTTP/1: 101 to a request whose body is read, or 2xx to CONNECT.
    Switches,
}

/// What becomes of the connection after this response; the headers are as they will be written.
///
/// A request whose body was not [read to its end](RequestFacts::with_body_read) ends the connection
/// (RFC 9112 section 9.3).
#[must_use]
pub fn after_response(
    leaving: Leaving,
    request: &RequestFacts,
    status: StatusCode,
    headers: &HeaderMap,
) -> AfterResponse {
    if request.version() >= Version::HTTP_2 {
        // Leaving an HTTP/2 connection is a GOAWAY's business; the header is forbidden (RFC 9113
        // section 8.2.2).
        return AfterResponse::KeepsOpen;
    }
    if request.switches(status) {
        // The bytes of an unread body would be taken for the new protocol's. Those behind a CONNECT
        // are the tunnel's.
        return match request.leaves_body_unread() && status == StatusCode::SWITCHING_PROTOCOLS {
            true => AfterResponse::Closes,
            false => AfterResponse::Switches,
        };
    }
    if status.is_informational() {
        return AfterResponse::Interim;
    }
    if leaving == Leaving::Yes || request.leaves_body_unread() {
        return AfterResponse::Closes;
    }
    if !request.persists() || has_token(headers, b"close") {
        return AfterResponse::Closes;
    }
    if request.version() == Version::HTTP_10 && !has_token(headers, b"keep-alive") {
        // An HTTP/1.0 client believes in a persistent connection only if the answer says so too.
        return AfterResponse::Closes;
    }
    AfterResponse::KeepsOpen
}

/// Applies the rule to a response head and says what becomes of the connection.
///
/// If the connection is leaving, or the request's body is unread, and the response is a final one
/// of HTTP/1.x that does not switch protocols, its `Connection` field ends up as one value: the
/// options that stood there, without `keep-alive`, then `close`; a `Keep-Alive` field is removed.
/// In every other case the headers are not touched.
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
    let ours = leaving == Leaving::Yes || request.leaves_body_unread();
    if ours && after == AfterResponse::Closes && !status.is_informational() {
        say_close(headers);
    }
    after
}
