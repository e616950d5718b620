//! The transport wrapper: both GOAWAYs at their time, and the socket open until the peer has ended.

use crate::drain::H2Drain;
use crate::ending::Ending;
use crate::frames::SHORT_LEN;
use crate::handle::{GoawayHandle, WireProtocol};
use crate::orders::Orders;
use crate::phase::H2Event;
use crate::wire::{Piece, Reading, Wire};
use pin_project::{pin_project, pinned_drop};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The transport of one server connection, on which the wait between the two GOAWAYs is exact.
///
/// Put it between the socket (or TLS stream) and an unmodified server. It writes GOAWAY(2^31-1)
/// itself ([`GoawayHandle::notice`]), between two frames of the server, and measures the gap. The
/// server's own `graceful_shutdown()` may come at any time: it writes GOAWAY(2^31-1) too, and a
/// PING, and writes the final GOAWAY when that PING is acknowledged. The wrapper writes that GOAWAY
/// only if the peer has had none, keeps the PING, and gives the server its acknowledgement when the
/// gap is over, between two frames of the peer. So the peer sees exactly two GOAWAYs, and cannot
/// hold the connection open by not answering.
///
/// - A peer that ends its side in the gap can open no more streams: the final GOAWAY is written at
///   once, and the streams still open have until the end of the gap to be answered.
/// - When the server shuts the transport down after the final GOAWAY, the peer has
///   [`delayed_close_timeout`](crate::H2DrainSettings::delayed_close_timeout) to close first; what
///   it still sends is discarded. No flush and no close waits longer than that for a peer that
///   takes nothing.
/// - Behind the final GOAWAY a WINDOW_UPDATE of a stream that came too late is kept back: h2 would
///   end the connection for it. For that each frame of the peer is read on its own from there on,
///   one read of the transport more for each; and a server must write its final GOAWAY before it
///   needs anything more from the peer, as h2 does.
/// - Anything that is not HTTP/2 passes straight through.
///
/// One task polls both directions, as h2 and hyper do. Dropping it drops the socket.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use proto_drain_h2::{GoawayIo, H2Drain, H2Phase};
///
/// let (_client, server) = tokio::io::duplex(1024);
/// let (io, handle) = GoawayIo::new(server, &H2Drain::default());
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
    /// Once the server has asked for the close.
    ending: Option<Box<Ending>>,
}

