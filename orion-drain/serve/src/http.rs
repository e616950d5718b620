//! An HTTP connection from its first byte to its last, over hyper's connection of either version.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use drain_signal::{Closed, drive_held};
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service;
use proto_drain_h2::H2Shutdown;
use proto_drain_http1::IdlePolicy;
use proto_drain_tcp::{CopyOptions, TcpDrainPolicy};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::age::Age;
use super::aging::Aging;
use super::codec::HyperBuilders;
use super::composed::{AtDeadline, HttpConnection, HttpDrain, HttpIo, HttpParts, HttpService};
use super::ending::{Ending, EndingIo};
use super::jitter::Jitter;
use super::request::{ConnectionShown, Counted, RequestExtensions};
use super::socket::{has_plain_shutdown, tcp_under};
use super::stream::StreamTunnels;
use super::timeout::HeadTimeoutIo;
use super::tracked::Tracked;
use super::{CodecType, Connection, ConnectionAge, HttpCounts, HttpTimeouts};

/// How the HTTP connections of one connection manager are served. One value for all of them; cheap to clone.
#[derive(Debug, Clone)]
pub struct HttpServer {
    builders: HyperBuilders,
    codec: CodecType,
    drain: HttpDrain,
    jitter: Option<Arc<Jitter>>,
    /// How many of the closes that timed out are in the statistics.
    counted: Arc<AtomicU64>,
    idle_timeout: Option<Duration>,
    age: ConnectionAge,
    age_jitter: Option<Arc<Jitter>>,
    request_timeout: Option<Duration>,
    shown: ConnectionShown,
    extensions: Option<RequestExtensions>,
    tunnels: CopyOptions,
    stats: Arc<dyn HttpCounts>,
}

impl HttpServer {
    /// A server with these timeouts (those of an HTTP connection manager), which counts into `stats`.
    pub fn new(codec: CodecType, timeouts: &HttpTimeouts, stats: Arc<dyn HttpCounts>) -> Self {
        let mut builders = HyperBuilders::new();
        envoys_limits(&mut builders);
        Self {
            builders,
            codec,
            drain: HttpDrain::new()
                .with_drain_timeout(timeouts.drain)
                .with_delayed_close_timeout(timeouts.delayed_close),
            jitter: Jitter::up_to(timeouts.drain_jitter),
            counted: Arc::default(),
            idle_timeout: timeouts.idle,
            age: ConnectionAge::default().with_max_duration(timeouts.max_connection_duration),
            age_jitter: None,
            request_timeout: timeouts.request,
            shown: ConnectionShown::default(),
            extensions: None,
            tunnels: CopyOptions::new(),
            stats,
        }
    }

    /// The same server, whose connections leave as `change` says: policies of either version,
    /// bounds, what becomes of what is open at the deadline.
    #[must_use]
    pub fn with_drain(mut self, change: impl FnOnce(HttpDrain) -> HttpDrain) -> Self {
        self.drain = change(self.drain);
        self
    }

    /// The same server with Envoy 1.40's way out, as far as unmodified hyper allows it: an idle HTTP/1 connection is closed
    /// `drain_timeout` and `delayed_close_timeout` after its slot, one that has not spoken and a [tunnel](Self::tunnels) at
    /// their slots, and what is open at the deadline is cut without a word.
    #[must_use]
    pub fn with_envoy_1_40(mut self) -> Self {
        let http2 = self.drain.http2().settings().clone();
        let grace = http2.drain_timeout + http2.delayed_close_timeout;
        let http1 = self
            .drain
            .http1()
            .with_idle(IdlePolicy::AfterGrace(grace))
            .with_pre_session_timeout(Some(Duration::ZERO));
        self.drain = self
            .drain
            .with_http1(http1)
            .with_http2(http2.with_first_bytes_timeout(Duration::ZERO))
            .with_at_deadline(AtDeadline::Cut);
        self.tunnels = CopyOptions::new().with_policy(TcpDrainPolicy::AtSlot);
        self
    }

