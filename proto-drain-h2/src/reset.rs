//! Resets at the deadline: streams that are still open end with RST_STREAM(CANCEL) instead of a cut connection.

use h2::Reason;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::service::Service;
use pin_project::pin_project;
use slab::Slab;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Resets the streams of one connection, all at once and once.
///
/// Wrap the connection's service (or its response futures and bodies, in another service stack) and give the handle to
/// [`H2Connection::with_resets`](crate::H2Connection::with_resets). hyper turns an error with an [`h2::Error`] among its
/// sources into RST_STREAM with that error's reason, for a response that has not begun as for a body under way.
/// Clones belong to the same connection; dropping them resets nothing.
///
/// # Examples
///
/// ```
/// use proto_drain_h2::ResetHandle;
///
/// let resets = ResetHandle::new();
/// assert!(!resets.is_reset());
/// resets.reset();
/// assert!(resets.is_reset());
/// ```
#[derive(Clone, Debug, Default)]
pub struct ResetHandle {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// What every frame looks at.
    reset: AtomicBool,
    /// The tasks of the streams that have something to wait for.
    waiting: Mutex<Slab<Waker>>,
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Slab<Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResetHandle {
    /// A handle for a new connection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Resets every stream now, and those that are opened later.
    pub fn reset(&self) {
        self.shared.reset.store(true, Ordering::Release);
        let waiting: Vec<Waker> = self
            .shared
            .waiting()
            .iter()
            .map(|(_, waker)| waker.clone())
            .collect();
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Whether the streams have been reset.
    #[must_use]
    pub fn is_reset(&self) -> bool {
        self.shared.reset.load(Ordering::Acquire)
    }

    /// Resolves when the streams are reset: for streams that have neither response future nor body any more, as tunnels
    /// after CONNECT. A tunnel that is dropped then is reset like the others.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is consumed.
    pub async fn wait(&self) {
        let mut wait = Wait::new(self);
        std::future::poll_fn(|cx| wait.poll(cx)).await;
    }

    /// A hyper service whose streams can be reset.
    pub fn service<S>(&self, inner: S) -> ResetService<S> {
        ResetService {
            inner,
            resets: self.clone(),
        }
    }

    /// A response future that can be reset.
    pub fn response<F>(&self, inner: F) -> ResetFuture<F> {
        ResetFuture {
            inner,
            reset: Some(Wait::new(self)),
        }
    }

    /// A body that can be reset.
    pub fn body<B>(&self, inner: B) -> ResetBody<B> {
        ResetBody {
            inner,
            reset: Wait::new(self),
        }
    }
}

/// The error of a stream that was reset, or the one that its service or body failed with.
#[derive(Debug)]
pub struct StreamError {
    source: Box<dyn Error + Send + Sync>,
    reset: bool,
}

impl StreamError {
    fn reset() -> Self {
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

/// A hyper service whose streams can be reset, see [`ResetHandle::service`].
#[derive(Clone, Debug)]
pub struct ResetService<S> {
    inner: S,
    resets: ResetHandle,
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

/// The wait for a reset. It registers only when there is something to wait for: most responses are ready at once.
#[derive(Debug)]
struct Wait {
    shared: Arc<Shared>,
    /// Where the task's waker is kept; `NOWHERE` as long as it is not. Two words in every stream's future, not three.
    place: u32,
}

const NOWHERE: u32 = u32::MAX;

impl Wait {
    fn new(resets: &ResetHandle) -> Self {
        Self {
            shared: Arc::clone(&resets.shared),
            place: NOWHERE,
        }
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        let mut waiting = self.shared.waiting();
        // Behind the lock, which a reset takes after it has set the flag: it finds this waker, or is found here.
        if self.shared.reset.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        match waiting.get_mut(self.place as usize) {
            Some(waker) => waker.clone_from(cx.waker()),
            // A connection has 2^31 streams in its life.
            None => self.place = waiting.insert(cx.waker().clone()) as u32,
        }
        Poll::Pending
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if self.place != NOWHERE {
            self.shared.waiting().try_remove(self.place as usize);
        }
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
    reset: Option<Wait>,
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
                Some(reset) => Poll::Ready(Ok(response.map(|inner| ResetBody { inner, reset }))),
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
    reset: Wait,
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
        if this.reset.shared.reset.load(Ordering::Acquire) && !this.inner.is_end_stream() {
            return Poll::Ready(Some(Err(StreamError::reset())));
        }
        match this.inner.poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(StreamError::inner))),
            Poll::Pending => this.reset.poll(cx).map(|()| Some(Err(StreamError::reset()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use std::pin::pin;

    #[test]
    fn a_stream_that_ends_is_no_longer_waited_for() {
        let resets = ResetHandle::new();
        let mut cx = Context::from_waker(Waker::noop());
        {
            let mut stream = pin!(resets.response(pending::<Result<Response<()>, StreamError>>()));
            for _ in 0..3 {
                assert!(stream.as_mut().poll(&mut cx).is_pending());
            }
            let mut tunnel = pin!(resets.wait());
            assert!(tunnel.as_mut().poll(&mut cx).is_pending());
            assert_eq!(resets.shared.waiting().len(), 2);
        }
        assert_eq!(resets.shared.waiting().len(), 0);
    }
}
