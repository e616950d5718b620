//! The transport wrapper: holds the codec's PING open for the drain timeout, and the socket open until the peer left.

use crate::handle::{GoawayHandle, Version};
use crate::linger::Linger;
use crate::phase::H2Event;
use crate::settings::H2DrainSettings;
use crate::wire::{Mode, Wire};
use pin_project::{pin_project, pinned_drop};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The transport of one server connection, on which the wait between the two GOAWAYs is exact.
///
/// Put it between the socket (or TLS stream) and an unmodified server: the codec's `graceful_shutdown()` writes
/// GOAWAY(2^31-1) and a PING and writes the final GOAWAY when that PING is acknowledged. This wrapper learns the PING's
/// payload as it is written, keeps the peer's acknowledgement to itself, and gives the codec one when the gap is over,
/// between two frames of the peer. Peers that never acknowledge cannot hold the connection open by that.
///
/// - A peer that ends its side in the gap can open no more streams: the final GOAWAY leaves at once, and the streams
///   still open have until the end of the gap to be answered.
/// - When the codec shuts the transport down after the final GOAWAY, the peer has
///   [`delayed_close_timeout`](H2DrainSettings::delayed_close_timeout) to close first; what it still sends is discarded.
/// - Anything that is not HTTP/2 passes straight through.
///
/// One task polls both directions, as h2 and hyper do. Dropping it drops the socket.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use proto_drain_h2::{GoawayIo, H2DrainSettings, H2Phase};
///
/// let (_client, server) = tokio::io::duplex(1024);
/// let (io, handle) = GoawayIo::new(server, &H2DrainSettings::default());
/// assert_eq!(handle.phase(), H2Phase::Serving);
/// drop(io);
/// assert_eq!(handle.phase(), H2Phase::Closed);
/// # }
/// ```
#[pin_project(PinnedDrop)]
#[derive(Debug)]
pub struct GoawayIo<IO> {
    #[pin]
    inner: IO,
    wire: Wire,
    linger: Linger,
}

impl<IO> GoawayIo<IO> {
    /// Wraps a transport whose first byte has not been read yet.
    pub fn new(inner: IO, settings: &H2DrainSettings) -> (Self, GoawayHandle) {
        let wire = Wire::new(settings.drain_timeout);
        let handle = wire.handle.clone();
        let linger = Linger::new(settings.delayed_close_timeout);
        let io = Self { inner, wire, linger };
        (io, handle)
    }

    /// The wrapped transport.
    pub fn get_ref(&self) -> &IO {
        &self.inner
    }

    /// A handle of this transport.
    pub fn handle(&self) -> GoawayHandle {
        self.wire.handle.clone()
    }
}

