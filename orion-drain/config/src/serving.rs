//! From what was read to what serves (feature `serve`): servers with the timeouts of their filters.

use std::sync::Arc;

use orion_drain_serve::{HttpCounts, HttpServer, TcpCounts, TcpServer};
use proto_drain_tcp::{CopyOptions, TcpDrainPolicy};

use super::{CodecType, HttpConnectionManager, HttpTimeouts, ProtocolDrainBehavior, TcpProxy};

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

impl HttpConnectionManager {
    /// A server with this manager's codec, timeouts and options of HTTP/2, which counts into `counts`.
    pub fn server(&self, counts: Arc<dyn HttpCounts>) -> HttpServer {
        let mut server = HttpServer::new(self.codec_type.into(), &self.timeouts().into(), counts);
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
    /// A relay with this proxy's `check_drain_close` and `idle_timeout`, which counts into `counts`.
    pub fn server(&self, counts: Arc<dyn TcpCounts>) -> TcpServer {
        let options = match self.check_drain_close {
            true => CopyOptions::new().with_policy(TcpDrainPolicy::CheckOnData),
            false => CopyOptions::new(),
        };
        TcpServer::new(options, counts).with_idle_timeout(self.idle_limit())
    }
}
