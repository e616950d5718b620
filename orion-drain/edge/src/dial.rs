//! A connection to an endpoint: by TCP or through a Unix socket, in clear or secured.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use orion_drain::listener_versions::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tower_service::Service;

/// Where an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// The first of these addresses that takes a connection.
    Tcp(Vec<SocketAddr>),
    Unix(PathBuf),
}

/// How connections to an endpoint are made.
#[derive(Debug, Clone)]
pub(crate) struct Dial {
    pub(crate) place: Place,
    /// For the connection and, after it, for the handshake.
    pub(crate) timeout: Duration,
    #[cfg(feature = "tls")]
    pub(crate) secured: Option<Secured>,
}

/// How they are secured.
#[cfg(feature = "tls")]
#[derive(Debug, Clone)]
pub(crate) struct Secured {
    pub(crate) config: std::sync::Arc<tokio_rustls::rustls::ClientConfig>,
    pub(crate) name: tokio_rustls::rustls::pki_types::ServerName<'static>,
}

impl Dial {
    pub(crate) async fn connect(&self) -> io::Result<Dialed> {
        let stream = tokio::time::timeout(self.timeout, self.place.connect()).await??;
        #[cfg(feature = "tls")]
        if let Some(Secured { config, name }) = &self.secured {
            let connector = tokio_rustls::TlsConnector::from(config.clone());
            let secured = connector.connect(name.clone(), stream);
            let secured = tokio::time::timeout(self.timeout, secured).await??;
            return Ok(Dialed::Secured(Box::new(secured)));
        }
        Ok(Dialed::Clear(stream))
    }
}

impl Place {
    async fn connect(&self) -> io::Result<Stream> {
        let addresses = match self {
            Self::Tcp(addresses) => addresses,
            Self::Unix(path) => return UnixStream::connect(path).await.map(Stream::Unix),
        };
        let stream = TcpStream::connect(addresses.as_slice()).await?;
        stream.set_nodelay(true)?;
        Ok(Stream::Tcp(stream))
    }
}

/// A connection to an endpoint.
#[derive(Debug)]
pub(crate) enum Dialed {
    Clear(Stream),
    #[cfg(feature = "tls")]
    Secured(Box<tokio_rustls::client::TlsStream<Stream>>),
}

impl Dialed {
    /// The TCP connection, also under TLS.
    pub(crate) fn tcp(&self) -> Option<&TcpStream> {
        let stream = match self {
            Self::Clear(stream) => stream,
            #[cfg(feature = "tls")]
            Self::Secured(stream) => stream.get_ref().0,
        };
        match stream {
            Stream::Tcp(tcp) => Some(tcp),
            _ => None,
        }
    }
}

impl Connection for Dialed {
    fn connected(&self) -> Connected {
        let connected = Connected::new();
        #[cfg(feature = "tls")]
        if let Self::Secured(stream) = self {
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                return connected.negotiated_h2();
            }
        }
        connected
    }
}

impl AsyncRead for Dialed {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_read(cx, buf),
            #[cfg(feature = "tls")]
            Self::Secured(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Dialed {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_write(cx, bytes),
            #[cfg(feature = "tls")]
            Self::Secured(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            #[cfg(feature = "tls")]
            Self::Secured(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Clear(stream) => stream.is_write_vectored(),
            #[cfg(feature = "tls")]
            Self::Secured(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(feature = "tls")]
            Self::Secured(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(feature = "tls")]
            Self::Secured(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// For hyper's client, whose requests to one endpoint all go by the same dial.
impl Service<Uri> for Dial {
    type Response = TokioIo<Dialed>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<TokioIo<Dialed>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let dial = self.clone();
        async move { dial.connect().await.map(TokioIo::new) }.boxed()
    }
}
