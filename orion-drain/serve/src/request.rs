//! One request: its connection in the extensions, and counted from its head to the end of its response's body.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use conn_tracker::ConnProtocol;
use http::header::UPGRADE;
use http::{Extensions, Method, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::service::Service;
use pin_project::pin_project;

use super::Connection;
use super::ending::Ending;
use super::timeout::BodyGuard;
use super::tunnel::Tunnel;

/// The service of one connection, with every request counted.
#[derive(Debug, Clone)]
pub(super) struct Counted<S> {
    inner: S,
    requests: Arc<Requests>,
}

/// What the requests of one connection share, so that each costs one count on a line of its own connection.
#[derive(Debug)]
struct Requests {
    connection: Connection,
    ending: Arc<Ending>,
    shown: ConnectionShown,
    extensions: Option<RequestExtensions>,
    /// The response to the request of this number informs the client that it leaves.
    last: u64,
    /// Heads must arrive in time: what comes of a body must be told from them.
    times_heads: bool,
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

impl<S> Counted<S> {
    pub(super) fn new(
        inner: S,
        connection: Connection,
        ending: Arc<Ending>,
        shown: ConnectionShown,
        extensions: Option<RequestExtensions>,
        last: u64,
        times_heads: bool,
    ) -> Self {
        Self {
            inner,
            requests: Arc::new(Requests {
                connection,
                ending,
                shown,
                extensions,
                last,
                times_heads,
            }),
        }
    }
}

impl<S, R, B> Service<Request<R>> for Counted<S>
where
    S: Service<Request<R>, Response = Response<B>>,
    R: Body,
{
    type Response = Response<RequestBody<B>>;
    type Error = S::Error;
    type Future = Counting<S::Future>;

    fn call(&self, mut request: Request<R>) -> Self::Future {
        let connection = &self.requests.connection;
        let guard = connection.guard();
        if guard.protocol() == ConnProtocol::Unknown {
            guard.set_protocol(match request.version() {
                Version::HTTP_2 => ConnProtocol::Http2,
                _ => ConnProtocol::Http1,
            });
        }
        if self.requests.shown.is_to(&request) {
            let stream = request.extensions().get().cloned();
            let shown = connection.on_stream(stream);
            request.extensions_mut().insert(shown);
        }
        if let Some(extensions) = &self.requests.extensions {
            (extensions.0)(connection, request.extensions_mut());
        }
        let is_http1 = request.version() < Version::HTTP_2;
        if is_http1 && self.requests.times_heads && !request.body().is_end_stream() {
            if let Some(exchanges) = connection.exchanges() {
                let open = BodyGuard::new(exchanges.body());
                request.extensions_mut().insert(open);
            }
        }
        let open = OpenRequest::new(Arc::clone(&self.requests));
        Counting {
            is_http1,
            connects: request.method() == Method::CONNECT,
            future: self.inner.call(request),
            open: Some(open),
        }
    }
}

/// A request that is being answered.
#[derive(Debug)]
struct OpenRequest(Arc<Requests>);

impl OpenRequest {
    fn new(requests: Arc<Requests>) -> Self {
        if requests.connection.request_started() == requests.last {
            requests.ending.stats().max_requests_reached();
            requests.connection.retire();
        }
        requests.ending.stats().request_started();
        Self(requests)
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.ending.stats().request_ended();
        self.0.connection.guard().request_ended();
    }
}

/// The response of a counted service.
#[pin_project]
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub(super) struct Counting<F> {
    #[pin]
    future: F,
    is_http1: bool,
    connects: bool,
    open: Option<OpenRequest>,
}

impl<F, B, E> Future for Counting<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<RequestBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answered = ready!(this.future.poll(cx));
        let open = this.open.take();
        if let (true, Ok(response), Some(open)) = (*this.is_http1, &answered, &open) {
            if response.status() == StatusCode::SWITCHING_PROTOCOLS
                || *this.connects && response.status().is_success()
            {
                let Requests {
                    connection, ending, ..
                } = &*open.0;
                ending.begin_tunnel(|| Tunnel::new(connection.clone(), response));
            }
        }
        Poll::Ready(answered.map(|response| response.map(|body| RequestBody { body, open })))
    }
}

/// A response body that keeps its request counted until it is sent or dropped. Frames pass unchanged.
#[pin_project]
#[derive(Debug)]
pub struct RequestBody<B> {
    #[pin]
    body: B,
    open: Option<OpenRequest>,
}

impl<B: Body> Body for RequestBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        let frame = ready!(this.body.poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            *this.open = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
