//! How a connection is reset: a zero linger on its socket, and never a positive one.
//!
//! The means is `SO_LINGER` with time zero
//! ([socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html)). A positive linger is never
//! set by this crate: it makes dropping the socket block the thread, also when it is non-blocking
//! ([tokio#7751](https://github.com/tokio-rs/tokio/issues/7751)).

use socket2::SockRef;
use std::{any::Any, io, time::Duration};
use tokio::net::TcpStream;

/// How a drain ends a connection that it closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum CloseMode {
    /// Deliver what was taken, then FIN both ways (default; Envoy's `FlushWrite`).
    #[default]
    Fin,
    /// RST both ways at once (Envoy's `AbortReset`). Bytes on their way are lost, including those
    /// in the kernel's buffers, which no report can count. For peers that would otherwise hold a
    /// half-dead connection.
    Reset,
}

/// What makes each side of a copy send RST when it is dropped.
pub(crate) struct Resets<A, B> {
    pub(crate) client: fn(&A) -> io::Result<()>,
    pub(crate) upstream: fn(&B) -> io::Result<()>,
}

impl<A: 'static, B: 'static> Resets<A, B> {
    pub(crate) const fn of_known_types() -> Self {
        Self {
            client: reset_if_tcp,
            upstream: reset_if_tcp,
        }
    }
}

fn reset_if_tcp<IO: 'static>(io: &IO) -> io::Result<()> {
    match (io as &dyn Any).downcast_ref::<TcpStream>() {
        Some(tcp) => reset_on_drop(tcp),
        None => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// From now on dropping this socket discards what is unsent and sends RST. For the functions of
/// [`DrainCopy::with_resets`](crate::DrainCopy::with_resets); tokio's `TcpStream::set_zero_linger`,
/// which it has since 1.50.
///
/// # Errors
///
/// If the system refuses the socket option.
#[expect(clippy::disallowed_methods, reason = "zero does not block")]
pub fn reset_on_drop(tcp: &TcpStream) -> io::Result<()> {
    SockRef::from(tcp).set_linger(Some(Duration::ZERO))
}
