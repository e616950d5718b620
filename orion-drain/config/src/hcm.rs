//! The HTTP connection manager and its timeouts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    EscapedSlashes, HealthCheck, HttpFilter, HttpFilterConfig, Rds, RouteConfiguration,
    Underscores, duration, flags,
    names::{self, Named, is_default},
    numbers,
};

/// HTTP on a filter chain, as in
/// [`HttpConnectionManager`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto).
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpConnectionManager {
    /// Which version of HTTP is spoken. Default `AUTO`.
    #[serde(default, with = "names", skip_serializing_if = "is_default")]
    pub codec_type: CodecType,
    /// The name in `http.<stat_prefix>.*`. Required.
    #[serde(default)]
    pub stat_prefix: String,
    /// Between the first and the final GOAWAY. Default 5 s.
    #[serde(
        default,
        with = "duration::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub drain_timeout: Option<Duration>,
    /// How much longer than `drain_timeout` each connection may wait for its final GOAWAY, in percent of it; each waits
    /// another share of that, so that not all come back at once. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_timeout_jitter: Option<Percent>,
    /// How long a connection that is done waits for the peer to close it. Default 1 s; 0 closes at
    /// once.
    #[serde(
        default,
        with = "duration::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub delayed_close_timeout: Option<Duration>,
    /// How long the whole request may take to arrive; then it is answered with 408. Default, and 0:
    /// no limit.
    #[serde(
        default,
        with = "duration::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub request_timeout: Option<Duration>,
    /// How long a stream (a request and its response, or a tunnel) may go on without a byte either
    /// way, also because the client takes nothing of its response. Before its response it is
    /// answered with 408 or, if the request has arrived whole, 504; after that it is cut off. The
    /// head of a request must be there by then as well. Default 5 min, as in Envoy; 0: no limit.
    #[serde(
        default,
        with = "duration::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub stream_idle_timeout: Option<Duration>,
    /// Idle timeout and greatest age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common_http_protocol_options: Option<HttpProtocolOptions>,
    /// Options of HTTP/2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http2_protocol_options: Option<Http2ServerOptions>,
    /// Where requests go: this table. Either it or `rds` is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_config: Option<RouteConfiguration>,
    /// Where requests go, by the name of a table that the control plane sends; newer ones of that
    /// name are taken without a new version of the listener, and no connection drains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rds: Option<Rds>,
    /// The HTTP filters: the router, and filters that change no request, which are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub http_filters: Vec<HttpFilter>,
    /// Whether the client's address is the one it connects from, and is added to `x-forwarded-for`.
    /// Default: no; then the header is passed on as it came.
    #[serde(
        default,
        deserialize_with = "flags::deserialize",
        skip_serializing_if = "is_default"
    )]
    pub use_remote_address: bool,
    /// Leave `x-forwarded-for` as it came, also with `use_remote_address`. Default: no.
    #[serde(
        default,
        deserialize_with = "flags::deserialize",
        skip_serializing_if = "is_default"
    )]
    pub skip_xff_append: bool,
    /// How many proxies in front are trusted: which address of `x-forwarded-for` is the client's
    /// goes by it, and above 0 `x-forwarded-proto` is taken from them. Default: 0.
    #[serde(
        default,
        deserialize_with = "numbers::deserialize",
        skip_serializing_if = "is_default"
    )]
    pub xff_num_trusted_hops: u32,
    /// Whether paths are made plain before routes look at them: no segments of dots, `\` as `/`.
    /// Default: no.
    #[serde(
        default,
        deserialize_with = "flags::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub normalize_path: Option<bool>,
    /// Whether slashes that stand together are one. Default: no.
    #[serde(
        default,
        deserialize_with = "flags::deserialize",
        skip_serializing_if = "is_default"
    )]
    pub merge_slashes: bool,
    /// What becomes of escaped slashes in paths. Default: they stay.
    #[serde(default, with = "names", skip_serializing_if = "is_default")]
    pub path_with_escaped_slashes_action: EscapedSlashes,
    /// Whether the port of a host is left out. Default: no.
    #[serde(
        default,
        deserialize_with = "flags::deserialize",
        skip_serializing_if = "is_default"
    )]
    pub strip_any_host_port: bool,
    /// The same if it is the listener's. Default: no.
    #[serde(
        default,
        deserialize_with = "flags::deserialize",
        skip_serializing_if = "is_default"
    )]
    pub strip_matching_host_port: bool,
    /// Whether a dot at the end of a host is left out. Default: no.
    #[serde(
        default,
        deserialize_with = "flags::deserialize",
        skip_serializing_if = "is_default"
    )]
    pub strip_trailing_host_dot: bool,
    /// Which upgrades are let through, e.g. `websocket`; others are answered with 403.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upgrade_configs: Vec<UpgradeConfig>,
}

