//! One runtime's share of the accepting: all sockets, in one future.

use std::fmt;
use std::future::Future;

use futures_util::StreamExt;
use futures_util::future::Either;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;

use super::Accepted;
use super::accept::{Shared, accept_loop};
use super::listening::Acceptor;
use crate::ListenerConfig;

/// Accepts on every socket, for the runtime that runs it. Any number of workers share the sockets:
/// each connection goes to one.
///
/// Create one for each runtime (several `current_thread` runtimes as well as one of many threads),
/// and run it there. A worker that is kept but never run delays the end of closed sockets; drop it
/// instead.
#[must_use = "a worker accepts nothing until it runs"]
pub struct Worker<C> {
    acceptors: Acceptors<C>,
    shared: Shared,
    number: usize,
}

impl<C> Worker<C> {
    pub(crate) fn new(acceptors: Acceptors<C>, shared: Shared, number: usize) -> Self {
        Self {
            acceptors,
            shared,
            number,
        }
    }

    /// Accepts, and hands every connection to `handler`, which must not block: it spawns, or passes
    /// on.
    ///
    /// Ends when the last [`Listeners`](crate::Listeners) handle is gone. A panic of `handler` is
    /// caught and reported to the observer; the connection is lost, the worker goes on.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops accepting in this worker; connections that wait go to other
    /// workers.
    ///
    /// # Panics
    ///
    /// If it is polled outside of a tokio runtime with I/O and time enabled.
    pub async fn run<F: Fn(Accepted<C>)>(self, handler: F)
    where
        C: ListenerConfig,
    {
        let (shared, number, handler) = (&self.shared, self.number, &handler);
        // Each is polled when it is woken, not whenever another one is: a connection that is
        // accepted looks for no new acceptor.
        let mut running = FuturesUnordered::new();
        running.push(Either::Left(next(self.acceptors)));
        while let Some(ended) = running.next().await {
            if let Some((acceptor, acceptors)) = ended {
                running.push(Either::Right(async move {
                    accept_loop(acceptor, shared, number, handler).await;
                    None
                }));
                running.push(Either::Left(next(acceptors)));
            }
        }
    }
}

type Acceptors<C> = mpsc::UnboundedReceiver<Acceptor<C>>;

/// The next acceptor, and those behind it.
async fn next<C>(mut acceptors: Acceptors<C>) -> Option<(Acceptor<C>, Acceptors<C>)> {
    let acceptor = acceptors.recv().await?;
    Some((acceptor, acceptors))
}

impl<C: ListenerConfig> Worker<C> {
    /// Accepts, and runs the future that `serve` makes of every connection as a task of its own.
    ///
    /// The connection counts as open until its future ends, whatever becomes of the guards in
    /// [`Accepted`]: they are also held here. [`run`](Self::run) is for those who do not spawn, or
    /// hold the guards themselves.
    ///
    /// ```
    /// # use listener_versions::{Accepted, ListenerConfig, Listeners};
    /// # fn example<C: ListenerConfig>(listeners: &Listeners<C>) {
    /// use tokio::io::AsyncWriteExt;
    ///
    /// let worker = listeners.worker().run_each(|mut accepted: Accepted<C>| async move {
    ///     tokio::select! {
    ///         greeted = accepted.stream.write_all(b"hello") => drop(greeted),
    ///         _ = accepted.watch.expired() => {}
    ///     }
    /// });
    /// # tokio::spawn(worker);
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// As [`run`](Self::run). Tasks that run go on.
    ///
    /// # Panics
    ///
    /// As [`run`](Self::run).
    pub async fn run_each<F, Served>(self, serve: F)
    where
        F: Fn(Accepted<C>) -> Served,
        Served: Future<Output = ()> + Send + 'static,
    {
        self.run(|accepted| {
            let guards = (accepted.watch.clone(), accepted.conn.clone());
            let served = serve(accepted);
            tokio::spawn(async move {
                served.await;
                drop(guards);
            });
        })
        .await;
    }
}

impl<C> fmt::Debug for Worker<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("number", &self.number)
            .field("new_sockets", &self.acceptors.len())
            .finish_non_exhaustive()
    }
}
