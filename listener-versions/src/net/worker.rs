//! One runtime's share of the accepting: all sockets, in one future.

use std::fmt;
use std::future::poll_fn;
use std::task::Poll;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;

use super::Accepted;
use super::accept::{Shared, accept_loop};
use super::slot::Seat;

/// Accepts on every socket, for the runtime that runs it. Any number of workers share the sockets: each connection goes to one.
///
/// Create one for each runtime (several `current_thread` runtimes as well as one of many threads), and run it there. A worker that is
/// kept but never run delays the end of closed sockets; drop it instead.
#[must_use = "a worker accepts nothing until it runs"]
pub struct Worker<C> {
    seats: mpsc::UnboundedReceiver<Seat<C>>,
    shared: Shared,
    number: usize,
}

impl<C> Worker<C> {
    pub(crate) fn new(seats: mpsc::UnboundedReceiver<Seat<C>>, shared: Shared, number: usize) -> Self {
        Self {
            seats,
            shared,
            number,
        }
    }

    /// Accepts, and hands every connection to `handler`, which must not block: it spawns, or passes on.
    ///
    /// Ends when the last [`Listeners`](crate::Listeners) handle is gone. A panic of `handler` is caught and reported to the observer;
    /// the connection is lost, the worker goes on.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops accepting in this worker; connections that wait go to other workers.
    ///
    /// # Panics
    ///
    /// If it is polled outside of a tokio runtime with I/O and time enabled.
    pub async fn run<F: Fn(Accepted<C>)>(mut self, handler: F) {
        let (shared, number, handler) = (&self.shared, self.number, &handler);
        let seats = &mut self.seats;
        let mut loops = FuturesUnordered::new();
        let mut more = true;
        poll_fn(|cx| {
            while more {
                match seats.poll_recv(cx) {
                    Poll::Ready(Some(seat)) => loops.push(accept_loop(seat, shared, number, handler)),
                    Poll::Ready(None) => more = false,
                    Poll::Pending => break,
                }
            }
            loop {
                match loops.poll_next_unpin(cx) {
                    Poll::Ready(Some(())) => {}
                    Poll::Ready(None) if !more => return Poll::Ready(()),
                    Poll::Ready(None) | Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
    }
}

impl<C> fmt::Debug for Worker<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("number", &self.number)
            .field("new_sockets", &self.seats.len())
            .finish_non_exhaustive()
    }
}
