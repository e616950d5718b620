//! The body of a request, and what becomes of it when the response comes before its end.
//!
//! Behind an HTTP/1 body comes the next request, so a server that does not read the body to its end closes the connection
//! ([RFC 9112 section 9.3](https://www.rfc-editor.org/rfc/rfc9112#section-9.3)). hyper does, without `connection: close`: a
//! client that reuses the connection loses a request. As
//! [Envoy](https://github.com/envoyproxy/envoy/blob/main/source/common/http/conn_manager_impl.cc) does
//! (`downstream_rq_response_before_rq_complete`), the head says `close` here if the body's end has not come by then.
//!
//! A request with trailers is the last one of its connection as well. hyper ends a trailer at CRLF and takes a bare LF for a
//! part of it: where the client, or a proxy before it, ends the line there, hyper swallows the next request as one more
//! trailer, and the responses behind it would be taken for those of other requests.
//!
//! ```text
//! handler answers ─┬─ it has read the end ──────────────────────────────► the connection goes on
//!                  ├─ it has dropped the body: what has come is read ─ the end ─► goes on
//!                  │                                                 └ not yet ─► close ┐
//!                  ├─ it has read trailers ───────────────────────────────────────► close ┤
//!                  └─ it reads on ──────────────────────────────────────────────► close ┤
//!   the transport discards the rest, while the response is sent and in the staged close ◄┘
//! ```

use std::error::Error;
use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use proto_drain_http1::{Exchanges, OpenBody};

/// How much of a body that its handler has dropped is read before the head of the response.
const READ_FIRST: usize = 64 * 1024;

/// The body of a request, as the services of [`serve_http`](super::serve_http) get it, over the
/// server's own. Frames pass unchanged.
///
/// A stream of HTTP/2 that its client resets before the end is a [`BodyError`], whatever its code.
/// hyper makes an end of one with NO_ERROR, and half an upload would count as whole.
///
/// The response to an HTTP/1 request says `connection: close` if this has not been read to its end
/// by the time the service returns it: the connection ends with the response, as in Envoy; and if it
/// had trailers, since what hyper takes for one of them may have been the next request. A body
/// that was dropped by then is read first, as far as it has arrived, up to 64 KiB; so a small one
/// that came with its head costs no connection. What is left is discarded, while the response is
/// sent and in the staged close, so that the client can read the response.
#[derive(Debug)]
pub struct ReceivedBody<B = Incoming> {
    /// `None` only in `drop`.
    body: Option<B>,
    /// Until its end.
    arrival: Option<Arc<Arrival<B>>>,
    /// Over HTTP/1, until its end: what comes is no head.
    open: Option<OpenBody>,
    /// The client waits to be asked for it (`expect: 100-continue`): a read asks.
    unasked: bool,
    /// A stream of HTTP/2, until its end: no end without END_STREAM.
    is_stream: bool,
}

/// Why the body of a request ends before its end.
#[derive(Debug)]
#[non_exhaustive]
pub enum BodyError<E = hyper::Error> {
    /// The server's own error.
    Server(E),
    /// The stream of HTTP/2 has ended without END_STREAM: its client has reset it, or has not
    /// answered a keep-alive.
    Reset,
}

impl<E> fmt::Display for BodyError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server(_) => "the body cannot be read",
            Self::Reset => "the stream has ended before the body",
        })
    }
}

impl<E: Error + 'static> Error for BodyError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Server(error) => Some(error),
            Self::Reset => None,
        }
    }
}

/// What a request's body and its response know of each other.
#[derive(Debug)]
pub(super) struct Arrival<B = Incoming> {
    /// What has come: one of the values below.
    end: AtomicU8,
    /// Of an HTTP/1 connection: its next request is behind it.
    exchanges: Option<Exchanges>,
    rest: Mutex<Rest<B>>,
}

/// There may be more of it.
const OPEN: u8 = 0;
/// Nothing more comes.
const WHOLE: u8 = 1;
/// Nothing more comes, and it had trailers.
const TRAILERS: u8 = 2;

/// Who reads what is left of the body.
#[derive(Debug)]
enum Rest<B> {
    /// The service does, and has not answered.
    Service,
    /// Nothing does: the service has dropped it. `None`: it cannot be read to its end.
    Left(Option<B>),
    /// The service does, and has answered.
    Answered,
}

/// What is left of a body when its response comes.
#[derive(Debug)]
pub(super) enum Unread<B = Incoming> {
    /// Nothing.
    Nothing,
    /// This, which the service has dropped.
    Dropped(Remainder<B>),
    /// A part that the connection cannot go on behind.
    Something,
}

impl<B> Arrival<B> {
    fn rest(&self) -> MutexGuard<'_, Rest<B>> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing more comes.
    pub(super) fn has_ended(&self) -> bool {
        // Relaxed: it says nothing about anything else.
        self.end.load(Ordering::Relaxed) != OPEN
    }

