//! TLS before anything is spoken (feature `tls`): a handshake has a bound of its own, and a nearer
//! one in a drain.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use conn_tracker::CloseReason;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

use super::{CodecType, Connection, SetupTimeouts};

/// Which codec ALPN has chosen on this connection; [`CodecType::Auto`] if none. For
/// [`HttpServer::for_codec`](super::HttpServer::for_codec).
pub fn negotiated<IO>(stream: &TlsStream<IO>) -> CodecType {
    match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => CodecType::Http2,
        Some(b"http/1.1" | b"http/1.0") => CodecType::Http1,
        _ => CodecType::Auto,
    }
}

/// How connections are secured.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    timeouts: SetupTimeouts,
}

impl Tls {
    /// Secured by this configuration. Let its `alpn_protocols` be `h2` and `http/1.1` for HTTP.
    pub fn new(config: Arc<ServerConfig>) -> Self {
        Self {
            acceptor: TlsAcceptor::from(config),
            timeouts: SetupTimeouts::default(),
        }
    }

    /// The same with another bound for handshakes, Envoy's `transport_socket_connect_timeout`.
    /// Default 10 s; Envoy has no bound by default.
    #[must_use]
    pub fn with_handshake_timeout(mut self, handshake: Duration) -> Self {
        self.timeouts = self.timeouts.with_setup(handshake);
        self
    }

    /// The same with another bound for handshakes from the connection's slot on. Default 1 s.
    #[must_use]
    pub fn with_handshake_timeout_in_drain(mut self, handshake: Duration) -> Self {
        self.timeouts = self.timeouts.with_setup_in_drain(handshake);
        self
    }

    /// Takes the handshake of an accepted connection. `None`: it failed, or took too long; the
    /// connection is closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection.
    pub async fn accept<IO>(&self, io: IO, connection: &Connection) -> Option<TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        match connection
            .within_timeouts(self.timeouts, self.acceptor.accept(io))
            .await?
        {
            Ok(stream) => Some(stream),
            Err(_) => {
                connection.guard().set_close_reason(CloseReason::Error);
                None
            }
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}
