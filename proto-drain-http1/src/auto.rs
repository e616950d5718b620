//! Graceful shutdown of hyper-util's auto connections, also while they wait for the first bytes
//! (feature `hyper-util`).

use std::error::Error as StdError;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::service::Service;
use hyper_util::server::conn::auto::{Connection, HttpServerConnExec, UpgradeableConnection};
use pin_project::pin_project;

use crate::close::GracefulShutdown;

impl<I, B, S, E> GracefulShutdown for Connection<'_, I, S, E>
where
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Future: 'static,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    I: Read + Write + Unpin + 'static,
    B: Body + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
    E: HttpServerConnExec<S::Future, B>,
{
    fn graceful_shutdown(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, B, S, E> GracefulShutdown for UpgradeableConnection<'_, I, S, E>
where
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Future: 'static,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    I: Read + Write + Unpin + Send + 'static,
    B: Body + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
    E: HttpServerConnExec<S::Future, B>,
{
    fn graceful_shutdown(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// An auto connection whose end is clean also if it was asked to leave before it knew its client's
/// version.
///
/// hyper-util then ends it with an error of kind [`Interrupted`](io::ErrorKind::Interrupted); here
/// that is `Ok`. Every other end is the connection's own.
///
/// An HTTP/2 client of it reads GOAWAY when the deadline is near; with proto-drain-h2 at its slot,
/// with the `drain_timeout` between the two GOAWAYs.
#[pin_project]
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct CleanEnd<C> {
    #[pin]
    connection: C,
    asked: bool,
}

impl<C> CleanEnd<C> {
    /// Wraps hyper-util's `Connection` or `UpgradeableConnection`.
    pub const fn new(connection: C) -> Self {
        Self {
            connection,
            asked: false,
        }
    }
}

type End = Result<(), Box<dyn StdError + Send + Sync>>;

impl<C: Future<Output = End>> Future for CleanEnd<C> {
    type Output = End;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End> {
        let this = self.project();
        let polled = this.connection.poll(cx);
        match polled {
            Poll::Ready(Err(error)) if *this.asked && is_interrupted(&*error) => {
                Poll::Ready(Ok(()))
            }
            polled => polled,
        }
    }
}

fn is_interrupted(error: &(dyn StdError + 'static)) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::Interrupted)
}

impl<C: GracefulShutdown<Output = End>> GracefulShutdown for CleanEnd<C> {
    fn graceful_shutdown(self: Pin<&mut Self>) {
        let this = self.project();
        *this.asked = true;
        this.connection.graceful_shutdown();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::future::Ready;

    impl GracefulShutdown for Ready<End> {
        fn graceful_shutdown(self: Pin<&mut Self>) {}
    }

    fn end(kind: io::ErrorKind, asked: bool) -> End {
        let ready = std::future::ready(Err(io::Error::from(kind).into()));
        let mut connection = CleanEnd::new(ready);
        if asked {
            Pin::new(&mut connection).graceful_shutdown();
        }
        connection.now_or_never().unwrap()
    }

    #[test]
    fn an_interruption_that_was_asked_for_is_clean_and_no_other_error() {
        assert!(end(io::ErrorKind::Interrupted, true).is_ok());
        assert!(end(io::ErrorKind::Interrupted, false).is_err());
        assert!(end(io::ErrorKind::ConnectionReset, true).is_err());
    }
}
