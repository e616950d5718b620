//! Streams that can be reset: the service, its response futures and its bodies end with
//! RST_STREAM(CANCEL).

use crate::reset::{ResetHandle, ResetStream};
use h2::Reason;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::service::Service;
use pin_project::pin_project;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A hyper service whose streams can be reset, see [`ResetHandle::service`].
#[derive(Clone, Debug)]
pub struct ResetService<S> {
    inner: S,
    resets: ResetHandle,
}

impl<S> ResetService<S> {
    pub(crate) const fn new(inner: S, resets: ResetHandle) -> Self {
        Self { inner, resets }
    }
}

impl<S, R, B> Service<Request<R>> for ResetService<S>
where
    S: Service<Request<R>, Response = Response<B>>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<ResetBody<B>>;
    type Error = StreamError;
    type Future = ResetFuture<S::Future>;

    fn call(&self, request: Request<R>) -> Self::Future {
        self.resets.response(self.inner.call(request))
    }
}

/// A response future that can be reset, see [`ResetHandle::response`].
#[pin_project]
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct ResetFuture<F> {
    #[pin]
    inner: F,
    /// Becomes the body's.
    reset: Option<ResetStream>,
}

impl<F> ResetFuture<F> {
    pub(crate) const fn new(inner: F, reset: ResetStream) -> Self {
        let reset = Some(reset);
        Self { inner, reset }
    }
}

impl<F, B, E> Future for ResetFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    type Output = Result<Response<ResetBody<B>>, StreamError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // Without it, it was polled after completion: a future may stay pending then.
        match this.inner.poll(cx) {
            Poll::Pending => match this.reset {
                Some(reset) => reset.poll(cx).map(|()| Err(StreamError::reset())),
                None => Poll::Pending,
            },
            Poll::Ready(Err(error)) => Poll::Ready(Err(StreamError::inner(error))),
            Poll::Ready(Ok(response)) => match this.reset.take() {
                Some(reset) => Poll::Ready(Ok(response.map(|inner| ResetBody::new(inner, reset)))),
                None => Poll::Pending,
            },
        }
    }
}

/// A body that can be reset, see [`ResetHandle::body`].
#[pin_project]
#[derive(Debug)]
pub struct ResetBody<B> {
    #[pin]
    inner: B,
    reset: ResetStream,
}

impl<B> ResetBody<B> {
    pub(crate) const fn new(inner: B, reset: ResetStream) -> Self {
        Self { inner, reset }
    }
}

impl<B> Body for ResetBody<B>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = B::Data;
    type Error = StreamError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        // The reset first: a body that always has more would never let it through.
        if this.reset.is_reset() && !this.inner.is_end_stream() {
            return Poll::Ready(Some(Err(StreamError::reset())));
        }
        match this.inner.poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(StreamError::inner))),
            Poll::Pending => this
                .reset
                .poll(cx)
                .map(|()| Some(Err(StreamError::reset()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The error of a stream that was reset, or the one that its service or body failed with.
#[derive(Debug)]
pub struct StreamError {
    source: Box<dyn Error + Send + Sync>,
    reset: bool,
}

impl StreamError {
    pub(crate) fn reset() -> Self {
        Self {
            source: Box::new(h2::Error::from(Reason::CANCEL)),
            reset: true,
        }
    }

    fn inner(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            source: error.into(),
            reset: false,
        }
    }

    /// Whether the stream was reset by its [`ResetHandle`].
    #[must_use]
    pub const fn is_reset(&self) -> bool {
        self.reset
    }
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.reset {
            "stream reset at the deadline of the drain"
        } else {
            "stream failed"
        })
    }
}

impl Error for StreamError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::ready;
    use std::pin::pin;
    use std::task::Waker;

    #[test]
    fn an_error_says_whether_it_is_the_resets_or_the_services_own() {
        let resets = ResetHandle::new();
        let mut cx = Context::from_waker(Waker::noop());
        let mut fails = pin!(resets.response(ready(Err::<Response<()>, _>("no route"))));
        let Poll::Ready(Err(failed)) = fails.as_mut().poll(&mut cx) else {
            panic!("an error is not kept");
        };
        let reset = StreamError::reset();
        let says = |error: &StreamError| {
            let source = error.source().map(|source| source.to_string());
            (error.is_reset(), error.to_string(), source.unwrap())
        };
        assert_eq!(
            says(&failed),
            (false, "stream failed".to_owned(), "no route".to_owned())
        );
        let (is_reset, text, _) = says(&reset);
        assert!(is_reset);
        assert_eq!(text, "stream reset at the deadline of the drain");
        let source = reset.source().and_then(|source| source.downcast_ref());
        assert_eq!(source.and_then(h2::Error::reason), Some(Reason::CANCEL));
    }
}
