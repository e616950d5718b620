//! TLS before anything is spoken (feature `tls`): a handshake has a bound of its own, and a nearer one in a drain.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use conn_tracker::CloseReason;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

use super::Connection;

/// How connections are secured.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    handshake: Duration,
    handshake_in_drain: Duration,
}

impl Tls {
    /// Secured by this configuration. Let its `alpn_protocols` be `h2` and `http/1.1` for HTTP.
    pub fn new(config: Arc<ServerConfig>) -> Self {
        Self {
            acceptor: TlsAcceptor::from(config),
            handshake: Duration::from_secs(10),
            handshake_in_drain: Duration::from_secs(1),
        }
    }

    /// The same with another bound for handshakes, Envoy's `transport_socket_connect_timeout`. Default 10 s; Envoy has no
    /// bound by default.
    #[must_use]
    pub fn with_handshake_timeout(mut self, handshake: Duration) -> Self {
        self.handshake = handshake;
        self
    }

    /// The same with another bound for handshakes from the connection's slot on. Default 1 s.
    #[must_use]
    pub fn with_handshake_timeout_in_drain(mut self, handshake: Duration) -> Self {
        self.handshake_in_drain = handshake;
        self
    }

    /// Takes the handshake of an accepted connection. `None`: it failed, or took too long; the connection is closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection.
    pub async fn accept<IO>(&self, io: IO, connection: &Connection) -> Option<TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let drain = connection.drain();
        let drained = async {
            drain.signaled().await;
            tokio::select! {
                () = tokio::time::sleep(self.handshake_in_drain) => {}
                // The deadline, or somebody forces it.
                _ = drain.expired() => {}
            }
        };
        let reason = tokio::select! {
            biased;
            secured = self.acceptor.accept(io) => match secured {
                Ok(stream) => return Some(stream),
                Err(_) => CloseReason::Error,
            },
            () = drained => CloseReason::Deadline,
            () = tokio::time::sleep(self.handshake) => CloseReason::Error,
        };
        connection.guard().set_close_reason(reason);
        None
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("handshake", &self.handshake)
            .field("handshake_in_drain", &self.handshake_in_drain)
            .finish_non_exhaustive()
    }
}
