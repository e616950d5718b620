//! The TCP connection under a transport, for what only a socket can do: FIN without an end of TLS, and RST.

use std::any::Any;
use std::io;

use listener_versions::Stream;
use proto_drain_http1::WebSocketIo;
use tokio::net::TcpStream;

use super::TunnelUpstream;

/// The TCP connection under `io`, where its type is known: tokio's, an accepted one, TLS over either, a tunnel's upstream.
pub(super) fn tcp_under<IO: 'static>(io: &IO) -> Option<&TcpStream> {
    let io = io as &dyn Any;
    if let Some(upstream) = io.downcast_ref::<TunnelUpstream>() {
        return upstream.tcp();
    }
    if let Some(websocket) = io.downcast_ref::<WebSocketIo<TunnelUpstream>>() {
        return websocket.get_ref().tcp();
    }
    #[cfg(feature = "tls")]
    {
        use tokio_rustls::server::TlsStream;
        if let Some(tls) = io.downcast_ref::<TlsStream<Stream>>() {
            return plain(tls.get_ref().0);
        }
        if let Some(tls) = io.downcast_ref::<TlsStream<TcpStream>>() {
            return plain(tls.get_ref().0);
        }
    }
    plain(io)
}

/// Whether a shutdown of `io` says nothing but that our direction ends.
pub(super) fn has_plain_shutdown<IO: 'static>(io: &IO) -> bool {
    let io = io as &dyn Any;
    #[cfg(unix)]
    if io.is::<tokio::net::UnixStream>() {
        return true;
    }
    io.is::<Stream>() || io.is::<TcpStream>() || io.is::<tokio::io::DuplexStream>()
}

fn plain(io: &dyn Any) -> Option<&TcpStream> {
    match io.downcast_ref::<Stream>() {
        Some(Stream::Tcp(tcp)) => Some(tcp),
        Some(_) => None,
        None => io.downcast_ref(),
    }
}

/// Makes dropping `io` send RST.
pub(super) fn reset_on_drop<IO: 'static>(io: &IO) -> io::Result<()> {
    match tcp_under(io) {
        Some(tcp) => proto_drain_tcp::reset_on_drop(tcp),
        None => Err(io::ErrorKind::Unsupported.into()),
    }
}
