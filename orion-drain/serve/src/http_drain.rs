//! How HTTP connections leave, in either version: the settings of both protocols, given once.

use std::sync::Arc;
use std::time::Duration;

use proto_drain_h2::{H2Drain, H2DrainSettings, StreamsAtDeadline};
use proto_drain_http1::{CloseCounters, Http1Settings, LingerSettings};

/// What becomes of what is open at the deadline, in either version.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum AtDeadline {
    /// Streams of HTTP/2 are reset, idle connections are closed, others dropped, and their
    /// transports linger. The default.
    #[default]
    Steps,
    /// Every transport is closed at once, as Envoy 1.40 does.
    Cut,
}

/// How the connections of a server leave, of either version. One value for all of them; cheap to
/// clone.
///
/// [`HttpServer`](super::HttpServer) has one. By itself it is for programs that make their servers
/// by hyper-util's builder:
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "auto")]
/// # mod example {
/// use std::convert::Infallible;
///
/// use drain_signal::{Closed, DrainWatch, drive};
/// use http::{Request, Response};
/// use http_body_util::Full;
/// use hyper::body::{Bytes, Incoming};
/// use hyper::service::service_fn;
/// use hyper_util::rt::{TokioExecutor, TokioIo};
/// use hyper_util::server::conn::auto::Builder;
/// use orion_drain_serve::HttpDrain;
/// use tokio::net::TcpStream;
///
/// async fn serve(socket: TcpStream, watch: DrainWatch, leaving: HttpDrain) {
///     let builder = Builder::new(TokioExecutor::new());
///     let hello = service_fn(async |_: Request<Incoming>| {
///         Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("hello"))))
///     });
///     let connection = leaving.connection(socket, |io, parts| {
///         let service = parts.service(hello, watch.handle(), watch.handle());
///         builder.serve_connection_with_upgrades(TokioIo::new(io), service)
///     });
///     let closed = drive(connection, watch).await;
///     println!("{:?}", closed.cause);
/// }
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct HttpDrain {
    pub(super) http1: Arc<Http1Settings>,
    pub(super) http2: H2Drain,
    pub(super) linger: Arc<LingerSettings>,
    pub(super) closes: CloseCounters,
}

impl HttpDrain {
    /// With the defaults of both versions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the time between the two GOAWAYs: Envoy's `drain_timeout`. Default 5 s.
    #[must_use]
    pub fn with_drain_timeout(self, timeout: Duration) -> Self {
        let http2 = self.http2.settings().clone();
        self.with_http2(http2.with_drain_timeout(timeout))
    }

    /// Sets how long a close waits for the client, in either version: Envoy's
    /// `delayed_close_timeout`. Default 1 s.
    #[must_use]
    pub fn with_delayed_close_timeout(mut self, timeout: Duration) -> Self {
        self.linger = Arc::new(self.linger.with_delayed_close_timeout(timeout));
        let http2 = self.http2.settings().clone();
        self.with_http2(http2.with_delayed_close_timeout(timeout))
    }

    /// Sets how many connections wait for their clients' end at a time, after the server's own;
    /// others are closed at once. Default 65 536 of either version.
    #[must_use]
    pub fn with_max_lingering(mut self, connections: u64) -> Self {
        self.linger = Arc::new(self.linger.with_max_lingering(connections));
        let http2 = self.http2.settings().clone();
        self.with_http2(http2.with_max_lingering(connections))
    }

    /// Sets what becomes of what is open at the deadline, in either version.
    #[must_use]
    pub fn with_at_deadline(mut self, at_deadline: AtDeadline) -> Self {
        let (http1, http2) = match at_deadline {
            AtDeadline::Steps => (
                proto_drain_http1::AtDeadline::Linger,
                StreamsAtDeadline::ResetStreams,
            ),
            AtDeadline::Cut => (proto_drain_http1::AtDeadline::Cut, StreamsAtDeadline::Cut),
        };
        self.http1 = Arc::new(self.http1.with_at_deadline(http1));
        let settings = self.http2.settings().clone();
        self.with_http2(settings.with_at_deadline(http2))
    }

    /// Sets everything of HTTP/1.
    #[must_use]
    pub fn with_http1(mut self, settings: Http1Settings) -> Self {
        self.http1 = Arc::new(settings);
        self
    }

    /// Sets everything of HTTP/2. Connections that were made before are no longer in
    /// [`H2Drain::counts`].
    #[must_use]
    pub fn with_http2(mut self, settings: H2DrainSettings) -> Self {
        self.http2 = H2Drain::new(settings);
        self
    }

    /// What is set for HTTP/1.
    pub fn http1(&self) -> Http1Settings {
        *self.http1
    }

    /// What is set for HTTP/2, and how such connections were closed.
    pub const fn http2(&self) -> &H2Drain {
        &self.http2
    }

    /// How connections were closed whose client spoke HTTP/1, or was dropped.
    pub const fn closes(&self) -> &CloseCounters {
        &self.closes
    }
}
