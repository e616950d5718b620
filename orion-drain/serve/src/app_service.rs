//! What an app of `axum::serve` does with the requests of one connection.
//!
//! The same as [`Requests`](super::request::Requests) does with those of a connection that is served
//! here, as far as a server that accepts by itself lets it.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::ConnectInfo;
use http::header::EXPECT;
use http::{Request, Response, Version};
use http_body::Body as _;
use pin_project::{pin_project, pinned_drop};
use proto_drain_http1::{Exchanges, Leaving, TakenRequest};
use tower_service::Service;

use super::Connection;
use super::received::{Arrival, ReceivedBody, Remainder, Unread};

/// What [`DrainApp`](super::DrainApp) makes for each connection.
#[derive(Debug, Clone)]
pub struct AppService<S> {
    app: S,
    connection: Connection,
    exchanges: Exchanges,
}

impl<S> AppService<S> {
    pub(super) fn new(app: S, connection: Connection, exchanges: Exchanges) -> Self {
        exchanges.opened(&connection);
        Self {
            app,
            connection,
            exchanges,
        }
    }
}

impl<S, R> Service<Request<Body>> for AppService<S>
where
    S: Service<Request<Body>, Response = Response<R>>,
    R: http_body::Body,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = AppResponse<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.app.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let extensions = request.extensions_mut();
        if let Some(peer) = self.connection.peer() {
            extensions.insert(ConnectInfo::<SocketAddr>(peer));
        }
        extensions.insert(self.connection.clone());
        let has_body = !request.body().is_end_stream();
        let taken = self.exchanges.take(&request, has_body);
        let mut arrival = None;
        if has_body && taken.is_http1() {
            let unasked =
                request.version() == Version::HTTP_11 && request.headers().contains_key(EXPECT);
            let exchanges = Some(self.exchanges.clone());
            request = request.map(|body| {
                let (body, watched) = ReceivedBody::watched(body, exchanges, unasked);
                arrival = Some(watched);
                Body::new(body)
            });
        } else if has_body {
            request = request.map(|body| Body::new(ReceivedBody::new(body, true)));
        }
        AppResponse {
            future: self.app.call(request),
            taken,
            of: Some((self.connection.clone(), self.exchanges.clone())),
            arrival,
            waiting: None,
        }
    }
}

/// The future of [`AppService`].
#[pin_project(PinnedDrop)]
#[must_use = "futures do nothing unless polled"]
#[expect(missing_debug_implementations, reason = "an app's future")]
pub struct AppResponse<F, R> {
    #[pin]
    future: F,
    taken: TakenRequest,
    /// `None` once the head is handed on.
    of: Option<(Connection, Exchanges)>,
    /// A request of HTTP/1 with a body.
    arrival: Option<Arc<Arrival<Body>>>,
    /// What has arrived of the body is read before the head.
    waiting: Option<Box<(Response<R>, Remainder<Body>)>>,
}

impl<F, R, E> Future for AppResponse<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: http_body::Body,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.as_mut().project();
        if this.waiting.is_none() {
            let response = ready!(this.future.poll(cx))?;
            let arrival = this.arrival.as_deref();
            let arrival = arrival.filter(|_| !this.taken.switches(response.status()));
            match arrival.map_or(Unread::Nothing, Arrival::answered) {
                Unread::Nothing => return Poll::Ready(Ok(self.hand_on(response, Leaving::No))),
                Unread::Something => return Poll::Ready(Ok(self.hand_on(response, Leaving::Yes))),
                Unread::Dropped(rest) => *this.waiting = Some(Box::new((response, rest))),
            }
        }
        let this = self.as_mut().project();
        let ended = match this.waiting {
            Some(waiting) => ready!(waiting.1.poll_ended(cx)),
            None => return Poll::Pending,
        };
        let Some((response, rest)) = this.waiting.take().map(|waiting| *waiting) else {
            return Poll::Pending;
        };
        // The codec reads no further once the rest of the body is dropped.
        drop(rest);
        let leaving = match (ended, this.arrival) {
            (false, Some(arrival)) => {
                arrival.discards();
                Leaving::Yes
            }
            _ => Leaving::No,
        };
        Poll::Ready(Ok(self.hand_on(response, leaving)))
    }
}

impl<F, R: http_body::Body> AppResponse<F, R> {
    /// The head goes to the codec now.
    fn hand_on(self: Pin<&mut Self>, mut response: Response<R>, leaving: Leaving) -> Response<R> {
        let this = self.project();
        if let Some((connection, exchanges)) = this.of.take() {
            // For streams of HTTP/2 it is a GOAWAY, and the decision is asked when that is sent.
            if this.taken.is_http1() {
                let status = response.status();
                let leaving = match exchanges.leaving_with(*this.taken, status, &connection) {
                    Leaving::No => leaving,
                    yes => yes,
                };
                exchanges.respond(*this.taken, leaving, &mut response);
            }
        }
        response
    }
}

#[pinned_drop]
impl<F, R> PinnedDrop for AppResponse<F, R> {
    fn drop(self: Pin<&mut Self>) {
        if let Some((_, exchanges)) = &self.of {
            exchanges.give_up(self.taken);
        }
    }
}
