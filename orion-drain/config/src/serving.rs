//! From what was read to what serves (feature `serve`): servers with the timeouts of their filters.

use std::sync::Arc;
use std::time::Duration;

use orion_drain_serve::{ConnectionAge, HttpCounts, HttpServer, TcpCounts, TcpServer};
use proto_drain_tcp::{CopyOptions, TcpDrainPolicy};

use super::{
    CodecType, HttpConnectionManager, HttpTimeouts, Percent, ProtocolDrainBehavior, TcpProxy,
};

impl From<CodecType> for orion_drain_serve::CodecType {
    fn from(codec: CodecType) -> Self {
        match codec {
            CodecType::Auto => Self::Auto,
            CodecType::Http1 => Self::Http1,
            CodecType::Http2 => Self::Http2,
        }
    }
}

impl From<HttpTimeouts> for orion_drain_serve::HttpTimeouts {
    fn from(read: HttpTimeouts) -> Self {
        let mut timeouts = Self::default();
        timeouts.drain = read.drain;
        timeouts.drain_jitter = read.drain_jitter;
        timeouts.delayed_close = read.delayed_close;
        timeouts.request = read.request;
        timeouts.idle = read.idle;
        timeouts.max_connection_duration = read.max_connection_duration;
        timeouts
    }
}

impl From<&ProtocolDrainBehavior> for orion_drain_serve::ProtocolDrainBehavior {
    fn from(behavior: &ProtocolDrainBehavior) -> Self {
        match *behavior {
            ProtocolDrainBehavior::Http1 { connection_close } => Self::Http1 { connection_close },
            ProtocolDrainBehavior::Http2 { send_goaway } => Self::Http2 { send_goaway },
            ProtocolDrainBehavior::Tcp { force_close_after } => Self::Tcp { force_close_after },
            ProtocolDrainBehavior::Auto => Self::Auto,
        }
    }
}

/// The limit of `duration`, and up to so much of it more.
fn age(duration: Option<Duration>, jitter: Option<Percent>) -> ConnectionAge {
    let jitter = jitter.unwrap_or_default();
    ConnectionAge::default()
        .with_max_duration(duration)
        .with_jitter(jitter.of(duration.unwrap_or_default()))
}

impl HttpConnectionManager {
    /// How old a connection may become, and how many requests it may serve. As in Envoy,
    /// `drain_timeout` is what is left to a connection after that.
    fn age(&self) -> ConnectionAge {
        let timeouts = self.timeouts();
        let options = self.common_http_protocol_options.as_ref();
        let jitter = options.and_then(|options| options.max_connection_duration_jitter);
        let requests = options.and_then(|options| options.max_requests_per_connection);
        age(timeouts.max_connection_duration, jitter)
            .with_grace(timeouts.drain)
            .with_max_requests(requests.map(u64::from))
    }

    /// A server with this manager's codec, timeouts, limits of age and options of HTTP/2, which
    /// counts into `counts`.
    pub fn server(&self, counts: Arc<dyn HttpCounts>) -> HttpServer {
        let mut server = HttpServer::new(self.codec_type.into(), &self.timeouts().into(), counts)
            .with_age(self.age())
            .with_head_timeout(self.head_limit());
        if let Some(options) = &self.http2_protocol_options {
            server = server.with_hyper(|builder| {
                let http2 = builder.http2();
                if let Some(streams) = options.max_concurrent_streams {
                    http2.max_concurrent_streams(streams);
                }
                if let Some(bytes) = options.initial_stream_window_size {
                    http2.initial_stream_window_size(bytes);
                }
                if let Some(bytes) = options.initial_connection_window_size {
                    http2.initial_connection_window_size(bytes);
                }
                if let Some((interval, timeout)) = options.keepalive() {
                    http2
                        .keep_alive_interval(interval)
                        .keep_alive_timeout(timeout);
                }
            });
        }
        match self.allows_connect() {
            true => server.with_extended_connect(),
            false => server,
        }
    }
}

impl TcpProxy {
    /// A relay with this proxy's `check_drain_close`, `idle_timeout` and limit of age, which counts
    /// into `counts`.
    pub fn server(&self, counts: Arc<dyn TcpCounts>) -> TcpServer {
        let options = match self.check_drain_close {
            true => CopyOptions::new().with_policy(TcpDrainPolicy::CheckOnData),
            false => CopyOptions::new(),
        };
        let jitter = self.max_downstream_connection_duration_jitter_percentage;
        TcpServer::new(options, counts)
            .with_idle_timeout(self.idle_limit())
            .with_age(age(self.max_downstream_connection_duration, jitter))
    }
}