/// A share of a hundred: `type.v3.Percent`.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Percent {
    /// 0 (the default) to 100.
    #[serde(default, deserialize_with = "numbers::real")]
    pub value: f64,
}

impl Percent {
    /// This share of a time.
    pub(super) fn of(self, time: Duration) -> Duration {
        time.mul_f64(self.value.clamp(0.0, 100.0) / 100.0)
    }
}

// Reading it takes numbers only, and those of JSON and of checked files are finite.
impl Eq for Percent {}

/// Which version of HTTP is spoken.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CodecType {
    /// `AUTO`: by ALPN, or else by the first bytes.
    #[default]
    Auto,
    /// `HTTP1`.
    Http1,
    /// `HTTP2`, with prior knowledge.
    Http2,
}

impl Named for CodecType {
    const NAMES: &'static [(&'static str, u64, Self)] = &[
        ("AUTO", 0, Self::Auto),
        ("HTTP1", 1, Self::Http1),
        ("HTTP2", 2, Self::Http2),
    ];
}

/// Limits of a connection: `config.core.v3.HttpProtocolOptions`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpProtocolOptions {
    /// How long a connection without a request is kept. Default 1 h; 0: for ever.
    #[serde(
        default,
        with = "duration::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub idle_timeout: Option<Duration>,
    /// How old a connection may get before it is drained. Default, and 0: no limit.
    #[serde(
        default,
        with = "duration::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_connection_duration: Option<Duration>,
    /// How much older a connection may get, in percent of `max_connection_duration`; each has
    /// another share of that. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connection_duration_jitter: Option<Percent>,
    /// How long a stream may take from the head of its request to the end of its response; it ends
    /// as with `stream_idle_timeout`. Default, and 0: no limit.
    #[serde(
        default,
        with = "duration::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_stream_duration: Option<Duration>,
    /// How many requests a connection may serve: the response to the last of them says `connection:
    /// close`, and over HTTP/2 the GOAWAYs follow. Default, and 0: no limit.
    #[serde(
        default,
        deserialize_with = "numbers::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_requests_per_connection: Option<u32>,
    /// What becomes of headers with an underscore in their names. Default `ALLOW`.
    #[serde(default, with = "names", skip_serializing_if = "is_default")]
    pub headers_with_underscores_action: Underscores,
}

/// Options of HTTP/2 towards clients: `config.core.v3.Http2ProtocolOptions`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Http2ServerOptions {
    /// Whether upgrades may be asked for by extended CONNECT
    /// ([RFC 8441](https://www.rfc-editor.org/rfc/rfc8441)). Default: no.
    #[serde(
        default,
        deserialize_with = "flags::deserialize",
        skip_serializing_if = "is_default"
    )]
    pub allow_connect: bool,
    /// How many streams a client may have open at once, 1 to 2147483647. Default 1024, as in Envoy.
    #[serde(
        default,
        deserialize_with = "numbers::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_concurrent_streams: Option<u32>,
    /// How many bytes of a stream a client may send ahead, 65535 to 2147483647. Default 16 MiB, as
    /// in Envoy.
    #[serde(
        default,
        deserialize_with = "numbers::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub initial_stream_window_size: Option<u32>,
    /// The same of all streams of a connection together. Default 24 MiB, as in Envoy.
    #[serde(
        default,
        deserialize_with = "numbers::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub initial_connection_window_size: Option<u32>,
    /// How a connection is asked whether it is still there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_keepalive: Option<KeepaliveSettings>,
}

/// PINGs that a peer has to answer: `config.core.v3.KeepaliveSettings`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeepaliveSettings {
    /// How often a PING is sent. Default, and 0: never.
    #[serde(
        default,
        with = "duration::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub interval: Option<Duration>,
    /// How long its answer may take, 1 ms at least; then the connection is closed. Required.
    #[serde(
        default,
        with = "duration::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub timeout: Option<Duration>,
}

