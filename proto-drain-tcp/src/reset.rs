//! The explicit choice of RST: a zero linger on the socket, and never a positive one.

use socket2::SockRef;
use std::{io, time::Duration};
use tokio::net::TcpStream;

/// How a drain ends a connection that it closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum CloseMode {
    /// Deliver what was taken, then FIN both ways (default; Envoy's `FlushWrite`).
    #[default]
    Fin,
    /// RST both ways at once (Envoy's `AbortReset`). Bytes on their way are lost, including those in the kernel's
    /// buffers, which no report can count. For peers that would otherwise hold a half-dead connection.
    Reset,
}

/// A transport that can be told to send RST when it is dropped.
///
/// Implemented for [`TcpStream`]. A wrapper (TLS, PROXY protocol) implements it by asking its inner stream.
///
/// The means is `SO_LINGER` with time zero ([socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html)). A
/// positive linger is never set by this crate: it makes dropping the socket block the thread, also when it is
/// non-blocking ([tokio#7751](https://github.com/tokio-rs/tokio/issues/7751)).
pub trait ResetOnDrop {
    /// From now on dropping this transport discards unsent data and sends RST.
    ///
    /// # Errors
    ///
    /// If the system refuses the socket option. The copy then ends in FIN.
    fn reset_on_drop(&self) -> io::Result<()>;
}

impl ResetOnDrop for TcpStream {
    fn reset_on_drop(&self) -> io::Result<()> {
        SockRef::from(self).set_linger(Some(Duration::ZERO))
    }
}

impl<T: ResetOnDrop + ?Sized> ResetOnDrop for Box<T> {
    fn reset_on_drop(&self) -> io::Result<()> {
        (**self).reset_on_drop()
    }
}
