//! Which version of HTTP a server speaks, and the timeouts of its connections.

use std::time::Duration;

/// Which version of HTTP is spoken.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CodecType {
    /// By ALPN, or else by the first bytes. Envoy's `AUTO`.
    #[default]
    Auto,
    /// HTTP/1.1. Envoy's `HTTP1`.
    Http1,
    /// HTTP/2, with prior knowledge. Envoy's `HTTP2`.
    Http2,
}

/// The timeouts of an HTTP connection; `None` is "no limit".
///
/// The default is that of Envoy's
/// [`HttpConnectionManager`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto).
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpTimeouts {
    /// Between the first and the final GOAWAY: Envoy's `drain_timeout`. Default 5 s.
    pub drain: Duration,
    /// How much longer it may be, at most: Envoy's `drain_timeout_jitter`, as a time. Default 0.
    pub drain_jitter: Duration,
    /// From the last answer to the close, if the peer does not close: Envoy's `delayed_close_timeout`. Default 1 s.
    pub delayed_close: Duration,
    /// For a request to arrive whole: Envoy's `request_timeout`. Default: no limit.
    pub request: Option<Duration>,
    /// Without any request: Envoy's `idle_timeout`. Default 1 h.
    pub idle: Option<Duration>,
    /// Since the connection was accepted: Envoy's `max_connection_duration`. Default: no limit.
    pub max_connection_duration: Option<Duration>,
}

impl Default for HttpTimeouts {
    /// Envoy's: 5 s without jitter, 1 s, none, 1 h, none.
    fn default() -> Self {
        Self {
            drain: Duration::from_secs(5),
            drain_jitter: Duration::ZERO,
            delayed_close: Duration::from_secs(1),
            request: None,
            idle: Some(Duration::from_secs(3600)),
            max_connection_duration: None,
        }
    }
}
