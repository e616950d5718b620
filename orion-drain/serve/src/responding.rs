//! The future and the body of one response; see [`Requests`](super::request::Requests).

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::response::Parts;
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pin_project::{pin_project, pinned_drop};
use proto_drain_h2::{Notice, ResetStream};
use proto_drain_http1::{Leaving, TakenRequest};
use tokio::time::Sleep;

use super::received::{Arrival, Remainder, Unread};
use super::request::OpenRequest;
use super::stream::{StreamTunnel, opens_tunnel};
use super::tunnel::Tunnel;

type BoxError = Box<dyn Error + Send + Sync>;

/// The response to one request, until its head.
#[pin_project(PinnedDrop)]
#[must_use = "futures do nothing unless polled"]
pub(super) struct Responding<F, B> {
    #[pin]
    future: F,
    taken: TakenRequest,
    /// `None` once the head is handed on.
    open: Option<OpenRequest>,
    /// A stream of HTTP/2.
    reset: Option<ResetStream>,
    /// A request with a body.
    arrival: Option<Arc<Arrival>>,
    rare: Option<Box<Rare<B>>>,
}

/// What few requests have.
pub(super) struct Rare<B> {
    /// `request_timeout`, while the body arrives.
    timer: Option<Pin<Box<Sleep>>>,
    /// What CONNECT opens over HTTP/2.
    stream: Option<Arc<StreamTunnel>>,
    waiting: Option<Waiting<B>>,
}

impl<B> Rare<B> {
    /// `timeout`: in which the body must arrive. `stream`: what the response opens, if it succeeds.
    #[inline]
    pub(super) fn new(
        timeout: Option<Duration>,
        stream: Option<Arc<StreamTunnel>>,
    ) -> Option<Box<Self>> {
        if timeout.is_none() && stream.is_none() {
            return None;
        }
        Some(Box::new(Self {
            timer: timeout.map(|timeout| Box::pin(tokio::time::sleep(timeout))),
            stream,
            waiting: None,
        }))
    }
}

/// A response that is not handed on yet.
struct Waiting<B> {
    response: Response<B>,
    until: Until,
}

/// What comes before the head.
enum Until {
    /// The GOAWAY.
    Notice(Notice),
    /// What has arrived of the request's body is read.
    Read(Remainder),
}

/// What is known at the head.
enum AtHead {
    Stays,
    /// It says `close`, if it is one of HTTP/1.
    Closes,
    Waits(Until),
}

impl<F, B> Responding<F, B> {
    pub(super) const fn new(
        future: F,
        taken: TakenRequest,
        open: OpenRequest,
        reset: Option<ResetStream>,
        arrival: Option<Arc<Arrival>>,
        rare: Option<Box<Rare<B>>>,
    ) -> Self {
        Self {
            future,
            taken,
            open: Some(open),
            reset,
            arrival,
            rare,
        }
    }
}

impl<F, B, E> Future for Responding<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
    B::Error: Into<BoxError>,
    E: Into<BoxError>,
{
    type Output = Result<Response<ResponseBody<B>>, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let this = self.as_mut().project();
            let rare = this.rare.as_deref_mut();
            if let Some(waiting) = rare.and_then(|rare| rare.waiting.as_mut()) {
                let closes = match &mut waiting.until {
                    Until::Notice(notice) => {
                        ready!(Pin::new(notice).poll(cx));
                        false
                    }
                    Until::Read(remainder) => !ready!(remainder.poll_ended(cx)),
                };
                // The tunnel that the response opens stays: it is handed on with the head.
                let rare = this.rare.as_deref_mut();
                let waiting = rare.and_then(|rare| rare.waiting.take());
                let Some(Waiting { response, until }) = waiting else {
                    return Poll::Pending;
                };
                // The codec reads no further once the rest of the body is dropped.
                drop(until);
                if let (true, Some(arrival)) = (closes, this.arrival) {
                    arrival.discards();
                }
                return Poll::Ready(Ok(self.hand_on(response, closes)));
            }
            let response = match this.future.poll(cx) {
                Poll::Ready(answered) => answered.map_err(Into::into)?,
                Poll::Pending => return self.poll_limits(cx),
            };
            let closes = match self.as_ref().at_head(response.status()) {
                AtHead::Stays => false,
                AtHead::Closes => true,
                AtHead::Waits(until) => {
                    let rare = self.as_mut().project().rare.get_or_insert_with(|| {
                        Box::new(Rare {
                            timer: None,
                            stream: None,
                            waiting: None,
                        })
                    });
                    rare.waiting = Some(Waiting { response, until });
                    continue;
                }
            };
            return Poll::Ready(Ok(self.hand_on(response, closes)));
        }
    }
}