impl<IO> GoawayIo<IO> {
    /// Wraps a transport whose first byte has not been read yet. For servers that keep their
    /// connections to themselves; for others [`H2Drain::connection`] makes transport, handle and
    /// connection in one.
    pub fn new(inner: IO, drain: &H2Drain) -> (Self, GoawayHandle) {
        let wire = Wire::new(drain);
        let handle = wire.handle.clone();
        let io = Self {
            inner,
            wire,
            ending: None,
        };
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

impl<IO: AsyncRead + AsyncWrite> AsyncRead for GoawayIo<IO> {
    #[inline(always)]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.project();
        let mut inner = this.inner;
        let wire = this.wire;
        loop {
            let orders = wire.handle.orders().given();
            if orders & Orders::CUT != 0 {
                wire.handle.set_lost();
                return Poll::Ready(Ok(()));
            }
            // Nearly every read is quiet.
            if wire.protocol() != WireProtocol::Other && !wire.is_quiet() {
                if buf.remaining() == 0 {
                    return Poll::Ready(Ok(()));
                }
                let tended = wire.tend(inner.as_mut(), cx);
                lost_on_error(&wire.handle, tended)?;
                if wire.take_ack(buf.remaining(), |bytes| buf.put_slice(bytes)) {
                    return Poll::Ready(Ok(()));
                }
            }
            let read = match wire.reading() {
                Reading::Ended => return Poll::Ready(Ok(())),
                Reading::Waits => Poll::Pending,
                Reading::Free => read(inner.as_mut(), cx, buf),
                Reading::UpTo(limit) => read_up_to(inner.as_mut(), cx, buf, limit),
                Reading::Next(missing) => {
                    let mut bytes = [0; SHORT_LEN];
                    let mut next = ReadBuf::new(&mut bytes[..missing]);
                    match read(inner.as_mut(), cx, &mut next) {
                        Poll::Ready(Ok(n)) if n > 0 => {
                            wire.on_next(next.filled());
                            continue;
                        }
                        ended => ended,
                    }
                }
            };
            match read {
                Poll::Ready(Ok(0)) if buf.remaining() > 0 => wire.on_eof(),
                Poll::Ready(Ok(n)) => {
                    let filled = buf.filled();
                    wire.on_read(&filled[filled.len() - n..]);
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(error)) => {
                    wire.handle.set_lost();
                    return Poll::Ready(Err(error));
                }
                Poll::Pending => ready!(wire.handle.orders().pending(cx, orders)),
            }
        }
    }
}

/// How many bytes came.
#[inline(always)]
fn read<IO: AsyncRead>(
    inner: Pin<&mut IO>,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<usize>> {
    let before = buf.filled().len();
    ready!(inner.poll_read(cx, buf))?;
    Poll::Ready(Ok(buf.filled().len() - before))
}

fn read_up_to<IO: AsyncRead>(
    inner: Pin<&mut IO>,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
    limit: usize,
) -> Poll<io::Result<usize>> {
    let room = limit.min(buf.remaining());
    let mut part = ReadBuf::new(buf.initialize_unfilled_to(room));
    ready!(inner.poll_read(cx, &mut part))?;
    let n = part.filled().len();
    buf.advance(n);
    Poll::Ready(Ok(n))
}

impl<IO: AsyncRead + AsyncWrite> GoawayIo<IO> {
    /// Writes `bufs` as they are if nothing in them is looked at before, or a part of them.
    #[inline]
    fn poll_write_bufs(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let (mut inner, wire) = (this.inner, this.wire);
        loop {
            let orders = wire.handle.orders().given();
            let result = if wire.protocol() == WireProtocol::Other {
                write(inner.as_mut(), cx, bufs)
            } else {
                write_framed(wire, inner.as_mut(), cx, bufs)
            };
            match result {
                Poll::Ready(result) => return Poll::Ready(lost_on_error(&wire.handle, result)),
                // A cut transport does not wait for a peer that does not read.
                Poll::Pending if wire.is_cut() => return Poll::Ready(cut(wire)),
                Poll::Pending => ready!(wire.handle.orders().pending(cx, orders)),
            }
        }
    }
}

fn write_framed<IO: AsyncWrite>(
    wire: &mut Wire,
    mut inner: Pin<&mut IO>,
    cx: &mut Context<'_>,
    bufs: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    loop {
        if !wire.is_quiet() {
            wire.step(cx);
            ready!(wire.poll_ours(inner.as_mut(), cx))?;
        }
        if let Some(ahead) = wire.passes_whole(bufs.iter().map(|buf| &**buf)) {
            let n = ready!(write(inner.as_mut(), cx, bufs))?;
            let mut rest = n;
            if bufs.iter().map(|buf| buf.len()).sum::<usize>() == n {
                wire.on_written_whole(ahead);
            } else {
                for buf in bufs {
                    let part = rest.min(buf.len());
                    wire.on_written(&buf[..part]);
                    rest -= part;
                }
            }
            return Poll::Ready(Ok(n));
        }
        let Some(first) = bufs.iter().find(|buf| !buf.is_empty()) else {
            return Poll::Ready(Ok(0));
        };
        match wire.next_piece(first, cx) {
            Piece::Pass(len) => {
                let n = ready!(inner.poll_write(cx, &first[..len]))?;
                wire.on_written(&first[..n]);
                return Poll::Ready(Ok(n));
            }
            Piece::Taken(0) => {}
            Piece::Taken(n) => return Poll::Ready(Ok(n)),
        }
    }
}

#[inline]
fn write<IO: AsyncWrite>(
    inner: Pin<&mut IO>,
    cx: &mut Context<'_>,
    bufs: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    match bufs {
        [buf] => inner.poll_write(cx, buf),
        bufs => inner.poll_write_vectored(cx, bufs),
    }
}

fn cut<T>(wire: &Wire) -> io::Result<T> {
    wire.handle.set_lost();
    Err(io::ErrorKind::BrokenPipe.into())
}

impl<IO: AsyncRead + AsyncWrite> AsyncWrite for GoawayIo<IO> {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_bufs(cx, &[IoSlice::new(buf)])
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_bufs(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let (mut inner, wire) = (this.inner, this.wire);
        loop {
            let orders = wire.handle.orders().given();
            if let Poll::Ready(flushed) = wire.poll_flush(inner.as_mut(), cx) {
                return Poll::Ready(lost_on_error(&wire.handle, flushed));
            }
            if wire.is_cut() {
                return Poll::Ready(cut(wire));
            }
            ready!(wire.handle.orders().pending(cx, orders));
        }
    }

    /// After the final GOAWAY the peer may close first, see [`GoawayIo`]; without one this is the
    /// transport's own shutdown.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let (mut inner, wire) = (this.inner, this.wire);
        if wire.protocol() == WireProtocol::Other && this.ending.is_none() {
            // Usually it ends at once, and nothing is kept for it.
            if let Poll::Ready(result) = inner.as_mut().poll_shutdown(cx) {
                let result = lost_on_error(&wire.handle, result);
                wire.handle.on_event(H2Event::TransportEnded, None);
                return Poll::Ready(result);
            }
        }
        let ending = this
            .ending
            .get_or_insert_with(|| Box::new(Ending::new(wire.handle.drain())));
        loop {
            let orders = wire.handle.orders().given();
            if let Poll::Ready(result) = ending.poll(cx, inner.as_mut(), wire) {
                let result = lost_on_error(&wire.handle, result);
                wire.handle.on_event(H2Event::TransportEnded, None);
                return Poll::Ready(result);
            }
            ready!(wire.handle.orders().pending(cx, orders));
        }
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
    use crate::frames::CLIENT_PREFACE;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    async fn connection() -> (DuplexStream, GoawayIo<DuplexStream>) {
        let (mut client, io) = tokio::io::duplex(1 << 10);
        let (mut io, _) = GoawayIo::new(io, &H2Drain::default());
        client.write_all(CLIENT_PREFACE).await.unwrap();
        io.read_exact(&mut [0; CLIENT_PREFACE.len()]).await.unwrap();
        assert!(io.wire.is_quiet());
        (client, io)
    }

    #[tokio::test]
    async fn a_frame_that_is_written_in_pieces_leaves_nothing_behind() {
        let (_client, mut io) = connection().await;
        let data = [0, 0, 8, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8];
        io.write_all(&data[..2]).await.unwrap();
        assert!(!io.wire.is_quiet());
        io.write_all(&data[2..]).await.unwrap();
        io.flush().await.unwrap();
        assert!(io.wire.is_quiet());
    }
}