    /// The same server, which takes extended CONNECT ([RFC 8441](https://www.rfc-editor.org/rfc/rfc8441)): upgrades over HTTP/2.
    #[must_use]
    pub fn with_extended_connect(mut self) -> Self {
        self.builders.http2().enable_connect_protocol();
        self
    }

    /// How the tunnels of its connections (WebSocket, CONNECT) are relayed; for [`serve_tunnel`](super::serve_tunnel).
    pub const fn tunnels(&self) -> CopyOptions {
        self.tunnels
    }

    /// The same server with a bound on what is buffered per connection and direction (Envoy's
    /// `per_connection_buffer_limit_bytes`), as far as the codecs have one: at least what a head may take, 60 KiB, for HTTP/1.
    #[must_use]
    pub fn with_buffer_limit(mut self, bytes: u32) -> Self {
        self.builders
            .http1()
            .max_buf_size((bytes as usize).max(MAX_HEADER_BYTES as usize));
        self.builders.http2().max_send_buf_size(bytes as usize);
        self
    }

    /// The same server with other settings of hyper's builders: streams, frames, windows, limits of
    /// heads and of resets, keep-alive. What this server depends on (its timers, `half_close`) is
    /// set again afterwards.
    #[must_use]
    pub fn with_hyper(mut self, settings: impl FnOnce(&mut HyperBuilders)) -> Self {
        settings(&mut self.builders);
        self.builders.set_own();
        self
    }

    /// The same server of this codec: where ALPN has chosen it, nothing is looked for in the first
    /// bytes. A client that speaks the other one gets that codec's error.
    #[must_use]
    pub const fn for_codec(mut self, codec: CodecType) -> Self {
        self.codec = codec;
        self
    }

    /// The same server with other limits on the age of its connections: duration, jitter, grace,
    /// requests.
    #[must_use]
    pub fn with_age(mut self, age: ConnectionAge) -> Self {
        self.age_jitter = Jitter::up_to(age.jitter);
        self.age = age;
        self
    }

    /// The same server, which calls `insert` for every request: what it puts into the extensions is
    /// there for the handler. It runs on the connection's task and must not block; each value costs
    /// an allocation a request. Of several, all are called.
    ///
    /// Handlers of axum and tonic find the peer with the features `axum` and `tonic`:
    /// `with_axum_connect_info`, `with_tonic_connect_info`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use orion_drain_serve::HttpServer;
    /// #[derive(Clone)]
    /// struct Client(Option<std::net::SocketAddr>);
    ///
    /// # fn with_client(server: HttpServer) -> HttpServer {
    /// server.with_extensions(|connection, extensions| {
    ///     extensions.insert(Client(connection.peer()));
    /// })
    /// # }
    /// ```
    #[must_use]
    pub fn with_extensions(
        mut self,
        insert: impl Fn(&Connection, &mut http::Extensions) + Send + Sync + 'static,
    ) -> Self {
        let more = RequestExtensions::new(insert);
        self.extensions = Some(RequestExtensions::and(self.extensions.take(), more));
        self
    }

    /// The same server, whose requests have axum's `ConnectInfo<SocketAddr>`, where
    /// [`Connection::peer`] is known.
    #[cfg(feature = "axum")]
    #[must_use]
    pub fn with_axum_connect_info(self) -> Self {
        self.with_extensions(|connection, extensions| {
            if let Some(peer) = connection.peer() {
                extensions.insert(axum::extract::ConnectInfo(peer));
            }
        })
    }

    /// The same server, whose requests have tonic's `TcpConnectInfo`, for `Request::remote_addr`,
    /// where [`Connection::peer`] is known. Its local address is not asked for.
    #[cfg(feature = "tonic")]
    #[must_use]
    pub fn with_tonic_connect_info(self) -> Self {
        self.with_extensions(|connection, extensions| {
            extensions.insert(tonic::transport::server::TcpConnectInfo {
                local_addr: None,
                remote_addr: connection.peer(),
            });
        })
    }

