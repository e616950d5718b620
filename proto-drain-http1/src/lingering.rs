//! The staged close of a connection that was dropped: a future that owns the transport until it is
//! closed.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::linger::LingerIo;

/// Closes a transport in stages, then drops it. Given to the function of
/// [`LingerIo::with_spawner`].
///
/// It ends when there is no progress for `delayed_close_timeout`, and needs a tokio runtime with
/// time. The drain does not wait for it: the connection's watch is gone.
///
/// # Cancel safety
///
/// Dropping it early closes at once and counts as an abort.
#[must_use = "dropping it aborts the connection; spawn it"]
pub struct Lingering<IO> {
    io: LingerIo<IO>,
}

impl<IO> Lingering<IO> {
    pub(crate) fn new(io: LingerIo<IO>) -> Self {
        Self { io }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Future for Lingering<IO> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // An error is the peer's end; it has been counted.
        self.io.poll_close(cx).map(|_closed| ())
    }
}

impl<IO> fmt::Debug for Lingering<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lingering").field(&self.io).finish()
    }
}
