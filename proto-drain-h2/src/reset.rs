//! Resets at the deadline: who orders them, and how a stream waits for the order.

use crate::drain::H2Drain;
use crate::handle::GoawayHandle;
use crate::stream::{ResetBody, ResetFuture, ResetService, StreamError};
use std::mem;
use std::panic::catch_unwind;
use std::task::{Context, Poll, Waker};

/// Resets the streams of one connection, all at once and once.
///
/// Wrap the connection's service (or its response futures and bodies, in another service stack)
/// with the handle that [`H2Drain::connection`](crate::H2Drain::connection) gives for it. hyper
/// turns an error with an [`h2::Error`] among its sources into RST_STREAM with that error's reason,
/// for a response that has not begun as for a body under way. Clones belong to the same connection;
/// dropping them resets nothing.
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
#[derive(Clone, Debug)]
pub struct ResetHandle {
    connection: GoawayHandle,
}

impl Default for ResetHandle {
    fn default() -> Self {
        Self::new()
    }
}

impl ResetHandle {
    /// A handle for a new connection.
    #[must_use]
    pub fn new() -> Self {
        Self::of(GoawayHandle::new(&H2Drain::default()))
    }

    pub(crate) const fn of(connection: GoawayHandle) -> Self {
        Self { connection }
    }

    /// Resets every stream now, and those that are opened later.
    pub fn reset(&self) {
        self.connection.set_reset();
        // From here on no stream puts its waker in: behind the lock it sees that.
        let mut waiting = self.connection.waiting();
        let resets = waiting
            .as_mut()
            .map(|waiting| mem::take(&mut waiting.resets));
        drop(waiting);
        for (_, waker) in resets.into_iter().flatten() {
            // The panic is the executor's, and the panic hook reports it: no other stream, and not
            // the close of the connection, goes without its turn by it.
            catch_unwind(|| waker.wake()).ok();
        }
    }

    /// Whether the streams have been reset.
    #[must_use]
    pub fn is_reset(&self) -> bool {
        self.connection.is_reset()
    }

    /// Resolves when the streams are reset: for streams that have neither response future nor body
    /// any more, as tunnels after CONNECT. A tunnel that is dropped then is reset like the others.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is consumed.
    pub async fn wait(&self) {
        let mut wait = self.stream();
        std::future::poll_fn(|cx| wait.poll(cx)).await;
    }

    /// A stream that can be reset, for services that have futures and bodies of their own.
    #[must_use]
    pub fn stream(&self) -> ResetStream {
        self.connection.reset_stream()
    }

    /// A hyper service whose streams can be reset.
    pub fn service<S>(&self, inner: S) -> ResetService<S> {
        ResetService::new(inner, self.clone())
    }

    /// A response future that can be reset.
    pub fn response<F>(&self, inner: F) -> ResetFuture<F> {
        ResetFuture::new(inner, self.stream())
    }

    /// A body that can be reset.
    pub fn body<B>(&self, inner: B) -> ResetBody<B> {
        ResetBody::new(inner, self.stream())
    }
}

/// The wait of one stream for its reset; made by [`ResetHandle::stream`]. It registers only when
/// there is something to wait for: most responses are ready at once.
#[derive(Debug)]
pub struct ResetStream {
    connection: GoawayHandle,
    /// Where the task's waker is kept; `NOWHERE` as long as it is not. Two words in every stream's
    /// future, not three.
    place: u32,
}

const NOWHERE: u32 = u32::MAX;

impl ResetStream {
    #[inline]
    pub(crate) const fn of(connection: GoawayHandle) -> Self {
        Self {
            connection,
            place: NOWHERE,
        }
    }

    /// The error to end with, once the stream is reset. A body that always has more asks before
    /// each frame.
    #[must_use]
    pub fn error(&self) -> Option<StreamError> {
        self.is_reset().then(StreamError::reset)
    }

    /// Ready with the error to end with when the stream is reset; asked where the stream has
    /// nothing to do.
    pub fn poll_reset(&mut self, cx: &Context<'_>) -> Poll<StreamError> {
        self.poll(cx).map(|()| StreamError::reset())
    }

