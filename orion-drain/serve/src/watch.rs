//! The end of a response that its client does not take.
//!
//! hyper asks a response's body for a frame only when there is room for one. While the client reads
//! nothing the body is not polled, and no timer in the body can end the stream. So the body gives
//! its watch to the task that serves the stream, and the task ends when the watch says so.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project::pin_project;

thread_local! {
    /// The watch of the body that is being polled, until the task around it takes it.
    static OFFERED: Cell<Option<Watch>> = const { Cell::new(None) };
}

type Watch = Pin<Box<dyn Future<Output = Watched> + Send>>;

/// What a watch has seen.
#[expect(clippy::exhaustive_enums, reason = "it goes on or it does not")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// The response has ended by itself.
    Ended,
    /// The response is cut off: over HTTP/2 its stream ends in RST_STREAM(CANCEL), over HTTP/1 its
    /// connection ends.
    Cut,
}

/// Watches the response whose body calls this while it is polled; for bodies whose time may be over
/// while their client takes nothing, when hyper does not poll them.
///
/// `watch` is polled after each poll of the response, in the same task, until it is ready or the
/// task ends. One response has one watch: the last one given counts. Outside of a connection that
/// is served by this crate `watch` is dropped.
pub fn watch_response(watch: impl Future<Output = Watched> + Send + 'static) {
    OFFERED.set(Some(Box::pin(watch)));
}

/// The place for the watch of a response, in the task that serves it.
#[derive(Default)]
pub(super) struct WatchSlot(Option<Watch>);

impl WatchSlot {
    /// Polls what serves the response, then its watch. `None`: the response is cut off.
    #[inline]
    pub(super) fn poll_around<T>(
        &mut self,
        cx: &mut Context<'_>,
        serve: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Option<Poll<T>> {
        // What another body on this thread has left concerns another response.
        drop(OFFERED.take());
        let served = serve(cx);
        if let Some(offered) = OFFERED.take() {
            self.0 = Some(offered);
        }
        if let (Poll::Pending, Some(watch)) = (&served, &mut self.0) {
            match watch.as_mut().poll(cx) {
                Poll::Pending => {}
                Poll::Ready(Watched::Ended) => self.0 = None,
                Poll::Ready(Watched::Cut) => {
                    self.0 = None;
                    return None;
                }
            }
        }
        Some(served)
    }
}

/// hyper's task of a stream of HTTP/2. Dropped, it resets its stream.
#[pin_project]
pub(super) struct WatchedTask<F> {
    #[pin]
    inner: Option<F>,
    watch: WatchSlot,
}

impl<F> WatchedTask<F> {
    pub(super) fn new(inner: F) -> Self {
        Self {
            inner: Some(inner),
            watch: WatchSlot::default(),
        }
    }
}

impl<F: Future> Future for WatchedTask<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else {
            return Poll::Ready(());
        };
        match this.watch.poll_around(cx, |cx| inner.poll(cx)) {
            Some(Poll::Pending) => Poll::Pending,
            Some(Poll::Ready(_)) => Poll::Ready(()),
            None => {
                this.inner.set(None);
                Poll::Ready(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::sync::oneshot;

    use super::*;

    /// A response that is never taken, and that offers this watch.
    fn stuck(watch: Option<oneshot::Receiver<Watched>>) -> impl Future<Output = ()> {
        let mut watch = watch;
        poll_fn(move |_| {
            if let Some(watch) = watch.take() {
                watch_response(async { watch.await.unwrap_or(Watched::Cut) });
            }
            Poll::Pending
        })
    }

    #[tokio::test]
    async fn a_task_ends_when_its_watch_cuts_it_off() {
        let (says, watch) = oneshot::channel();
        let task = tokio::spawn(WatchedTask::new(stuck(Some(watch))));
        says.send(Watched::Cut).expect("it is watched");
        task.await.expect("it ends");
    }

    #[tokio::test]
    async fn a_response_that_has_ended_is_no_longer_watched() {
        let (says, watch) = oneshot::channel();
        let mut slot = WatchSlot::default();
        let mut response = Box::pin(stuck(Some(watch)));
        says.send(Watched::Ended).expect("a watch");
        let polled =
            poll_fn(|cx| Poll::Ready(slot.poll_around(cx, |cx| response.as_mut().poll(cx))));
        assert_eq!(polled.await, Some(Poll::Pending));
        assert!(slot.0.is_none());
    }

    #[tokio::test]
    async fn a_watch_that_was_offered_elsewhere_concerns_no_other_response() {
        watch_response(async { Watched::Cut });
        let mut slot = WatchSlot::default();
        let polled = poll_fn(|cx| Poll::Ready(slot.poll_around(cx, |_| Poll::<()>::Pending)));
        assert_eq!(polled.await, Some(Poll::Pending));
        assert!(slot.0.is_none());
    }
}
