//! The upstream of a tunnel: a connection that hyper's client has upgraded, with its socket where
//! that is known.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use pin_project::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The upstream of a tunnel, for [`serve_tunnel`](super::serve_tunnel): over HTTP/1.1 and plain TCP
/// it is the socket itself, so that a client's reset reaches it as a reset. Around any other
/// connection it is that connection; [`over`](Self::over) says where its socket is.
#[derive(Debug)]
pub struct TunnelUpstream {
    /// What came with the response that switched.
    first: Bytes,
    io: Io,
}

enum Io {
    Tcp(TcpStream),
    Over(Box<dyn Transport>),
    Other(TokioIo<Upgraded>),
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp(_) => "Tcp",
            Self::Over(_) => "Over",
            Self::Other(_) => "Other",
        })
    }
}

/// A connection of the program's own connector.
trait Transport: AsyncRead + AsyncWrite + Unpin + Send {
    fn tcp(&self) -> Option<&TcpStream>;
}

#[pin_project]
struct Over<IO> {
    #[pin]
    io: IO,
    tcp: fn(&IO) -> Option<&TcpStream>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send> Transport for Over<IO> {
    fn tcp(&self) -> Option<&TcpStream> {
        (self.tcp)(&self.io)
    }
}

impl<IO: AsyncRead> AsyncRead for Over<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.project().io.poll_read(cx, buf)
    }
}

impl<IO: AsyncWrite> AsyncWrite for Over<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.project().io.poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_shutdown(cx)
    }
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

    /// The same where the client's connector makes connections of a type of its own, `TokioIo<IO>`:
    /// `tcp` finds the socket under such a connection, also under TLS.
    ///
    /// # Examples
    ///
    /// ```
    /// use hyper::upgrade::Upgraded;
    /// use orion_drain_serve::TunnelUpstream;
    /// use tokio::io::BufStream;
    /// use tokio::net::TcpStream;
    ///
    /// fn upstream(upgraded: Upgraded) -> TunnelUpstream {
    ///     TunnelUpstream::over(upgraded, |io: &BufStream<TcpStream>| Some(io.get_ref()))
    /// }
    /// ```
    pub fn over<IO>(upgraded: Upgraded, tcp: fn(&IO) -> Option<&TcpStream>) -> Self
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match upgraded.downcast::<TokioIo<IO>>() {
            Ok(parts) => Self {
                first: parts.read_buf,
                io: Io::Over(Box::new(Over {
                    io: parts.io.into_inner(),
                    tcp,
                })),
            },
            Err(upgraded) => Self::new(upgraded),
        }
    }

    pub(super) fn tcp(&self) -> Option<&TcpStream> {
        match &self.io {
            Io::Tcp(tcp) => Some(tcp),
            Io::Over(over) => over.tcp(),
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
            Io::Over(over) => Pin::new(over).poll_read(cx, buf),
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
            Io::Over(over) => Pin::new(over).poll_write(cx, buf),
            Io::Other(other) => Pin::new(other).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            Io::Over(over) => Pin::new(over).poll_flush(cx),
            Io::Other(other) => Pin::new(other).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Io::Over(over) => Pin::new(over).poll_shutdown(cx),
            Io::Other(other) => Pin::new(other).poll_shutdown(cx),
        }
    }
}
