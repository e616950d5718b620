//! An HTTP connection from its first byte to its last, over hyper-util's auto connection.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use drain_signal::{Closed, drive_held};
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use proto_drain_h2::{H2Drain, H2DrainSettings, NoticeFirst, StreamsAtDeadline};
use proto_drain_http1::{
    CloseCounters, DrainService, Http1Settings, IdlePolicy, LingerIo, LingerSettings,
};
use proto_drain_tcp::{CopyOptions, TcpDrainPolicy};
use tokio::io::{AsyncRead, AsyncWrite};

use super::aging::Aging;
use super::auto::AutoConnection;
use super::ending::{Ending, EndingIo};
use super::jitter::Jitter;
use super::request::{ConnectionShown, Counted};
use super::socket::{has_plain_shutdown, tcp_under};
use super::timeout::HeadTimeoutIo;
use super::tracked::Tracked;
use super::{CodecType, Connection, HttpCounts, HttpTimeouts};

/// How the HTTP connections of one connection manager are served. One value for all of them; cheap to clone.
#[derive(Debug, Clone)]
pub struct HttpServer {
    builder: Builder<TokioExecutor>,
    http1: Http1Settings,
    http2: H2Drain,
    jitter: Option<Arc<Jitter>>,
    linger: LingerSettings,
    closes: Arc<Closes>,
    idle_timeout: Option<Duration>,
    max_connection_duration: Option<Duration>,
    request_timeout: Option<Duration>,
    shown: ConnectionShown,
    tunnels: CopyOptions,
    stats: Arc<dyn HttpCounts>,
}

impl HttpServer {
    /// A server with these timeouts (those of an HTTP connection manager), which counts into `stats`.
    pub fn new(codec: CodecType, timeouts: &HttpTimeouts, stats: Arc<dyn HttpCounts>) -> Self {
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new());
        builder.http2().timer(TokioTimer::new());
        // hyper's timer for the head would also run while a connection is idle.
        builder.http1().header_read_timeout(None);
        // A client may end its side after its request and still read the answer.
        builder.http1().half_close(true);
        envoys_limits(&mut builder);
        let builder = match codec {
            CodecType::Auto => builder,
            CodecType::Http1 => builder.http1_only(),
            CodecType::Http2 => builder.http2_only(),
        };
        Self {
            builder,
            http1: Http1Settings::default(),
            http2: H2Drain::new(
                H2DrainSettings::default()
                    .with_drain_timeout(timeouts.drain)
                    .with_delayed_close_timeout(timeouts.delayed_close),
            ),
            jitter: Jitter::up_to(timeouts.drain_jitter),
            linger: LingerSettings::default().with_delayed_close_timeout(timeouts.delayed_close),
            closes: Arc::default(),
            idle_timeout: timeouts.idle,
            max_connection_duration: timeouts.max_connection_duration,
            request_timeout: timeouts.request,
            shown: ConnectionShown::default(),
            tunnels: CopyOptions::new(),
            stats,
        }
    }

    /// The same server with other HTTP/1 drain settings (idle policy, bound for silent connections).
    #[must_use]
    pub const fn with_http1(mut self, http1: Http1Settings) -> Self {
        self.http1 = http1;
        self
    }

    /// The same server with other HTTP/2 drain settings.
    #[must_use]
    pub fn with_http2(mut self, http2: H2DrainSettings) -> Self {
        self.http2 = H2Drain::new(http2);
        self
    }

    /// The same server with Envoy 1.40's way out, as far as unmodified hyper allows it: an idle HTTP/1 connection is closed
    /// `drain_timeout` and `delayed_close_timeout` after its slot, one that has not spoken and a [tunnel](Self::tunnels) at
    /// their slots, and what is open at the deadline is cut without a word.
    #[must_use]
    pub fn with_envoy_1_40(mut self) -> Self {
        let http2 = self.http2.settings();
        let grace = http2.drain_timeout + http2.delayed_close_timeout;
        self.http1 = self
            .http1
            .with_idle(IdlePolicy::AfterGrace(grace))
            .with_pre_session_timeout(Some(Duration::ZERO))
            .with_at_deadline(proto_drain_http1::AtDeadline::Cut);
        let http2 = http2.clone();
        self.http2 = H2Drain::new(
            http2
                .with_first_bytes_timeout(Duration::ZERO)
                .with_at_deadline(StreamsAtDeadline::Cut),
        );
        self.tunnels = CopyOptions::new().with_policy(TcpDrainPolicy::AtSlot);
        self
    }

    /// The same server, which takes extended CONNECT ([RFC 8441](https://www.rfc-editor.org/rfc/rfc8441)): upgrades over HTTP/2.
    #[must_use]
    pub fn with_extended_connect(mut self) -> Self {
        self.builder.http2().enable_connect_protocol();
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
        self.builder
            .http1()
            .max_buf_size((bytes as usize).max(MAX_HEADER_BYTES as usize));
        self.builder.http2().max_send_buf_size(bytes as usize);
        self
    }

    /// The same server with other settings of hyper's builder: streams, frames, windows, limits of heads and of resets, keep-alive.
    /// What this server depends on (its timers, `half_close`, which codecs it speaks) is set again afterwards.
    #[must_use]
    pub fn with_hyper(mut self, settings: impl FnOnce(&mut Builder<TokioExecutor>)) -> Self {
        settings(&mut self.builder);
        self.builder
            .http1()
            .timer(TokioTimer::new())
            .half_close(true);
        self.builder.http1().header_read_timeout(None);
        self.builder.http2().timer(TokioTimer::new());
        self
    }

    /// The same server with the [`Connection`] in the extensions of these requests. Default: of all.
    #[must_use]
    pub const fn with_connection_shown(mut self, shown: ConnectionShown) -> Self {
        self.shown = shown;
        self
    }

    /// The same server with another bound on how many connections wait for their clients' end at a time, after the server's
    /// own; others are closed at once. Default 65 536.
    #[must_use]
    pub fn with_max_lingering(mut self, connections: u64) -> Self {
        self.linger = self.linger.with_max_lingering(connections);
        let http2 = self.http2.settings().clone();
        self.http2 = H2Drain::new(http2.with_max_lingering(connections));
        self
    }

    /// The drain timeout of the next HTTP/2 connection, if it is not the settings'.
    fn next_drain_timeout(&self) -> Option<Duration> {
        let jitter = self.jitter.as_ref()?;
        Some(self.http2.settings().drain_timeout + jitter.next())
    }

    pub(super) const fn request_timeout(&self) -> Option<Duration> {
        self.request_timeout
    }

    pub(super) const fn stats(&self) -> &Arc<dyn HttpCounts> {
        &self.stats
    }
}

