//! The service wrapper: asks the decision once per response, before its head is handed on, and applies the rule.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use drain_signal::DrainDecision;
use http::{Request, Response, Version};
use pin_project::pin_project;

use crate::exchange::{Exchange, Exchanges};
use crate::response::{AfterResponse, Leaving, RequestFacts, apply};

/// A service whose responses say `connection: close` when the connection is to leave.
///
/// A hyper service with feature `hyper`, a tower service with feature `tower`; one value per connection. Response
/// bodies are untouched; so are the heads of HTTP/2 responses, for which the decision is not asked either (see
/// proto-drain-h2's `NoticeFirst`). After a response that says `close`, hyper closes the
/// connection and processes nothing that was pipelined behind it (RFC 9112 section 9.6).
pub struct DrainService<S, D> {
    inner: S,
    connection: Arc<Connection<D>>,
}

struct Connection<D> {
    decision: D,
    exchanges: Exchanges,
}

impl<S, D> DrainService<S, D> {
    /// Wraps `inner`. The decision is the connection's own (a [`DrainHandle`](drain_signal::DrainHandle), a drain
    /// manager's decision); `exchanges` are those of its [`LingerIo`](crate::LingerIo).
    pub fn new(inner: S, decision: D, exchanges: Exchanges) -> Self {
        Self {
            inner,
            connection: Arc::new(Connection { decision, exchanges }),
        }
    }

    /// The wrapped service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    fn open<B>(&self, request: &Request<B>) -> Answer<D> {
        let facts = RequestFacts::of(request);
        // Streams of HTTP/2 are not this crate's exchanges.
        let exchange = (facts.version() < Version::HTTP_2).then(|| self.connection.exchanges.begin(&facts));
        Answer {
            facts,
            exchange,
            connection: Arc::clone(&self.connection),
        }
    }
}

/// What is kept of a request until its response comes.
struct Answer<D> {
    facts: RequestFacts,
    exchange: Option<Exchange>,
    connection: Arc<Connection<D>>,
}

impl<D: DrainDecision> Answer<D> {
    fn finish<B>(&mut self, response: &mut Response<B>) {
        // Streams of HTTP/2 are told by a GOAWAY, and whoever sends it asks: a second question would be a second roll of
        // the die.
        let leaving = match self.exchange {
            Some(_) => Leaving::ask(&self.connection.decision),
            None => Leaving::No,
        };
        let after = apply(leaving, &self.facts, response.status(), response.headers_mut());
        if after == AfterResponse::Switches {
            self.connection.exchanges.switch_to_tunnel();
        }
        if leaving == Leaving::Yes && self.facts.version() == Version::HTTP_10 {
            // To an HTTP/1.0 client that asked for keep-alive hyper would add `keep-alive` beside our `close`, unless
            // the response is one of HTTP/1.0, which hyper makes of it anyway.
            *response.version_mut() = Version::HTTP_10;
        }
        self.exchange = None;
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
    D: DrainDecision,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut answered = ready!(this.future.poll(cx));
        if let Ok(response) = &mut answered {
            this.answer.finish(response);
        }
        Poll::Ready(answered)
    }
}

#[cfg(feature = "hyper")]
impl<S, D, B, R> hyper::service::Service<Request<B>> for DrainService<S, D>
where
    S: hyper::service::Service<Request<B>, Response = Response<R>>,
    D: DrainDecision,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Responding<S::Future, D>;

    fn call(&self, request: Request<B>) -> Self::Future {
        let answer = self.open(&request);
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
    D: DrainDecision,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Responding<S::Future, D>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let answer = self.open(&request);
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
            .field("request", &self.answer.facts)
            .finish_non_exhaustive()
    }
}
