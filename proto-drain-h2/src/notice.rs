//! Notice first: the GOAWAY precedes the HEADERS of the response that triggers it.

use crate::handle::{GoawayHandle, WireProtocol};
use crate::phase::H2Phase;
use drain_signal::{DrainDecision, DrainHandle};
use http::Request;
use hyper::service::Service;
use pin_project::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// The longest that a response waits for its GOAWAY; only a connection without a driver takes so
/// long.
const LONGEST: Duration = Duration::from_secs(1);

/// Asks the drain decision once per response, before its head is written; if it says "close", the
/// connection's GOAWAY goes first.
///
/// Envoy writes the GOAWAY before the HEADERS of the response whose decision says "close". Here the
/// decision starts the connection's goodbye ([`DrainHandle::start_now`]), and the response follows
/// when the GOAWAY is written. Meant for connections under [`drain_signal::drive`]; elsewhere the
/// response waits for one second and goes out. HTTP/1 responses pass untouched.
#[derive(Clone, Debug)]
pub struct NoticeFirst<S, D> {
    inner: S,
    /// Shared by the connection's requests, so that each costs one count on a line of its own
    /// connection.
    connection: Arc<Connection<D>>,
}

#[derive(Debug)]
struct Connection<D> {
    decision: D,
    drain: DrainHandle,
    goaway: GoawayHandle,
}

impl<S, D: DrainDecision> NoticeFirst<S, D> {
    /// Wraps the service of one connection. The decision may be the connection's own
    /// [`DrainHandle`], or one that also knows other reasons, as a failed health check.
    pub fn new(inner: S, decision: D, drain: DrainHandle, goaway: GoawayHandle) -> Self {
        Self {
            inner,
            connection: Arc::new(Connection {
                decision,
                drain,
                goaway,
            }),
        }
    }
}

impl<S, D, R> Service<Request<R>> for NoticeFirst<S, D>
where
    S: Service<Request<R>>,
    D: DrainDecision,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = NoticeFirstFuture<S::Future, D, S::Response>;

    fn call(&self, request: Request<R>) -> Self::Future {
        NoticeFirstFuture {
            inner: self.inner.call(request),
            connection: Arc::clone(&self.connection),
            held: None,
        }
    }
}

/// The response future of [`NoticeFirst`].
#[pin_project]
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct NoticeFirstFuture<F, D, T> {
    #[pin]
    inner: F,
    connection: Arc<Connection<D>>,
    /// The response that waits for its GOAWAY. Boxed: one response of a connection waits, and all
    /// have this future.
    held: Option<Box<Held<T>>>,
}

struct Held<T> {
    response: T,
    noticed: Notice,
}

/// The GOAWAY that a response waits for: ready when it is written, or has taken too long; made by
/// [`GoawayHandle::notice_first`].
#[must_use = "the response follows when it is ready"]
pub struct Notice(Pin<Box<dyn Future<Output = ()> + Send + Sync>>);

impl GoawayHandle {
    /// What [`NoticeFirst`] does with a response that is about to be written, for services of one
    /// layer: asks `decision` while no GOAWAY is written. If it says "close", the goodbye begins,
    /// and the response waits for what is returned.
    pub fn notice_first(
        &self,
        decision: &impl DrainDecision,
        drain: &DrainHandle,
    ) -> Option<Notice> {
        let asks = self.protocol() == WireProtocol::Http2 && self.phase() == H2Phase::Serving;
        if !asks || !decision.leave_if_due() {
            return None;
        }
        drain.start_now();
        let goaway = self.clone();
        Some(Notice(Box::pin(async move {
            // A response that waited too long goes out as well.
            let _waited = tokio::time::timeout(LONGEST, goaway.reached(H2Phase::Noticed)).await;
        })))
    }
}

impl Future for Notice {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notice").finish_non_exhaustive()
    }
}

impl<T: fmt::Debug> fmt::Debug for Held<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("response", &self.response)
            .finish_non_exhaustive()
    }
}

impl<F, D, T, E> Future for NoticeFirstFuture<F, D, T>
where
    F: Future<Output = Result<T, E>>,
    D: DrainDecision,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Connection {
            decision,
            drain,
            goaway,
        } = &**this.connection;
        if this.held.is_none() {
            let response = ready!(this.inner.poll(cx))?;
            match goaway.notice_first(decision, drain) {
                None => return Poll::Ready(Ok(response)),
                Some(noticed) => *this.held = Some(Box::new(Held { response, noticed })),
            }
        }
        if let Some(held) = this.held {
            ready!(Pin::new(&mut held.noticed).poll(cx));
        }
        match this.held.take() {
            Some(held) => Poll::Ready(Ok(held.response)),
            None => Poll::Pending,
        }
    }
}