/// How large the head of a request may be: Envoy's `max_request_headers_kb`, 60 KiB.
const MAX_HEADER_BYTES: u32 = 60 * 1024;

/// Envoy's limits where hyper's lose requests of streams that did nothing wrong.
fn envoys_limits(builder: &mut Builder<TokioExecutor>) {
    builder
        .http2()
        // Stalled uploads of a few streams must leave room for the others: 16 streams take the connection's window, not one.
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(16 << 20)
        .max_header_list_size(MAX_HEADER_BYTES)
        // Envoy bears 500 premature resets on a connection; hyper's 20 are one burst of cancels.
        .max_pending_accept_reset_streams(500);
}

/// How the connections of one server were closed, and how many of those that timed out are in the statistics.
#[derive(Debug, Default)]
struct Closes {
    counters: CloseCounters,
    counted: AtomicU64,
}

impl Closes {
    /// Brings the statistics up to date: a transport that outlived its connection's task is counted by the next one.
    fn count_into(&self, stats: &dyn HttpCounts) {
        let counts = self.counters.counts();
        let timed_out = counts.timed_out + counts.stalled;
        // Relaxed: each step of the maximum is counted by the one call that made it.
        let before = self.counted.fetch_max(timed_out, Ordering::Relaxed);
        for _ in before..timed_out {
            stats.delayed_close_timed_out();
        }
    }
}

/// Serves one HTTP connection to its end: told at its slot, led through its goodbye, closed at the deadline.
///
/// Wrap `service` in [`RequestTimeout`](super::RequestTimeout) to bound bodies as well as heads by the server's
/// `request_timeout`. `service` may borrow; its futures may not. It is asked for every request; the [`Connection`] is in the request's extensions, unless the server says otherwise. Upgrades work: keep a clone of
/// the connection in the tunnel's task, or use [`serve_tunnel`](super::serve_tunnel).
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
    let ending = Ending::new(&server.stats, &connection);
    let has_plain_shutdown = has_plain_shutdown(&io);
    let io = EndingIo::new(io, Arc::clone(&ending));
    let linger = LingerIo::new(io, server.linger, server.closes.counters.clone())
        .with_tcp(|io| tcp_under(io.get_ref()))
        .with_spawner(|lingering| {
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(lingering);
            }
        });
    let linger = match has_plain_shutdown {
        true => linger.with_plain_shutdown(),
        false => linger,
    };
    let exchanges = linger.exchanges().clone();
    connection.speaks_over(exchanges.clone());
    let auto = AutoConnection::new(
        linger,
        exchanges.clone(),
        server.http1,
        &server.http2,
        |io, parts| {
            let goaway = parts.handle();
            let own = connection.http_drain_timeout();
            if let Some(drain_timeout) = own.or_else(|| server.next_drain_timeout()) {
                goaway.set_gap(drain_timeout);
            }
            let io = HeadTimeoutIo::new(
                io,
                server.request_timeout,
                exchanges.clone(),
                goaway.clone(),
                Arc::clone(&server.stats),
            );
            let service = Counted::new(
                service,
                connection.clone(),
                Arc::clone(&server.stats),
                server.shown,
            );
            let service = parts.service(service);
            let service = DrainService::new(service, connection.clone(), exchanges);
            let drain = connection.drain().clone();
            let service = NoticeFirst::new(service, connection.clone(), drain, goaway.clone());
            server
                .builder
                .serve_connection_with_upgrades(TokioIo::new(io), service)
        },
    );
    let aging = Aging::new(
        auto,
        connection.clone(),
        ending,
        server.idle_timeout,
        server.max_connection_duration,
    );
    let tracked = Tracked::new(aging, connection.clone(), || server.stats.drain_started());
    let closed = connection
        .trace()
        .around(drive_held(tracked, connection.drain().clone()))
        .await;
    connection.ended(closed.cause, matches!(closed.output, Some(Err(_))));
    server.closes.count_into(&*server.stats);
    closed
}