    /// The service has answered.
    pub(super) fn answered(&self) -> Unread<B> {
        let end = self.end.load(Ordering::Relaxed);
        if end == WHOLE || self.exchanges.is_none() {
            return Unread::Nothing;
        }
        if end == TRAILERS {
            return Unread::Something;
        }
        let mut rest = self.rest();
        match mem::replace(&mut *rest, Rest::Answered) {
            Rest::Left(Some(body)) => Unread::Dropped(Remainder::new(body)),
            _ => Unread::Something,
        }
    }

    /// Nothing reads on behind a head that says `close`.
    pub(super) fn discards(&self) {
        if let Some(exchanges) = &self.exchanges {
            exchanges.discard_rest();
        }
    }
}

impl<B> ReceivedBody<B> {
    /// A body that does not have to be looked after, as it is; of a stream of HTTP/2 or not.
    pub(super) const fn new(body: B, is_stream: bool) -> Self {
        Self {
            body: Some(body),
            arrival: None,
            open: None,
            unasked: false,
            is_stream,
        }
    }

    /// A body whose end the response has to know of. `unasked`: its client waits for 100.
    pub(super) fn watched(
        body: B,
        exchanges: Option<Exchanges>,
        unasked: bool,
    ) -> (Self, Arc<Arrival<B>>) {
        let open = exchanges.as_ref().map(Exchanges::body);
        let is_stream = exchanges.is_none();
        let arrival = Arc::new(Arrival {
            end: AtomicU8::new(OPEN),
            exchanges,
            rest: Mutex::new(Rest::Service),
        });
        let body = Self {
            body: Some(body),
            arrival: Some(Arc::clone(&arrival)),
            open,
            unasked,
            is_stream,
        };
        (body, arrival)
    }

    fn body(&self) -> &B {
        // Only `drop` takes it.
        self.body.as_ref().expect("there until it is dropped")
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for ReceivedBody<B> {
    type Data = Bytes;
    type Error = BodyError<B::Error>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        this.unasked = false;
        // Only `drop` takes it.
        let body = this.body.as_mut().expect("there until it is dropped");
        let frame = match ready!(Pin::new(&mut *body).poll_frame(cx)) {
            None if this.is_stream && !body.is_end_stream() => {
                this.is_stream = false;
                Some(Err(BodyError::Reset))
            }
            frame => frame.map(|frame| frame.map_err(BodyError::Server)),
        };
        let end = match &frame {
            Some(Ok(frame)) if frame.is_trailers() => TRAILERS,
            Some(Ok(_)) if body.is_end_stream() => WHOLE,
            Some(Ok(_)) => OPEN,
            Some(Err(_)) => {
                // It cannot be told where the next request would begin.
                if let Some(arrival) = this.arrival.take() {
                    *arrival.rest() = Rest::Left(None);
                }
                OPEN
            }
            None => WHOLE,
        };
        if end != OPEN {
            if let Some(arrival) = this.arrival.take() {
                arrival.end.store(end, Ordering::Relaxed);
            }
            this.open = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body().size_hint()
    }
}

impl<B> Drop for ReceivedBody<B> {
    #[inline]
    fn drop(&mut self) {
        let Some(arrival) = self.arrival.take() else {
            return;
        };
        if arrival.exchanges.is_none() {
            return;
        }
        let mut rest = arrival.rest();
        let is_answered = matches!(*rest, Rest::Answered);
        if let Rest::Service = *rest {
            // A client that was not asked for its body may not send it.
            *rest = Rest::Left(self.body.take_if(|_| !self.unasked));
        }
        // Nothing is woken with the lock taken.
        drop(rest);
        if is_answered {
            arrival.discards();
        }
    }
}

/// What is left of a body that its service has dropped.
#[derive(Debug)]
pub(super) struct Remainder<B = Incoming> {
    body: B,
    /// How much of it may be read before the head.
    left: usize,
    /// hyper has had its turn to read since the last frame.
    has_looked: bool,
}

impl<B> Remainder<B> {
    const fn new(body: B) -> Self {
        Self {
            body,
            left: READ_FIRST,
            has_looked: false,
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Remainder<B> {
    /// Reads what has arrived: whether that was all of it. It waits for hyper's next turn, not for
    /// the client.
    pub(super) fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(None) => return Poll::Ready(true),
                Poll::Ready(Some(Err(_))) => return Poll::Ready(false),
                Poll::Ready(Some(Ok(frame))) => {
                    if frame.is_trailers() {
                        return Poll::Ready(false);
                    }
                    if self.body.is_end_stream() {
                        return Poll::Ready(true);
                    }
                    let len = frame.data_ref().map_or(0, Bytes::len);
                    match self.left.checked_sub(len) {
                        None => return Poll::Ready(false),
                        Some(left) => self.left = left,
                    }
                    self.has_looked = false;
                }
                Poll::Pending if self.has_looked => return Poll::Ready(false),
                Poll::Pending => {
                    // hyper reads from the socket before it asks for the response again.
                    self.has_looked = true;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
    }
}