impl<IO: AsyncRead> AsyncRead for GoawayIo<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let mut inner = this.inner;
        let wire = this.wire;
        if wire.handle.is_cut() {
            wire.handle.set_lost();
            return Poll::Ready(Ok(()));
        }
        // Nearly every read is one of these.
        if wire.is_quiet() {
            let before = buf.filled().len();
            lost_on_error(&wire.handle, ready!(inner.poll_read(cx, buf)))?;
            match &buf.filled()[before..] {
                [] if buf.remaining() > 0 => {
                    wire.on_eof();
                }
                chunk => wire.filter.skip(chunk),
            }
            return Poll::Ready(Ok(()));
        }
        if wire.version == Version::Other {
            return inner.poll_read(cx, buf);
        }
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if !matches!(wire.mode, Mode::Plain | Mode::Noticed) {
                wire.step(cx);
            }
            if wire
                .filter
                .take_ready(buf.remaining(), |bytes| buf.put_slice(bytes))
            {
                return Poll::Ready(Ok(()));
            }
            match wire.mode {
                Mode::Eof => return Poll::Ready(Ok(())),
                Mode::PeerEnded => return Poll::Pending,
                _ => {}
            }
            let missing = wire.filter.missing();
            if missing > 0 {
                let mut bytes = [0; 17];
                let mut rest = ReadBuf::new(&mut bytes[..missing]);
                lost_on_error(&wire.handle, ready!(inner.as_mut().poll_read(cx, &mut rest)))?;
                match rest.filled() {
                    // Either way the codec gets what was held back first.
                    [] => {
                        let _told = wire.on_eof();
                    }
                    more => wire.filter.complete(more),
                }
                continue;
            }
            let before = buf.filled().len();
            lost_on_error(&wire.handle, ready!(inner.as_mut().poll_read(cx, buf)))?;
            let chunk = &mut buf.filled_mut()[before..];
            if chunk.is_empty() {
                if wire.on_eof() {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            if wire.version == Version::Unknown {
                wire.sniff(chunk);
                if wire.version == Version::Other {
                    return Poll::Ready(Ok(()));
                }
            }
            let given = wire.filter.filter(chunk);
            buf.set_filled(before + given);
            if given > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<IO: AsyncWrite> GoawayIo<IO> {
    fn after_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        result: Poll<io::Result<usize>>,
        mut for_each: impl FnMut(usize, &mut dyn FnMut(&[u8])),
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let n = match result {
            // A cut transport does not wait for a peer that does not read.
            Poll::Pending if this.wire.handle.is_cut() => {
                this.wire.handle.set_lost();
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            Poll::Pending => return Poll::Pending,
            Poll::Ready(result) => lost_on_error(&this.wire.handle, result)?,
        };
        if this.wire.version != Version::Other {
            for_each(n, &mut |chunk| this.wire.observe(chunk, cx));
        }
        Poll::Ready(Ok(n))
    }
}

impl<IO: AsyncWrite + AsyncRead> AsyncWrite for GoawayIo<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = self.as_mut().project().inner.poll_write(cx, buf);
        self.after_write(cx, result, |n, observe| observe(&buf[..n]))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = self.as_mut().project().inner.poll_write_vectored(cx, bufs);
        self.after_write(cx, result, |mut n, observe| {
            for buf in bufs {
                let part = n.min(buf.len());
                observe(&buf[..part]);
                n -= part;
            }
        })
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let result = this.inner.poll_flush(cx);
        if result.is_pending() && this.wire.handle.is_cut() {
            this.wire.handle.set_lost();
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        result.map(|result| lost_on_error(&this.wire.handle, result))
    }

    /// After the final GOAWAY the peer may close first, see [`GoawayIo`]; without one this is the transport's own
    /// shutdown.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut this = self.project();
        let waits = this.wire.version == Version::Http2 && this.wire.handle.last_stream_id().is_some();
        if waits && this.wire.mode != Mode::Eof && this.wire.mode != Mode::PeerEnded {
            this.wire.handle.register_transport(cx);
            if !this.wire.handle.is_ending() {
                ready!(this.linger.poll(cx, this.inner.as_mut(), &mut this.wire.timer));
            }
        }
        let result = lost_on_error(&this.wire.handle, ready!(this.inner.poll_shutdown(cx)));
        this.wire.handle.on_event(H2Event::TransportEnded, None);
        Poll::Ready(result)
    }
}

/// Notes an error of the transport on its way to the codec.
fn lost_on_error<T>(handle: &GoawayHandle, result: io::Result<T>) -> io::Result<T> {
    if result.is_err() {
        handle.set_lost();
    }
    result
}

#[pinned_drop]
impl<IO> PinnedDrop for GoawayIo<IO> {
    fn drop(self: Pin<&mut Self>) {
        self.wire.handle.on_event(H2Event::TransportEnded, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_costs_less_than_256_bytes() {
        let counts = 2 * size_of::<usize>();
        let io = size_of::<GoawayIo<()>>() + crate::handle::SHARED_SIZE + counts;
        let steps = size_of::<crate::H2Connection<()>>();
        assert!(io + steps < 256, "{io} + {steps}");
    }
}
