//! An accepted connection: TCP or Unix, read and written alike.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use crate::ListenAddress;

/// An accepted connection. It belongs to the runtime that accepted it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Stream {
    /// A TCP connection.
    Tcp(TcpStream),
    /// A connection to a Unix socket.
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Stream {
    /// The TCP connection, if it is one.
    ///
    /// # Errors
    ///
    /// The stream itself, if it is another kind.
    pub fn into_tcp(self) -> Result<TcpStream, Self> {
        match self {
            Self::Tcp(stream) => Ok(stream),
            #[cfg(unix)]
            other @ Self::Unix(_) => Err(other),
        }
    }

    /// The address that the client meant, where the kernel has redirected its connection.
    pub(super) fn original_destination(&self) -> Option<SocketAddr> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Tcp(stream) => {
                let (socket, local) = (socket2::SockRef::from(stream), stream.local_addr().ok()?);
                // An IPv4 client of an IPv6 socket arrives as a mapped address.
                let local = SocketAddr::new(local.ip().to_canonical(), local.port());
                let original = match local {
                    SocketAddr::V4(_) => socket.original_dst_v4(),
                    SocketAddr::V6(_) => socket.original_dst_v6(),
                };
                let original = original.ok()?.as_socket()?;
                // The kernel knows all connections that it follows, also those that came straight.
                let differs = (original.ip(), original.port()) != (local.ip(), local.port());
                differs.then_some(original)
            }
            _ => None,
        }
    }

    /// The address that the client connected to.
    pub(super) fn local(&self) -> Option<ListenAddress> {
        match self {
            Self::Tcp(stream) => stream.local_addr().ok().map(ListenAddress::Socket),
            #[cfg(unix)]
            Self::Unix(stream) => {
                let local = socket2::SockRef::from(stream).local_addr().ok()?;
                super::inherited::unix_address(&local)
            }
        }
    }
}

/// Calls the same method on whatever kind of stream it is.
macro_rules! each {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream.get_mut() {
            Stream::Tcp($inner) => $call,
            #[cfg(unix)]
            Stream::Unix($inner) => $call,
        }
    };
}

impl AsyncRead for Stream {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            #[cfg(unix)]
            Self::Unix(stream) => stream.is_write_vectored(),
        }
    }
}
