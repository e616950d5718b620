//! The steps that the driver asks of a connection, and how any future becomes such a connection.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use pin_project::pin_project;

use crate::DrainEvent;

/// What a connection learns at its slot.
#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct Goodbye {
    /// The drain; `None` if this connection alone was signaled
    /// ([`DrainHandle::start_now`](crate::DrainHandle::start_now)).
    pub event: Option<Arc<DrainEvent>>,
    /// When it must be gone, as known now; `None`: the drain has no deadline.
    pub deadline: Option<Instant>,
}

/// A connection that can be asked to finish; as a future it runs to its end.
///
/// Implemented by the proto-drain crates for HTTP/1, HTTP/2 and TCP, and open for any other
/// protocol. The driver ([`drive`](crate::drive)) calls the three steps in order, each at most once
/// and none skipped, and polls the connection after each. None of them may block or wait.
///
/// # Examples
///
/// A connection that ends between two messages once its slot has come:
///
/// ```
/// use std::pin::Pin;
/// use std::task::{Context, Poll};
/// use drain_signal::{Goodbye, GracefulClose};
///
/// struct Chat { is_leaving: bool }
///
/// impl Future for Chat {
///     type Output = ();
///     fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
///         // .. serve; and between two messages:
///         if self.is_leaving { Poll::Ready(()) } else { Poll::Pending }
///     }
/// }
///
/// impl GracefulClose for Chat {
///     fn start(mut self: Pin<&mut Self>, goodbye: &Goodbye) {
///         println!("to be gone by {:?}", goodbye.deadline);
///         self.is_leaving = true; // the driver polls the connection next
///     }
/// }
/// ```
pub trait GracefulClose: Future {
    /// The slot has come: ask the client to finish, in the protocol's words, and go on serving.
    fn start(self: Pin<&mut Self>, goodbye: &Goodbye);

    /// The deadline is near ([`finish_before`](crate::CloseSteps::finish_before), 1 s by default):
    /// write what the protocol says last (HTTP/2: the final GOAWAY), close if idle.
    ///
    /// Default: nothing, for a protocol that has no such message.
    fn finish(self: Pin<&mut Self>) {}

    /// The deadline: reset what is still open, flush, close. The driver drops the connection soon
    /// afterwards.
    ///
    /// Default: nothing; the connection is dropped.
    fn abort(self: Pin<&mut Self>) {}
}

/// A future with the closure that is its `start` step: what [`graceful`] makes.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Graceful<F, G> {
    #[pin]
    future: F,
    goodbye: Option<G>,
}

/// Makes a [`GracefulClose`] of any future: at the slot `goodbye` is called with the future, once,
/// and the future is polled on. It has no `finish` and no `abort`: at the deadline it is dropped.
///
/// # Examples
///
/// ```
/// use std::pin::Pin;
/// use std::time::Duration;
/// use drain_signal::{CloseCause, DrainEvent, DrainReason, DrainStrategy, drive, graceful};
/// # use tokio::time::Instant;
/// # /// A connection as hyper's.
/// # struct Connection(bool);
/// # impl Connection { fn graceful_shutdown(self: Pin<&mut Self>) { self.get_mut().0 = true; } }
/// # impl Future for Connection {
/// #     type Output = ();
/// #     fn poll(self: Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<()> {
/// #         if self.0 { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
/// #     }
/// # }
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), drain_signal::DrainCompleted> {
/// # let connection = Connection(false);
/// let (trigger, signal) = drain_signal::channel();
/// let connection = graceful(connection, |connection: Pin<&mut Connection>, _| connection.graceful_shutdown());
/// let served = tokio::spawn(drive(connection, signal.watch()?));
///
/// let start = Instant::now().into_std();
/// let event = DrainEvent::new(start, Duration::from_secs(60), DrainReason::ProcessShutdown)
///     .with_strategy(DrainStrategy::Immediate);
/// # tokio::task::yield_now().await;
/// trigger.start(event).advance(start);
/// assert!(matches!(served.await, Ok(closed) if closed.cause == CloseCause::Drained));
/// # Ok(()) }
/// ```
pub const fn graceful<F, G>(future: F, goodbye: G) -> Graceful<F, G>
where
    F: Future,
    G: FnOnce(Pin<&mut F>, &Goodbye),
{
    Graceful {
        future,
        goodbye: Some(goodbye),
    }
}

impl<F: Future, G> Future for Graceful<F, G> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().future.poll(cx)
    }
}

impl<F: Future, G: FnOnce(Pin<&mut F>, &Goodbye)> GracefulClose for Graceful<F, G> {
    fn start(self: Pin<&mut Self>, goodbye: &Goodbye) {
        let this = self.project();
        if let Some(say) = this.goodbye.take() {
            say(this.future, goodbye);
        }
    }
}
