//! The TCP connection under a transport, for what only a socket can say: FIN without an end of TLS,
//! and RST.

use std::any::Any;
use std::net::Shutdown;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

/// `io` itself, if it is a TCP connection.
pub(crate) fn if_tcp<IO: 'static>(io: &IO) -> Option<&TcpStream> {
    (io as &dyn Any).downcast_ref()
}

/// Whether a shutdown of this transport says nothing but that our direction ends.
pub(crate) fn says_only_fin<IO: 'static>(io: &IO) -> bool {
    let io = io as &dyn Any;
    #[cfg(unix)]
    if io.is::<tokio::net::UnixStream>() {
        return true;
    }
    io.is::<TcpStream>() || io.is::<tokio::io::DuplexStream>()
}

/// Dropping the transport discards what is unsent and sends RST. A positive `SO_LINGER` is never
/// set: it would block the thread.
#[expect(clippy::disallowed_methods, reason = "zero does not block")]
pub(crate) fn reset(tcp: Option<&TcpStream>) {
    if let Some(tcp) = tcp {
        // A system that refuses it sends FIN.
        SockRef::from(tcp).set_linger(Some(Duration::ZERO)).ok();
    }
}

/// Ends our direction of the TCP connection, in TCP's words alone.
pub(crate) fn fin(tcp: Option<&TcpStream>) {
    if let Some(tcp) = tcp {
        // It fails if the connection has failed, which the reads behind it find out.
        SockRef::from(tcp).shutdown(Shutdown::Write).ok();
    }
}
