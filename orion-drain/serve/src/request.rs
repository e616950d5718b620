//! One request: what its connection, its registry entry, its statistics and its drain do with it,
//! in one layer.
//!
//! ```text
//!  hyper ── Request<Incoming> ─► Requests ── Request<ReceivedBody> ─► the program's service
//!             taken by the exchanges, counted,                             │
//!             extensions, request_timeout                                  │
//!        ◄─ Response<ResponseBody> ── Responding ◄── Response<B> ──────────┘
//!             HTTP/1: what has arrived of an unread body is read; close; 101
//!             HTTP/2: the GOAWAY goes first; CONNECT; a reset at the deadline
//! ```

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use conn_tracker::ConnProtocol;
use http::header::{EXPECT, UPGRADE};
use http::{Extensions, Method, Request, Response, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service;
use proto_drain_h2::GoawayHandle;
use proto_drain_http1::Exchanges;

use super::ending::Ending;
use super::received::ReceivedBody;
use super::responding::{Rare, Responding, ResponseBody};
use super::stream::StreamTunnel;
use super::{Connection, HttpCounts};

/// The service of one connection, as hyper asks it.
#[derive(Debug, Clone)]
pub(super) struct Requests<S> {
    inner: S,
    shared: Arc<Shared>,
}

/// What the requests of one connection share, so that each costs one count on a line of its own
/// connection.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) connection: Connection,
    pub(super) ending: Arc<Ending>,
    pub(super) exchanges: Exchanges,
    pub(super) goaway: GoawayHandle,
}

/// What the requests of all connections of a server share.
#[derive(Debug, Clone)]
pub(super) struct RequestSettings {
    pub(super) shown: ConnectionShown,
    pub(super) extensions: Option<RequestExtensions>,
    /// In which the whole request must arrive.
    pub(super) timeout: Option<Duration>,
    /// The response to the request of this number informs the client that it leaves.
    pub(super) last: u64,
    pub(super) stats: Arc<dyn HttpCounts>,
}

impl RequestSettings {
    pub(super) fn new(timeout: Option<Duration>, stats: Arc<dyn HttpCounts>) -> Self {
        Self {
            shown: ConnectionShown::default(),
            extensions: None,
            timeout,
            last: u64::MAX,
            stats,
        }
    }
}

/// What a program puts into the extensions of every request of a connection.
#[derive(Clone)]
pub(super) struct RequestExtensions(Arc<Insert>);

type Insert = dyn Fn(&Connection, &mut Extensions) + Send + Sync;

impl RequestExtensions {
    pub(super) fn new(
        insert: impl Fn(&Connection, &mut Extensions) + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(insert))
    }

    /// These, and then `more`.
    pub(super) fn and(first: Option<Self>, more: Self) -> Self {
        match first {
            None => more,
            Some(first) => Self::new(move |connection, extensions| {
                (first.0)(connection, extensions);
                (more.0)(connection, extensions);
            }),
        }
    }
}

impl fmt::Debug for RequestExtensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestExtensions")
    }
}

/// Which requests have their [`Connection`] in their extensions. It costs an allocation for each.
#[expect(
    clippy::exhaustive_enums,
    reason = "all, or those that cannot do without"
)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ConnectionShown {
    /// All of them.
    #[default]
    Always,
    /// Those that ask for an upgrade or a tunnel, whose task must keep the connection open.
    Upgrades,
}

impl ConnectionShown {
    fn is_to<B>(self, request: &Request<B>) -> bool {
        self == Self::Always
            || request.method() == Method::CONNECT
            || request.headers().contains_key(UPGRADE)
    }
}

impl<S> Requests<S> {
    pub(super) fn new(inner: S, shared: Shared) -> Self {
        shared.exchanges.opened(&shared.connection);
        let shared = Arc::new(shared);
        Self { inner, shared }
    }
}

impl Shared {
    #[inline]
    fn settings(&self) -> &RequestSettings {
        self.ending.settings()
    }

    /// What its handler finds in the extensions of a request.
    fn extend<B>(&self, request: &mut Request<B>, stream: Option<&Arc<StreamTunnel>>) {
        let settings = self.settings();
        if settings.shown.is_to(request) {
            let shown = self.connection.on_stream(stream.cloned());
            request.extensions_mut().insert(shown);
        }
        if let Some(extensions) = &settings.extensions {
            (extensions.0)(&self.connection, request.extensions_mut());
        }
    }
}

impl<S, B> Service<Request<Incoming>> for Requests<S>
where
    S: Service<Request<ReceivedBody>, Response = Response<B>>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<ResponseBody<B>>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Responding<S::Future, B>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let shared = &self.shared;
        let has_body = !request.body().is_end_stream();
        let taken = shared.exchanges.take(&request, has_body);
        let is_http2 = !taken.is_http1();
        let guard = shared.connection.guard();
        if guard.protocol() == ConnProtocol::Unknown {
            guard.set_protocol(match is_http2 {
                true => ConnProtocol::Http2,
                false => ConnProtocol::Http1,
            });
        }
        let stream = StreamTunnel::asked_for(&request);
        shared.extend(&mut request, stream.as_ref());
        let open = OpenRequest::new(Arc::clone(shared), is_http2);
        let reset = is_http2.then(|| shared.goaway.reset_stream());
        let timeout = shared.settings().timeout;
        if !has_body || is_http2 && timeout.is_none() {
            let rare = Rare::new(None, stream);
            let request = request.map(|body| ReceivedBody::new(body, is_http2));
            // The service's future last: it is made where it stays, and not moved there.
            return Responding::new(self.inner.call(request), taken, open, reset, None, rare);
        }
        let unasked =
            request.version() == Version::HTTP_11 && request.headers().contains_key(EXPECT);
        let exchanges = (!is_http2).then(|| shared.exchanges.clone());
        let (head, body) = request.into_parts();
        let (body, arrival) = ReceivedBody::watched(body, exchanges, unasked);
        let future = self.inner.call(Request::from_parts(head, body));
        let rare = Rare::new(timeout, stream);
        Responding::new(future, taken, open, reset, Some(arrival), rare)
    }
}

/// A request that is being answered: counted from its head to the end of its response's body.
#[derive(Debug)]
pub(super) struct OpenRequest(Arc<Shared>);

impl OpenRequest {
    #[inline]
    fn new(shared: Arc<Shared>, is_http2: bool) -> Self {
        let settings = shared.settings();
        if shared.connection.request_started() == settings.last {
            settings.stats.max_requests_reached();
            if is_http2 {
                shared.connection.retire();
            }
        }
        settings.stats.request_started();
        Self(shared)
    }

    /// The head of an HTTP/1 response is next: that to the last request informs the client, unless
    /// it makes a tunnel of the connection, which has no age.
    #[inline]
    pub(super) fn retire_unless(&self, switches: bool) {
        let connection = &self.0.connection;
        if connection.requests() == self.0.settings().last && !switches {
            connection.retire();
        }
    }

    /// What the requests of its connection share.
    #[inline]
    pub(super) fn shared(&self) -> &Shared {
        &self.0
    }
}

impl Drop for OpenRequest {
    #[inline]
    fn drop(&mut self) {
        self.0.ending.stats().request_ended();
        self.0.connection.guard().request_ended();
    }
}
