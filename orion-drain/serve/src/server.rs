//! How HTTP connections are served: codec, timeouts, limits, statistics, and what handlers are
//! shown.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proto_drain_http1::IdlePolicy;
use proto_drain_tcp::{CopyOptions, TcpDrainPolicy};

use super::codec::HyperBuilders;
use super::http_drain::{AtDeadline, HttpDrain};
use super::jitter::Jitter;
use super::request::{ConnectionShown, RequestExtensions, RequestSettings};
use super::{CodecType, Connection, ConnectionAge, HttpCounts, HttpTimeouts};

/// How the HTTP connections of one connection manager are served. One value for all of them; cheap
/// to clone.
#[derive(Debug, Clone)]
pub struct HttpServer {
    pub(super) builders: Arc<HyperBuilders>,
    pub(super) codec: CodecType,
    pub(super) drain: HttpDrain,
    pub(super) jitter: Option<Arc<Jitter>>,
    /// How many of the closes that timed out are in the statistics.
    pub(super) counted: Arc<AtomicU64>,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) age: ConnectionAge,
    pub(super) age_jitter: Option<Arc<Jitter>>,
    pub(super) head_timeout: Option<Duration>,
    pub(super) requests: Arc<RequestSettings>,
    pub(super) tunnels: CopyOptions,
}

impl HttpServer {
    /// A server with these timeouts (those of an HTTP connection manager), which counts into
    /// `stats`.
    pub fn new(codec: CodecType, timeouts: &HttpTimeouts, stats: Arc<dyn HttpCounts>) -> Self {
        let mut builders = HyperBuilders::new();
        envoys_limits(&mut builders);
        Self {
            builders: Arc::new(builders),
            codec,
            drain: HttpDrain::new()
                .with_drain_timeout(timeouts.drain)
                .with_delayed_close_timeout(timeouts.delayed_close),
            jitter: Jitter::up_to(timeouts.drain_jitter),
            counted: Arc::default(),
            idle_timeout: timeouts.idle,
            age: ConnectionAge::default().with_max_duration(timeouts.max_connection_duration),
            age_jitter: None,
            head_timeout: timeouts.request,
            requests: Arc::new(RequestSettings::new(timeouts.request, stats)),
            tunnels: CopyOptions::new(),
        }
    }

    /// The same server, whose connections leave as `change` says: policies of either version,
    /// bounds, what becomes of what is open at the deadline.
    #[must_use]
    pub fn with_drain(mut self, change: impl FnOnce(HttpDrain) -> HttpDrain) -> Self {
        self.drain = change(self.drain);
        self
    }

    /// The same server with Envoy 1.40's way out, as far as unmodified hyper allows it: an idle
    /// HTTP/1 connection is closed `drain_timeout` and `delayed_close_timeout` after its slot, one
    /// that has not spoken and a [tunnel](Self::tunnels) at their slots, and what is open at the
    /// deadline is cut without a word.
    #[must_use]
    pub fn with_envoy_1_40(mut self) -> Self {
        let http2 = self.drain.http2().settings().clone();
        let grace = http2
            .drain_timeout
            .saturating_add(http2.delayed_close_timeout);
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

    /// The same server with a bound on the time from the first byte of an HTTP/1 request to the end
    /// of its head; then 408. Default: `request` of the timeouts.
    #[must_use]
    pub const fn with_head_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.head_timeout = timeout;
        self
    }

    /// The same server, which takes extended CONNECT ([RFC
    /// 8441](https://www.rfc-editor.org/rfc/rfc8441)): upgrades over HTTP/2.
    #[must_use]
    pub fn with_extended_connect(mut self) -> Self {
        self.builders().http2().enable_connect_protocol();
        self
    }

    /// How the tunnels of its connections (WebSocket, CONNECT) are relayed; for
    /// [`serve_tunnel`](super::serve_tunnel).
    pub const fn tunnels(&self) -> CopyOptions {
        self.tunnels
    }

    /// The same server with a bound on what is buffered per connection and direction (Envoy's
    /// `per_connection_buffer_limit_bytes`), as far as the codecs have one: at least what a head
    /// may take, 60 KiB, for HTTP/1.
    #[must_use]
    pub fn with_buffer_limit(mut self, bytes: u32) -> Self {
        let builders = self.builders();
        builders
            .http1()
            .max_buf_size((bytes as usize).max(MAX_HEADER_BYTES as usize));
        builders.http2().max_send_buf_size(bytes as usize);
        self
    }

    /// The same server with other settings of hyper's builders: streams, frames, windows, limits of
    /// heads and of resets, keep-alive. What this server depends on (its timers, `half_close`) is
    /// set again afterwards.
    #[must_use]
    pub fn with_hyper(mut self, settings: impl FnOnce(&mut HyperBuilders)) -> Self {
        let builders = self.builders();
        settings(builders);
        builders.set_own();
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
        self.requests().last = age.last_request();
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
        let requests = self.requests();
        requests.extensions = Some(RequestExtensions::and(requests.extensions.take(), more));
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
    pub fn with_connection_shown(mut self, shown: ConnectionShown) -> Self {
        self.requests().shown = shown;
        self
    }

    fn builders(&mut self) -> &mut HyperBuilders {
        Arc::make_mut(&mut self.builders)
    }

    fn requests(&mut self) -> &mut RequestSettings {
        Arc::make_mut(&mut self.requests)
    }

    /// The drain timeout of the next HTTP/2 connection, if it is not the settings'.
    pub(super) fn next_drain_timeout(&self) -> Option<Duration> {
        let jitter = self.jitter.as_ref()?;
        let drain_timeout = self.drain.http2().settings().drain_timeout;
        Some(drain_timeout.saturating_add(jitter.next()))
    }

    /// Brings the statistics up to date: a transport that outlived its connection's task is counted
    /// by the next one.
    pub(super) fn count_closes(&self) {
        let (http1, http2) = (self.drain.closes().counts(), self.drain.http2().counts());
        let timed_out = http1.timed_out + http1.stalled + http2.timed_out + http2.stalled;
        // Relaxed: each step of the maximum is counted by the one call that made it. Nearly every
        // close only reads.
        if self.counted.load(Ordering::Relaxed) >= timed_out {
            return;
        }
        let before = self.counted.fetch_max(timed_out, Ordering::Relaxed);
        for _ in before..timed_out {
            self.requests.stats.delayed_close_timed_out();
        }
    }
}

/// Either version, by ALPN or the first bytes; [`HttpTimeouts::default`]; counts nothing.
impl Default for HttpServer {
    fn default() -> Self {
        Self::new(CodecType::Auto, &HttpTimeouts::default(), Arc::new(()))
    }
}

impl AsRef<Self> for HttpServer {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// How large the head of a request may be: Envoy's `max_request_headers_kb`, 60 KiB.
const MAX_HEADER_BYTES: u32 = 60 * 1024;

/// Envoy's limits where hyper's lose requests of streams that did nothing wrong.
fn envoys_limits(builders: &mut HyperBuilders) {
    builders
        .http2()
        // Stalled uploads of a few streams must leave room for the others: 16 streams take the
        // connection's window, not one.
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(16 << 20)
        .max_header_list_size(MAX_HEADER_BYTES)
        // Envoy bears 500 premature resets on a connection; hyper's 20 are one burst of cancels.
        .max_pending_accept_reset_streams(500);
}