    /// The same server with the [`Connection`] in the extensions of these requests. Default: of
    /// all.
    #[must_use]
    pub const fn with_connection_shown(mut self, shown: ConnectionShown) -> Self {
        self.shown = shown;
        self
    }

    /// The drain timeout of the next HTTP/2 connection, if it is not the settings'.
    fn next_drain_timeout(&self) -> Option<Duration> {
        let jitter = self.jitter.as_ref()?;
        Some(self.drain.http2().settings().drain_timeout + jitter.next())
    }

    pub(super) const fn request_timeout(&self) -> Option<Duration> {
        self.request_timeout
    }

    pub(super) const fn stats(&self) -> &Arc<dyn HttpCounts> {
        &self.stats
    }

    /// Brings the statistics up to date: a transport that outlived its connection's task is counted
    /// by the next one.
    fn count_closes(&self) {
        let (http1, http2) = (self.drain.closes().counts(), self.drain.http2().counts());
        let timed_out = http1.timed_out + http1.stalled + http2.timed_out + http2.stalled;
        // Relaxed: each step of the maximum is counted by the one call that made it.
        let before = self.counted.fetch_max(timed_out, Ordering::Relaxed);
        for _ in before..timed_out {
            self.stats.delayed_close_timed_out();
        }
    }
}

/// How large the head of a request may be: Envoy's `max_request_headers_kb`, 60 KiB.
const MAX_HEADER_BYTES: u32 = 60 * 1024;

/// Envoy's limits where hyper's lose requests of streams that did nothing wrong.
fn envoys_limits(builders: &mut HyperBuilders) {
    builders
        .http2()
        // Stalled uploads of a few streams must leave room for the others: 16 streams take the connection's window, not one.
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(16 << 20)
        .max_header_list_size(MAX_HEADER_BYTES)
        // Envoy bears 500 premature resets on a connection; hyper's 20 are one burst of cancels.
        .max_pending_accept_reset_streams(500);
}

/// Serves one HTTP connection to its end: informed at its slot, led through its goodbye, closed at
/// the deadline.
///
/// Wrap `service` in [`RequestTimeout`](super::RequestTimeout) to bound bodies as well as heads by
/// the server's `request_timeout`. `service` may borrow; its futures may not. It is asked for every
/// request; the [`Connection`] is in the request's extensions, unless the server says otherwise.
///
/// A connection that becomes a tunnel (101, 2xx to CONNECT) is served until its transport is
/// dropped, by whichever task has it: the drain waits for it, the registry lists it. Shortly before
/// the deadline its reads end, at the deadline its writes fail. A handler that relays it by
/// [`serve_tunnel`](super::serve_tunnel) leads it through the drain by itself.
///
/// # Cancel safety
///
/// Dropping the future closes the connection at once.
pub async fn serve_http<IO, S, B>(
    io: IO,
    service: S,
    connection: Connection,
    server: &HttpServer,
) -> Closed<Result<(), Box<dyn Error + Send + Sync>>>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    serve_codec(io, service, connection, server, CodecType::Auto).await
}

/// [`serve_http`] where ALPN has chosen this codec (`negotiated`): nothing is looked for in the
/// first bytes. A server that is [for one codec](HttpServer::for_codec) speaks that one.
///
/// # Cancel safety
///
/// As [`serve_http`]'s.
pub async fn serve_codec<IO, S, B>(
    io: IO,
    service: S,
    connection: Connection,
    server: &HttpServer,
    codec: CodecType,
) -> Closed<Result<(), Box<dyn Error + Send + Sync>>>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let codec = match server.codec {
        CodecType::Auto => codec,
        fixed => fixed,
    };
    let ending = Ending::new(&server.stats, &connection);
    let served = transport(io, &connection, server, &ending, |io, parts| {
        let service = self::service(service, &connection, server, &ending, parts);
        server.builders.serve(codec, io, service)
    });
    let led = led(served, &connection, server, &ending);
    let mut closed = connection
        .trace()
        .around(drive_held(led, connection.drain().clone()))
        .await;
    if let Some(tunnel) = ending.tunnel() {
        // Boxed: few connections become one.
        let led = Box::pin(tunnel.lead());
        closed.cause = connection.trace().around(led).await;
    }
    connection.ended(closed.cause, matches!(closed.output, Some(Err(_))));
    server.count_closes();
    closed
}

