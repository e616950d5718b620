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
/// Named and counted as in Envoy's
/// [`HttpConnectionManager`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto).
/// By default nothing is closed that does not drain; [`Self::envoy`] has Envoy's defaults.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpTimeouts {
    /// Between the first and the final GOAWAY: Envoy's `drain_timeout`. Default 5 s.
    pub drain: Duration,
    /// How much longer it may be, at most: Envoy's `drain_timeout_jitter`, as a time. Default 0.
    pub drain_jitter: Duration,
    /// From the last answer to the close, if the peer does not close: Envoy's
    /// `delayed_close_timeout`. Default 1 s.
    pub delayed_close: Duration,
    /// For a request to arrive whole: Envoy's `request_timeout`. Default: no limit.
    pub request: Option<Duration>,
    /// Without any request: Envoy's `idle_timeout`. Default: no limit; Envoy's is 1 h.
    pub idle: Option<Duration>,
    /// Since the connection was accepted: Envoy's `max_connection_duration`. Default: no limit.
    pub max_connection_duration: Option<Duration>,
}

impl Default for HttpTimeouts {
    /// 5 s without jitter, 1 s, and no limits.
    fn default() -> Self {
        Self {
            drain: Duration::from_secs(5),
            drain_jitter: Duration::ZERO,
            delayed_close: Duration::from_secs(1),
            request: None,
            idle: None,
            max_connection_duration: None,
        }
    }
}

impl HttpTimeouts {
    /// Envoy's defaults: as [`Self::default`], and 1 h without a request.
    pub const fn envoy() -> Self {
        Self {
            drain: Duration::from_secs(5),
            drain_jitter: Duration::ZERO,
            delayed_close: Duration::from_secs(1),
            request: None,
            idle: Some(Duration::from_secs(3600)),
            max_connection_duration: None,
        }
    }

    /// Sets [`drain`](Self::drain).
    #[must_use]
    pub const fn with_drain(mut self, timeout: Duration) -> Self {
        self.drain = timeout;
        self
    }

    /// Sets [`drain_jitter`](Self::drain_jitter).
    #[must_use]
    pub const fn with_drain_jitter(mut self, most: Duration) -> Self {
        self.drain_jitter = most;
        self
    }

    /// Sets [`delayed_close`](Self::delayed_close).
    #[must_use]
    pub const fn with_delayed_close(mut self, timeout: Duration) -> Self {
        self.delayed_close = timeout;
        self
    }

    /// Sets [`request`](Self::request).
    #[must_use]
    pub const fn with_request(mut self, timeout: Option<Duration>) -> Self {
        self.request = timeout;
        self
    }

    /// Sets [`idle`](Self::idle).
    #[must_use]
    pub const fn with_idle(mut self, timeout: Option<Duration>) -> Self {
        self.idle = timeout;
        self
    }

    /// Sets [`max_connection_duration`](Self::max_connection_duration).
    #[must_use]
    pub const fn with_max_connection_duration(mut self, age: Option<Duration>) -> Self {
        self.max_connection_duration = age;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setter_sets_its_own_field() {
        let [drain, jitter, delayed, request, idle, age] =
            [1, 2, 3, 4, 5, 6].map(Duration::from_secs);
        let expected = HttpTimeouts {
            drain,
            drain_jitter: jitter,
            delayed_close: delayed,
            request: Some(request),
            idle: Some(idle),
            max_connection_duration: Some(age),
        };
        let set = HttpTimeouts::default()
            .with_drain(drain)
            .with_drain_jitter(jitter)
            .with_delayed_close(delayed)
            .with_request(Some(request))
            .with_idle(Some(idle))
            .with_max_connection_duration(Some(age));
        assert_eq!(set, expected);
    }
}
