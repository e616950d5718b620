//! A route's `timeout`: from the end of the request to the end of the response, as in Envoy.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use orion_drain::serve::ReceivedBody;
use tokio::sync::oneshot;
use tokio::time::Sleep;

/// The body of a request on its way to the upstream. Its end, or its being given up, starts the
/// clock.
#[derive(Debug)]
pub(crate) struct RequestBody {
    body: ReceivedBody,
    /// Dropped at the end.
    ended: Option<oneshot::Sender<()>>,
}

impl RequestBody {
    /// A body whose end nobody waits for.
    pub(crate) const fn untimed(body: ReceivedBody) -> Self {
        Self { body, ended: None }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) || this.body.is_end_stream() {
            this.ended = None;
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

/// The clock of one request. It resolves when the time is over.
pub(crate) struct RouteTimer {
    limit: Duration,
    ended: Option<oneshot::Receiver<()>>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl RouteTimer {
    /// A clock that starts when the body has ended; the body that starts it.
    pub(crate) fn after(body: ReceivedBody, limit: Duration) -> (Self, RequestBody) {
        let (sender, receiver) = oneshot::channel();
        let timer = Self {
            limit,
            ended: Some(receiver),
            sleep: None,
        };
        let ended = (!body.is_end_stream()).then_some(sender);
        (timer, RequestBody { body, ended })
    }
}

impl Future for RouteTimer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if let Some(ended) = &mut this.ended {
            // An error: the sender was dropped, which is the end.
            ready!(Pin::new(ended).poll(cx)).ok();
            this.ended = None;
        }
        let limit = this.limit;
        let sleep = this
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        sleep.as_mut().poll(cx)
    }
}

/// The response took longer than the route allows.
#[derive(Debug, thiserror::Error)]
#[error("the route's timeout is over")]
struct TimedOut;

/// The body of a response, which is cut off when the time is over.
pub(crate) struct ResponseBody {
    body: Incoming,
    timer: Option<RouteTimer>,
}

impl ResponseBody {
    pub(crate) const fn new(body: Incoming, timer: Option<RouteTimer>) -> Self {
        Self { body, timer }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        match &mut this.timer {
            Some(timer) => {
                ready!(Pin::new(timer).poll(cx));
                this.timer = None;
                Poll::Ready(Some(Err(TimedOut.into())))
            }
            None => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
