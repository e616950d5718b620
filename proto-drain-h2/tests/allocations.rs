//! What the wrapper costs while nothing drains: no allocation, whatever passes.

use proto_drain_h2::{CLIENT_PREFACE, GoawayIo, H2DrainSettings, Version};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A transport that gives the same bytes again and again and takes everything.
struct Endless {
    first: &'static [u8],
    again: &'static [u8],
}

impl AsyncRead for Endless {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let next = if self.first.is_empty() {
            self.again
        } else {
            std::mem::take(&mut self.first)
        };
        buf.put_slice(next);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Endless {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A HEADERS frame of four bytes, a PING, and a DATA frame of three.
const FRAMES: &[u8] =
    b"\0\0\x04\x01\x05\0\0\0\x01abcd\0\0\x08\x06\0\0\0\0\0pingpong\0\0\x03\0\x01\0\0\0\x01xyz";

#[test]
fn frames_in_both_directions_allocate_nothing_while_nothing_drains() {
    let inner = Endless {
        first: CLIENT_PREFACE,
        again: FRAMES,
    };
    let (mut io, handle) = GoawayIo::new(inner, &H2DrainSettings::default());
    let mut cx = Context::from_waker(Waker::noop());
    let mut bytes = [0; 256];
    let mut read = |io: &mut GoawayIo<Endless>, cx: &mut Context<'_>| {
        let mut buf = ReadBuf::new(&mut bytes);
        assert!(Pin::new(io).poll_read(cx, &mut buf).is_ready());
        buf.filled().len()
    };
    assert_eq!(read(&mut io, &mut cx), CLIENT_PREFACE.len());
    assert_eq!(handle.version(), Version::Http2);
    let counted = allocation_counter::measure(|| {
        for _ in 0..1000 {
            assert_eq!(read(&mut io, &mut cx), FRAMES.len());
            assert!(Pin::new(&mut io).poll_write(&mut cx, FRAMES).is_ready());
        }
    });
    assert_eq!(counted.count_total, 0);
}
