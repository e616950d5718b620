//! hyper-util's auto connection, let go in the words of whichever version its client turns out to speak.
//!
//! The rules are the protocol crates'; this file only knows which of them to ask.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::aging::CloseWhenIdle;
use drain_signal::{Goodbye, GracefulClose};
use pin_project::pin_project;
use proto_drain_h2::{
    GoawayHandle, GoawayIo, H2Connection, H2Drain, H2Parts, H2Shutdown, StreamsAtDeadline,
    WireProtocol,
};
use proto_drain_http1::{Exchanges, GracefulShutdown, Http1Connection, Http1Settings, Outcome};

/// A connection of either version.
#[pin_project]
pub(super) struct AutoConnection<C> {
    /// HTTP/2's steps, around HTTP/1's, around the server.
    #[pin]
    http2: H2Connection<Http1Inside<C>>,
    goaway: GoawayHandle,
    /// At the deadline the transport is gone at once, whatever is spoken.
    cuts: bool,
}

/// Asked by [`H2Connection`] to shut down when it is known what the client speaks.
#[pin_project]
struct Http1Inside<C> {
    #[pin]
    http1: Http1Connection<Asked<C>>,
    goaway: GoawayHandle,
    goodbye: Option<Goodbye>,
}

/// The server itself; the newtype carries hyper-util's method to proto-drain-http1.
#[pin_project]
struct Asked<C>(#[pin] C);

impl<C, E> AutoConnection<C>
where
    C: H2Shutdown + Future<Output = Result<(), E>>,
{
    /// A connection over `io`; `serve` makes its server.
    pub(super) fn new<IO>(
        io: IO,
        exchanges: Exchanges,
        http1: Http1Settings,
        http2: &H2Drain,
        serve: impl FnOnce(GoawayIo<IO>, &H2Parts) -> C,
    ) -> Self {
        let cuts = http2.settings().at_deadline == StreamsAtDeadline::Cut;
        let http2 = http2.connection(io, |io, parts| Http1Inside {
            http1: Http1Connection::new(Asked(serve(io, parts)), exchanges, http1),
            goaway: parts.handle().clone(),
            goodbye: None,
        });
        Self {
            goaway: http2.handle().clone(),
            http2,
            cuts,
        }
    }
}

impl<C, E> Future for AutoConnection<C>
where
    C: H2Shutdown + Future<Output = Result<(), E>>,
{
    type Output = Result<(), E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().http2.poll(cx)
    }
}

impl<C, E> GracefulClose for AutoConnection<C>
where
    C: H2Shutdown + Future<Output = Result<(), E>>,
{
    fn start(self: Pin<&mut Self>, goodbye: &Goodbye) {
        let mut http2 = self.project().http2;
        *http2.as_mut().get_pin_mut().project().goodbye = Some(goodbye.clone());
        http2.start(goodbye);
    }

    fn finish(self: Pin<&mut Self>) {
        // HTTP/1 has nothing to finish before the deadline.
        self.project().http2.finish();
    }

    fn abort(self: Pin<&mut Self>) {
        let mut this = self.project();
        let speaks_http2 = this.goaway.protocol() == WireProtocol::Http2;
        if speaks_http2 {
            this.http2.as_mut().abort();
        }
        if !speaks_http2 || *this.cuts {
            this.http2.get_pin_mut().project().http1.abort();
        }
    }
}

impl<C, E> CloseWhenIdle for AutoConnection<C>
where
    C: H2Shutdown + Future<Output = Result<(), E>>,
{
    fn close_when_idle(self: Pin<&mut Self>) {
        let http1 = self.project().http2.get_pin_mut().project().http1;
        http1.close_when_idle();
    }
}

impl<C, E> Future for Http1Inside<C>
where
    C: H2Shutdown + Future<Output = Result<(), E>>,
{
    type Output = Result<(), E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // An aborted HTTP/1 connection has come to its end, like any other.
        self.project().http1.poll(cx).map(|outcome| match outcome {
            Outcome::Ended(result) => result,
            _ => Ok(()),
        })
    }
}

impl<C, E> H2Shutdown for Http1Inside<C>
where
    C: H2Shutdown + Future<Output = Result<(), E>>,
{
    fn graceful_shutdown(self: Pin<&mut Self>) {
        let this = self.project();
        match (this.goaway.protocol(), this.goodbye.take()) {
            (WireProtocol::Other, Some(goodbye)) => this.http1.start(&goodbye),
            _ => {
                if let Some(server) = this.http1.get_pin_mut() {
                    server.graceful_shutdown();
                }
            }
        }
    }
}

impl<C: Future> Future for Asked<C> {
    type Output = C::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        self.project().0.poll(cx)
    }
}

impl<C: H2Shutdown + Future> GracefulShutdown for Asked<C> {
    fn graceful_shutdown(self: Pin<&mut Self>) {
        self.project().0.graceful_shutdown();
    }
}