/// An upgrade that is let through.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeConfig {
    /// The token of the `upgrade` header, compared without case.
    #[serde(default)]
    pub upgrade_type: String,
    /// Whether it is on. Default: yes.
    #[serde(
        default,
        deserialize_with = "flags::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub enabled: Option<bool>,
}

/// The timeouts of an HTTP connection as they take effect, defaults filled in; `None` is "no
/// limit".
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpTimeouts {
    /// Between the first and the final GOAWAY.
    pub drain: Duration,
    /// How much longer it may be, at most.
    pub drain_jitter: Duration,
    /// From the last answer to the close, if the peer does not close.
    pub delayed_close: Duration,
    /// For a request to arrive whole.
    pub request: Option<Duration>,
    /// Without any request.
    pub idle: Option<Duration>,
    /// Since the connection was accepted.
    pub max_connection_duration: Option<Duration>,
}

impl Default for HttpTimeouts {
    /// Envoy's: 5 s without jitter, 1 s, none, 1 h, none.
    fn default() -> Self {
        HttpConnectionManager::default().timeouts()
    }
}

impl HttpConnectionManager {
    /// A connection manager with these routes and Envoy's defaults.
    pub fn new(stat_prefix: impl Into<String>, routes: RouteConfiguration) -> Self {
        Self {
            stat_prefix: stat_prefix.into(),
            route_config: Some(routes),
            ..Self::default()
        }
    }

    /// The timeouts as they take effect.
    pub fn timeouts(&self) -> HttpTimeouts {
        let limit = |timeout: Option<Duration>| timeout.filter(|timeout| !timeout.is_zero());
        let options = self.common_http_protocol_options.as_ref();
        let drain = self.drain_timeout.unwrap_or(Duration::from_secs(5));
        let jitter = self.drain_timeout_jitter.unwrap_or_default();
        HttpTimeouts {
            drain,
            drain_jitter: jitter.of(drain),
            delayed_close: self.delayed_close_timeout.unwrap_or(Duration::from_secs(1)),
            request: limit(self.request_timeout),
            idle: limit(Some(
                options
                    .and_then(|options| options.idle_timeout)
                    .unwrap_or(Duration::from_secs(3600)),
            )),
            max_connection_duration: limit(
                options.and_then(|options| options.max_connection_duration),
            ),
        }
    }

    /// What of its filters answers health checks.
    pub fn health_checks(&self) -> impl Iterator<Item = &HealthCheck> {
        let filters = self.http_filters.iter().filter(|filter| !filter.disabled);
        filters.filter_map(|filter| match &filter.typed_config {
            HttpFilterConfig::HealthCheck(check) => Some(check),
            _ => None,
        })
    }

    /// Whether upgrades may be asked for by extended CONNECT.
    pub fn allows_connect(&self) -> bool {
        self.http2_protocol_options
            .as_ref()
            .is_some_and(|options| options.allow_connect)
    }

    /// What becomes of headers with an underscore in their names.
    pub fn underscores(&self) -> Underscores {
        self.common_http_protocol_options
            .as_ref()
            .map_or(Underscores::Allow, |options| {
                options.headers_with_underscores_action
            })
    }

    /// Whether the address that a client connects from is added to `x-forwarded-for`.
    pub fn appends_x_forwarded_for(&self) -> bool {
        self.use_remote_address && !self.skip_xff_append
    }

    /// Whether an upgrade to `token` is let through.
    pub fn allows_upgrade(&self, token: &str) -> bool {
        UpgradeConfig::allows(&self.upgrade_configs, token).unwrap_or_default()
    }
}

impl Http2ServerOptions {
    /// How often a connection is asked whether it is there, and how long it may take to say so;
    /// `None`: never.
    pub fn keepalive(&self) -> Option<(Duration, Duration)> {
        let keepalive = self.connection_keepalive.as_ref()?;
        let interval = keepalive.interval.filter(|interval| !interval.is_zero())?;
        Some((interval, keepalive.timeout?))
    }
}

impl UpgradeConfig {
    /// Whether an upgrade to `token` is let through; `None`: nothing is said of it.
    pub(super) fn allows(configs: &[Self], token: &str) -> Option<bool> {
        let known = configs
            .iter()
            .find(|upgrade| upgrade.upgrade_type.eq_ignore_ascii_case(token));
        known.map(|upgrade| upgrade.enabled.unwrap_or(true))
    }
}