    #[inline]
    pub(crate) fn is_reset(&self) -> bool {
        self.connection.is_reset()
    }

    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.is_registered(cx.waker()) {
            return Poll::Pending;
        }
        // No waker is cloned, woken or dropped under the lock: it may be anyone's code.
        let mut waker = Some(cx.waker().clone());
        let mut waiting = self.connection.waiting();
        // Behind the lock, which a reset takes after it has set the flag: it finds this waker, or
        // is found here.
        let is_reset = self.is_reset();
        if !is_reset {
            let known = waiting.as_deref_mut();
            match known.and_then(|waiting| waiting.resets.get_mut(self.place as usize)) {
                Some(known) => waker = waker.map(|waker| mem::replace(known, waker)),
                // A connection has 2^31 streams in its life.
                None => {
                    let resets = &mut waiting.get_or_insert_default().resets;
                    self.place = waker
                        .take()
                        .map_or(NOWHERE, |waker| resets.insert(waker) as u32)
                }
            }
        }
        drop(waiting);
        drop(waker);
        if is_reset {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Whether a reset finds this waker already. One that has come since has taken it out.
    fn is_registered(&self, waker: &Waker) -> bool {
        let waiting = self.connection.waiting();
        let known = waiting.as_deref();
        let known = known.and_then(|waiting| waiting.resets.get(self.place as usize));
        known.is_some_and(|known| known.will_wake(waker))
    }
}

impl Drop for ResetStream {
    fn drop(&mut self) {
        if self.place != NOWHERE {
            let mut waiting = self.connection.waiting();
            let waiters = waiting.as_deref_mut();
            let removed =
                waiters.and_then(|waiting| waiting.resets.try_remove(self.place as usize));
            drop(waiting);
            drop(removed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StreamError;
    use http::Response;
    use std::future::Future;
    use std::future::pending;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Wake;

    fn waiting(resets: &ResetHandle) -> usize {
        resets
            .connection
            .waiting()
            .as_deref()
            .map_or(0, |waiting| waiting.resets.len())
    }

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
            assert_eq!(waiting(&resets), 2);
        }
        assert_eq!(waiting(&resets), 0);
    }

    /// A waker that waits for the same reset whenever it is woken or dropped: under a lock it would
    /// hang.
    struct WaitsToo(ResetHandle);

    impl WaitsToo {
        fn wait(&self) {
            let mut wait = self.0.stream();
            let cx = Context::from_waker(Waker::noop());
            assert_eq!(wait.poll(&cx).is_ready(), self.0.is_reset());
        }
    }

    impl Wake for WaitsToo {
        fn wake(self: Arc<Self>) {
            self.wait();
        }
    }

    impl Drop for WaitsToo {
        fn drop(&mut self) {
            self.wait();
        }
    }

    #[test]
    fn a_waker_may_wait_for_the_reset_that_wakes_replaces_or_drops_it() {
        let resets = ResetHandle::new();
        let wait = |waits: &mut ResetStream| {
            let waker = Waker::from(Arc::new(WaitsToo(resets.clone())));
            assert!(waits.poll(&Context::from_waker(&waker)).is_pending());
        };
        let [mut replaced, mut dropped] = [(); 2].map(|()| resets.stream());
        wait(&mut replaced);
        wait(&mut replaced);
        wait(&mut dropped);
        drop(dropped);
        resets.reset();
        assert!(
            replaced
                .poll(&Context::from_waker(Waker::noop()))
                .is_ready()
        );
    }

    struct Panics;

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            std::panic::resume_unwind(Box::new("woken"));
        }
    }

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_waker_that_panics_keeps_nothing_else_from_the_reset() {
        let resets = ResetHandle::new();
        let woken = Arc::new(Woken::default());
        let [mut first, mut second] = [(); 2].map(|()| resets.stream());
        let wakers = [
            Waker::from(Arc::new(Panics)),
            Waker::from(Arc::clone(&woken)),
        ];
        for (wait, waker) in [&mut first, &mut second].into_iter().zip(&wakers) {
            assert!(wait.poll(&Context::from_waker(waker)).is_pending());
        }
        resets.reset();
        assert!(woken.0.load(Ordering::Relaxed));
    }
}