// One connection, from its socket to its service:
//
//   led         Tracked ── the steps of the drain in the registry and the statistics
//               Aging ──── idle_timeout, age
//   transport   HttpConnection ── HTTP/2's steps, around HTTP/1's
//               Codec ──── hyper, of the version that the client speaks
//               HeadTimeoutIo ─ request_timeout until the head is there
//               GoawayIo ─ both GOAWAYs at their time
//               LingerIo ─ the staged close
//               EndingIo ─ who was first to end it; keeps a tunnel open
//               the socket, or TLS over it
//   service     StreamTunnels ─ CONNECT over HTTP/2 counts until it ends
//               NoticeFirst ── the GOAWAY before the response that brings it about
//               DrainService ─ connection: close
//               ResetService ─ streams are reset at the deadline
//               Counted ────── requests counted, extensions, 101
//               the program's service

/// The transport, and the server over it.
fn transport<IO, C, E>(
    io: IO,
    connection: &Connection,
    server: &HttpServer,
    ending: &Arc<Ending>,
    serve: impl FnOnce(HeadTimeoutIo<HttpIo<EndingIo<IO>>>, &HttpParts<'_>) -> C,
) -> HttpConnection<C>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    C: H2Shutdown + Future<Output = Result<(), E>>,
{
    let has_plain_shutdown = has_plain_shutdown(&io);
    let io = EndingIo::new(io, Arc::clone(ending));
    fn tcp<IO: 'static>(io: &EndingIo<IO>) -> Option<&TcpStream> {
        tcp_under(io.get_ref())
    }
    server
        .drain
        .connection_over(io, tcp::<IO>, has_plain_shutdown, |io, parts| {
            connection.speaks_over(parts.exchanges().clone());
            let own = connection.http_drain_timeout();
            if let Some(drain_timeout) = own.or_else(|| server.next_drain_timeout()) {
                parts.goaway().set_gap(drain_timeout);
            }
            let io = HeadTimeoutIo::new(
                io,
                server.request_timeout,
                parts.exchanges().clone(),
                parts.goaway().clone(),
                Arc::clone(&server.stats),
            );
            serve(io, parts)
        })
}

/// What hyper asks for every request.
fn service<S>(
    inner: S,
    connection: &Connection,
    server: &HttpServer,
    ending: &Arc<Ending>,
    parts: &HttpParts<'_>,
) -> StreamTunnels<HttpService<Counted<S>, Connection>> {
    let counted = Counted::new(
        inner,
        connection.clone(),
        Arc::clone(ending),
        server.shown,
        server.extensions.clone(),
        server.age.last_request(),
    );
    let drain = connection.drain().clone();
    StreamTunnels::new(
        parts.service(counted, connection.clone(), drain),
        connection,
    )
}

/// The connection with its own limits, and what others learn of it.
fn led<C>(
    served: HttpConnection<C>,
    connection: &Connection,
    server: &HttpServer,
    ending: &Arc<Ending>,
) -> Tracked<Aging<HttpConnection<C>>, impl FnOnce() + use<C>> {
    let jitter = server.age_jitter.as_ref().map(|jitter| jitter.next());
    let aging = Aging::new(
        served,
        connection.clone(),
        Arc::clone(ending),
        server.idle_timeout,
        Age::new(&server.age, jitter.unwrap_or_default()),
    );
    let stats = Arc::clone(&server.stats);
    Tracked::new(aging, connection.clone(), move || stats.drain_started())
}
