//! A response body that keeps its exchange open until it is sent (feature `hyper`).

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use crate::exchange::{Exchange, Exchanges};

/// A body that counts as "in request" until its end, an error, or its drop.
///
/// [`DrainService`](crate::DrainService) leaves bodies alone, so for it a request is over when the
/// head of its response is handed on. A service inside it that wraps its bodies in this makes the
/// connection look busy, to an [`ActivityObserver`](crate::ActivityObserver) and to the steps of a
/// drain, until the last frame. Frames pass through unchanged.
#[pin_project]
#[derive(Debug)]
pub struct ExchangeBody<B> {
    #[pin]
    body: B,
    exchange: Option<Exchange>,
}

impl<B: Body> ExchangeBody<B> {
    /// Wraps the body of the response that is being made.
    pub fn new(body: B, exchanges: &Exchanges) -> Self {
        let exchange = (!body.is_end_stream()).then(|| exchanges.guard());
        Self { body, exchange }
    }
}

impl<B: Body> Body for ExchangeBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        let frame = ready!(this.body.poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            *this.exchange = None;
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
