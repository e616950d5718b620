//! Resets at the deadline: who orders them, and how a stream waits for the order.

use crate::stream::{ResetBody, ResetFuture, ResetService};
use slab::Slab;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
        ResetService::new(inner, self.clone())
    }

    /// A response future that can be reset.
    pub fn response<F>(&self, inner: F) -> ResetFuture<F> {
        ResetFuture::new(inner, Wait::new(self))
    }

    /// A body that can be reset.
    pub fn body<B>(&self, inner: B) -> ResetBody<B> {
        ResetBody::new(inner, Wait::new(self))
    }
}

/// The wait for a reset. It registers only when there is something to wait for: most responses are ready at once.
#[derive(Debug)]
pub(crate) struct Wait {
    shared: Arc<Shared>,
    /// Where the task's waker is kept; `NOWHERE` as long as it is not. Two words in every stream's future, not three.
    place: u32,
}

const NOWHERE: u32 = u32::MAX;

impl Wait {
    pub(crate) fn is_reset(&self) -> bool {
        self.shared.reset.load(Ordering::Acquire)
    }

    fn new(resets: &ResetHandle) -> Self {
        Self {
            shared: Arc::clone(&resets.shared),
            place: NOWHERE,
        }
    }

    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StreamError;
    use http::Response;
    use std::future::Future;
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
