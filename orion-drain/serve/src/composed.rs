//! Both protocols' rules around one server of either version: hyper-util's auto connection, or any
//! other that knows its graceful shutdown. Transport, service and connection of one connection are
//! made together.
//!
//! The rules are the protocol crates'; this file only knows which of them to ask.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use drain_signal::{DrainDecision, DrainHandle, Goodbye, GracefulClose};
use pin_project::pin_project;
use proto_drain_h2::{
    GoawayHandle, GoawayIo, H2Connection, H2Parts, H2Shutdown, NoticeFirst, ResetService,
    StreamsAtDeadline, WireProtocol,
};
use proto_drain_http1::{
    DrainService, Exchanges, GracefulShutdown, Http1Connection, LingerIo, Outcome,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::HttpDrain;
use super::aging::CloseWhenIdle;
use super::socket::{has_plain_shutdown, tcp_under};

impl HttpDrain {
    /// A connection over `io`, whose first byte has not been read yet. `serve` makes the server
    /// over the wrapped transport, with a service from its [`HttpParts`].
    pub fn connection<IO, C, E>(
        &self,
        io: IO,
        serve: impl FnOnce(HttpIo<IO>, &HttpParts<'_>) -> C,
    ) -> HttpConnection<C>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        C: H2Shutdown + Future<Output = Result<(), E>>,
    {
        let has_plain_shutdown = has_plain_shutdown(&io);
        self.connection_over(io, tcp_under, has_plain_shutdown, serve)
    }

    /// [`Self::connection`] over a wrapper: how its socket is found, and whether there is no TLS
    /// above that.
    pub(super) fn connection_over<IO, C, E>(
        &self,
        io: IO,
        tcp: fn(&IO) -> Option<&TcpStream>,
        has_plain_shutdown: bool,
        serve: impl FnOnce(HttpIo<IO>, &HttpParts<'_>) -> C,
    ) -> HttpConnection<C>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        C: H2Shutdown + Future<Output = Result<(), E>>,
    {
        let linger = self.transport(io, tcp, has_plain_shutdown);
        let exchanges = linger.exchanges().clone();
        let http2 = self.http2.connection(linger, |io, http2| {
            let parts = HttpParts {
                exchanges: &exchanges,
                http2,
            };
            Http1Inside {
                http1: Http1Connection::new(
                    Asked(serve(io, &parts)),
                    exchanges,
                    Arc::clone(&self.http1),
                ),
                goaway: http2.handle().clone(),
                goodbye: None,
            }
        });
        HttpConnection {
            http2,
            cuts: self.http2.settings().at_deadline == StreamsAtDeadline::Cut,
            is_http2: false,
        }
    }

    /// A transport that closes in stages.
    pub(super) fn transport<IO>(
        &self,
        io: IO,
        tcp: fn(&IO) -> Option<&TcpStream>,
        has_plain_shutdown: bool,
    ) -> LingerIo<IO>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let linger = LingerIo::new(io, Arc::clone(&self.linger), self.closes.clone())
            .with_tcp(tcp)
            .with_spawner(|lingering| {
                if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                    runtime.spawn(lingering);
                }
            });
        match has_plain_shutdown {
            true => linger.with_plain_shutdown(),
            false => linger,
        }
    }
}

/// The transport of an [`HttpConnection`]: GOAWAYs, then the staged close, then the socket.
pub type HttpIo<IO> = GoawayIo<LingerIo<IO>>;

/// The service of an [`HttpConnection`]: the GOAWAY first, then `connection: close`, then streams
/// that can be reset.
pub type HttpService<S, D> = NoticeFirst<DrainService<ResetService<S>, D>, D>;

/// What transport, service and connection of one connection share.
#[derive(Debug)]
pub struct HttpParts<'a> {
    exchanges: &'a Exchanges,
    http2: &'a H2Parts,
}

impl HttpParts<'_> {
    /// The service of this connection, which informs its client. `decision` says whether the
    /// connection leaves; `drain` is its own.
    pub fn service<S, D>(&self, inner: S, decision: D, drain: DrainHandle) -> HttpService<S, D>
    where
        D: DrainDecision + Clone,
    {
        let service = self.http2.service(inner);
        let service = DrainService::new(service, decision.clone(), self.exchanges.clone());
        NoticeFirst::new(service, decision, drain, self.http2.handle().clone())
    }

    /// What its HTTP/1 parts know.
    pub const fn exchanges(&self) -> &Exchanges {
        self.exchanges
    }

    /// The handle of its GOAWAYs.
    pub fn goaway(&self) -> &GoawayHandle {
        self.http2.handle()
    }
}

/// A connection of either version, for [`drain_signal::drive`]; made by [`HttpDrain::connection`].
///
/// # Cancel safety
///
/// Dropping it drops the connection; its transport lingers.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
#[expect(missing_debug_implementations, reason = "a server's future")]
pub struct HttpConnection<C> {
    /// HTTP/2's steps, around HTTP/1's, around the server.
    #[pin]
    http2: H2Connection<Http1Inside<C>>,
    /// At the deadline the transport is gone at once, whatever is spoken.
    cuts: bool,
    is_http2: bool,
}

/// Asked by [`H2Connection`] to shut down when it is known what the client speaks.
#[pin_project]
struct Http1Inside<C> {
    #[pin]
    http1: Http1Connection<Asked<C>>,
    goaway: GoawayHandle,
    goodbye: Option<Box<Goodbye>>,
}

/// The server itself, for proto-drain-http1.
#[pin_project]
struct Asked<C>(#[pin] C);

impl<C> HttpConnection<C> {
    /// What its HTTP/1 parts know.
    pub fn exchanges(&self) -> &Exchanges {
        self.http2.get_ref().http1.exchanges()
    }

    /// The handle of its GOAWAYs.
    pub fn goaway(&self) -> &GoawayHandle {
        self.http2.handle()
    }

    fn speaks_http2(&self) -> bool {
        self.goaway().protocol() == WireProtocol::Http2
    }
}

impl<C, E> Future for HttpConnection<C>
where
    C: H2Shutdown + Future<Output = Result<(), E>>,
{
    type Output = Result<(), E>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.as_mut().project().http2.poll(cx);
        if !self.is_http2 && self.speaks_http2() {
            // Its own transport waits for the client's end, once.
            self.exchanges().owner_waits();
            *self.project().is_http2 = true;
        }
        polled
    }
}

impl<C, E> GracefulClose for HttpConnection<C>
where
    C: H2Shutdown + Future<Output = Result<(), E>>,
{
    fn start(self: Pin<&mut Self>, goodbye: &Goodbye) {
        let mut http2 = self.project().http2;
        *http2.as_mut().get_pin_mut().project().goodbye = Some(Box::new(goodbye.clone()));
        http2.start(goodbye);
    }

    fn finish(self: Pin<&mut Self>) {
        // HTTP/1 has nothing to finish before the deadline.
        self.project().http2.finish();
    }

    fn abort(self: Pin<&mut Self>) {
        let speaks_http2 = self.speaks_http2();
        let mut this = self.project();
        if speaks_http2 {
            this.http2.as_mut().abort();
        }
        if !speaks_http2 || *this.cuts {
            this.http2.get_pin_mut().project().http1.abort();
        }
    }
}

impl<C, E> CloseWhenIdle for HttpConnection<C>
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

    #[inline]
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

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        self.project().0.poll(cx)
    }
}

impl<C: H2Shutdown + Future> GracefulShutdown for Asked<C> {
    fn graceful_shutdown(self: Pin<&mut Self>) {
        self.project().0.graceful_shutdown();
    }
}
