//! The upstream of a tunnel: a connection that hyper's client has upgraded, with its socket where
//! that is known.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The upstream of a tunnel, for [`serve_tunnel`](super::serve_tunnel): over HTTP/1.1 and plain TCP
/// it is the socket itself, so that a client's reset reaches it as a reset. Around any other
/// connection it is that connection.
#[derive(Debug)]
pub struct TunnelUpstream {
    /// What came with the response that switched.
    first: Bytes,
    io: Io,
}

#[derive(Debug)]
enum Io {
    Tcp(TcpStream),
    Other(TokioIo<Upgraded>),
}

impl TunnelUpstream {
    /// The upstream behind what hyper's client upgraded.
    pub fn new(upgraded: Upgraded) -> Self {
        match upgraded.downcast::<TokioIo<TcpStream>>() {
            Ok(parts) => Self {
                first: parts.read_buf,
                io: Io::Tcp(parts.io.into_inner()),
            },
            Err(upgraded) => Self {
                first: Bytes::new(),
                io: Io::Other(TokioIo::new(upgraded)),
            },
        }
    }

    pub(super) const fn tcp(&self) -> Option<&TcpStream> {
        match &self.io {
            Io::Tcp(tcp) => Some(tcp),
            Io::Other(_) => None,
        }
    }
}

impl AsyncRead for TunnelUpstream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.has_remaining() {
            let now = self.first.len().min(buf.remaining());
            buf.put_slice(&self.first.split_to(now));
            return Poll::Ready(Ok(()));
        }
        match &mut self.io {
            Io::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Io::Other(other) => Pin::new(other).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for TunnelUpstream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Tcp(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Io::Other(other) => Pin::new(other).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            Io::Other(other) => Pin::new(other).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Io::Other(other) => Pin::new(other).poll_shutdown(cx),
        }
    }
}