impl<F, B> Responding<F, B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    /// The service has answered with this status.
    fn at_head(self: Pin<&Self>, status: StatusCode) -> AtHead {
        let this = self.project_ref();
        if !this.taken.is_http1() {
            let shared = this.open.as_ref().map(OpenRequest::shared);
            let notice = shared.and_then(|shared| {
                let drain = shared.connection.drain();
                shared.goaway.notice_first(&shared.connection, drain)
            });
            return match notice {
                None => AtHead::Stays,
                Some(notice) => AtHead::Waits(Until::Notice(notice)),
            };
        }
        let arrival = this.arrival.as_deref();
        let arrival = arrival.filter(|_| !this.taken.switches(status));
        match arrival.map_or(Unread::Nothing, Arrival::answered) {
            Unread::Nothing => AtHead::Stays,
            Unread::Something => AtHead::Closes,
            Unread::Dropped(remainder) => AtHead::Waits(Until::Read(remainder)),
        }
    }

    /// The service has nothing yet: the stream may be reset, and the request's time may be over.
    fn poll_limits(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<ResponseBody<B>>, BoxError>> {
        let this = self.as_mut().project();
        if let Some(reset) = this.reset {
            if let Poll::Ready(error) = reset.poll_reset(cx) {
                return Poll::Ready(Err(error.into()));
            }
        }
        let (Some(rare), Some(arrival), Some(open)) = (this.rare, this.arrival, this.open) else {
            return Poll::Pending;
        };
        let Some(timer) = rare.timer.as_mut() else {
            return Poll::Pending;
        };
        if arrival.has_ended() {
            rare.timer = None;
            return Poll::Pending;
        }
        ready!(timer.as_mut().poll(cx));
        open.shared().ending.stats().request_timed_out();
        let (mut head, ()) = Response::new(()).into_parts();
        head.status = StatusCode::REQUEST_TIMEOUT;
        Poll::Ready(Ok(self.hand_on_parts(head, None, true)))
    }

    #[inline]
    fn hand_on(
        self: Pin<&mut Self>,
        response: Response<B>,
        closes: bool,
    ) -> Response<ResponseBody<B>> {
        let (head, body) = response.into_parts();
        self.hand_on_parts(head, Some(body), closes)
    }

    /// The head goes to the codec now.
    #[inline]
    fn hand_on_parts(
        self: Pin<&mut Self>,
        head: Parts,
        body: Option<B>,
        closes: bool,
    ) -> Response<ResponseBody<B>> {
        let this = self.project();
        let body = ResponseBody {
            body,
            reset: this.reset.take(),
            open: None,
        };
        let mut response = Response::from_parts(head, body);
        let Some(open) = this.open.take() else {
            return response;
        };
        let (shared, taken) = (open.shared(), *this.taken);
        if taken.is_http1() {
            let (connection, status) = (&shared.connection, response.status());
            open.retire_unless(taken.switches(status));
            let leaving = match shared.exchanges.leaving_with(taken, status, connection) {
                Leaving::No if closes => Leaving::Yes,
                leaving => leaving,
            };
            shared.exchanges.respond(taken, leaving, &mut response);
            if taken.switches(status) {
                connection.switched(&shared.exchanges);
                let tunnel = || Tunnel::new(connection.clone(), &response);
                shared.ending.begin_tunnel(tunnel);
            }
        } else if let Some(stream) = this.rare.take().and_then(|rare| rare.stream) {
            opens_tunnel(stream, &shared.connection, &response);
        }
        response.body_mut().open = Some(open);
        response
    }
}

#[pinned_drop]
impl<F, B> PinnedDrop for Responding<F, B> {
    fn drop(self: Pin<&mut Self>) {
        if let Some(open) = &self.open {
            open.shared().exchanges.give_up(self.taken);
        }
    }
}

/// The body of a response: its request is counted until it is sent or dropped; a stream of HTTP/2
/// ends in a reset at the deadline. Frames pass unchanged.
#[pin_project]
pub(super) struct ResponseBody<B> {
    /// None of a response that is not the service's.
    #[pin]
    body: Option<B>,
    reset: Option<ResetStream>,
    open: Option<OpenRequest>,
}

impl<B> Body for ResponseBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        let Some(mut body) = this.body.as_pin_mut() else {
            return Poll::Ready(None);
        };
        // The reset first: a body that always has more would never let it through.
        if let Some(error) = this.reset.as_ref().and_then(ResetStream::error) {
            if !body.is_end_stream() {
                return Poll::Ready(Some(Err(error.into())));
            }
        }
        let end = match (body.as_mut().poll_frame(cx), this.reset) {
            (Poll::Ready(Some(Ok(frame))), _) => return Poll::Ready(Some(Ok(frame))),
            (Poll::Ready(end), _) => end.map(|end| end.map_err(Into::into)),
            (Poll::Pending, Some(reset)) => Some(Err(ready!(reset.poll_reset(cx)).into())),
            (Poll::Pending, None) => return Poll::Pending,
        };
        *this.open = None;
        Poll::Ready(end)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.body.as_ref();
        body.map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
