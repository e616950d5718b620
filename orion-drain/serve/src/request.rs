//! One request: its connection in the extensions, and counted from its head to the end of its response's body.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use conn_tracker::ConnProtocol;
use http::header::UPGRADE;
use http::{Method, Request, Response, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::service::Service;
use pin_project::pin_project;

use super::Connection;
use super::HttpCounts;

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
    stats: Arc<dyn HttpCounts>,
    shown: ConnectionShown,
}

/// Which requests carry their [`Connection`] in their extensions. It costs an allocation for each.
#[expect(
    clippy::exhaustive_enums,
    reason = "all, or those that cannot do without"
)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ConnectionShown {
    /// All of them.
    #[default]
    Always,
    /// Those that ask for an upgrade or a tunnel, whose task must hold the connection open.
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
        stats: Arc<dyn HttpCounts>,
        shown: ConnectionShown,
    ) -> Self {
        Self {
            inner,
            requests: Arc::new(Requests {
                connection,
                stats,
                shown,
            }),
        }
    }
}

impl<S, R, B> Service<Request<R>> for Counted<S>
where
    S: Service<Request<R>, Response = Response<B>>,
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
            request.extensions_mut().insert(connection.clone());
        }
        let open = OpenRequest::new(Arc::clone(&self.requests));
        Counting {
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
        requests.connection.request_started();
        requests.stats.request_started();
        Self(requests)
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.stats.request_ended();
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
