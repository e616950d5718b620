//! The service wrapper: asks the decision once per response, before its head is handed on, and
//! applies the rule.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use drain_signal::DrainDecision;
use http::{Request, Response};
use http_body::Body;
use pin_project::pin_project;

use crate::exchange::Exchanges;
#[cfg(feature = "tower")]
use crate::request::has_body;
use crate::taken::TakenRequest;

/// A service whose responses say `connection: close` when the connection is to leave.
///
/// A hyper service with feature `hyper`, a tower service with feature `tower`; one value per
/// connection. Response bodies are untouched; so are the heads of HTTP/2 responses, for which the
/// decision is not asked either (see proto-drain-h2's `NoticeFirst`). After a response that says
/// `close`, hyper closes the connection and processes nothing that was pipelined behind it (RFC
/// 9112 section 9.6).
pub struct DrainService<S, D> {
    inner: S,
    connection: Arc<Connection<D>>,
}

struct Connection<D> {
    decision: D,
    exchanges: Exchanges,
}

impl<S, D> DrainService<S, D> {
    /// Wraps `inner`. The decision is the connection's own (a
    /// [`DrainHandle`](drain_signal::DrainHandle), a drain manager's decision); `exchanges` are
    /// those of its [`LingerIo`](crate::LingerIo).
    ///
    /// Make it when the connection opens: how rarely the connection speaks in a drain is measured
    /// from then on.
    pub fn new(inner: S, decision: D, exchanges: Exchanges) -> Self
    where
        D: DrainDecision,
    {
        exchanges.opened(&decision);
        Self {
            inner,
            connection: Arc::new(Connection {
                decision,
                exchanges,
            }),
        }
    }

    /// The wrapped service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    fn open<B>(&self, request: &Request<B>, has_body: bool) -> Answer<D> {
        Answer {
            taken: self.connection.exchanges.take(request, has_body),
            open: true,
            connection: Arc::clone(&self.connection),
        }
    }
}

/// What is kept of a request until its response comes.
struct Answer<D> {
    taken: TakenRequest,
    open: bool,
    connection: Arc<Connection<D>>,
}

impl<D: DrainDecision> Answer<D> {
    #[inline]
    fn finish<B: Body>(&mut self, response: &mut Response<B>) {
        self.open = false;
        // For streams of HTTP/2 it is a GOAWAY, and the decision is asked when that is sent. Under
        // Envoy's schedule each question is a sample.
        if !self.taken.is_http1() {
            return;
        }
        let Connection {
            decision,
            exchanges,
        } = &*self.connection;
        let leaving = exchanges.leaving_with(self.taken, response.status(), decision);
        exchanges.respond(self.taken, leaving, response);
    }
}

impl<D> Drop for Answer<D> {
    fn drop(&mut self) {
        if self.open {
            self.connection.exchanges.give_up(self.taken);
        }
    }
}

/// The future of [`DrainService`].
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct Responding<F, D> {
    #[pin]
    future: F,
    answer: Answer<D>,
}

impl<F, D, B, E> Future for Responding<F, D>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
    D: DrainDecision,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut polled = this.future.poll(cx);
        if let Poll::Ready(Ok(response)) = &mut polled {
            this.answer.finish(response);
        }
        polled
    }
}

#[cfg(feature = "hyper")]
impl<S, D, B, R> hyper::service::Service<Request<B>> for DrainService<S, D>
where
    S: hyper::service::Service<Request<B>, Response = Response<R>>,
    B: Body,
    R: Body,
    D: DrainDecision,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Responding<S::Future, D>;

    #[inline]
    fn call(&self, request: Request<B>) -> Self::Future {
        let answer = self.open(&request, !request.body().is_end_stream());
        Responding {
            future: self.inner.call(request),
            answer,
        }
    }
}

#[cfg(feature = "tower")]
impl<S, D, B, R> tower_service::Service<Request<B>> for DrainService<S, D>
where
    S: tower_service::Service<Request<B>, Response = Response<R>>,
    R: Body,
    D: DrainDecision,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Responding<S::Future, D>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let answer = self.open(&request, has_body(request.headers()));
        Responding {
            future: self.inner.call(request),
            answer,
        }
    }
}

impl<S: Clone, D> Clone for DrainService<S, D> {
    /// Another handle to the service of the same connection.
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            connection: Arc::clone(&self.connection),
        }
    }
}

impl<S: fmt::Debug, D> fmt::Debug for DrainService<S, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainService")
            .field("inner", &self.inner)
            .field("exchanges", &self.connection.exchanges)
            .finish_non_exhaustive()
    }
}

impl<F, D> fmt::Debug for Responding<F, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responding")
            .field("request", &self.answer.taken)
            .finish_non_exhaustive()
    }
}
