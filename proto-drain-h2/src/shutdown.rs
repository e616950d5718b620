//! The trait of servers that can be asked for their graceful shutdown, and its implementations.

use std::pin::Pin;

/// A server connection that can be asked for its graceful shutdown: on HTTP/2 GOAWAY(2^31-1) and a
/// PING, then the final GOAWAY when the PING is acknowledged; on HTTP/1 no keep-alive.
///
/// Implemented for hyper's `http2::Connection` (feature `hyper`), hyper-util's two auto connections
/// (feature `hyper-util`) and [`ServeStreams`](crate::ServeStreams) over h2 (feature `h2`); open
/// for others.
pub trait H2Shutdown {
    /// Begins the shutdown; the connection must be polled on. [`H2Connection`](crate::H2Connection)
    /// calls it at most once: on HTTP/2 at the end of the gap, otherwise when the client's first
    /// bytes have shown that it speaks something else.
    fn graceful_shutdown(self: Pin<&mut Self>);
}

impl<C: H2Shutdown + ?Sized> H2Shutdown for Pin<Box<C>> {
    fn graceful_shutdown(self: Pin<&mut Self>) {
        self.get_mut().as_mut().graceful_shutdown();
    }
}

#[cfg(feature = "hyper")]
mod hyper_impl {
    use super::{H2Shutdown, Pin};
    use http::{Request, Response};
    use http_body::Body;
    use hyper::body::Incoming;
    use hyper::rt::bounds::Http2ServerConnExec;
    use hyper::rt::{Read, Write};
    use hyper::server::conn::http2;
    use hyper::service::Service;
    use std::error::Error;

    impl<I, B, S, E> H2Shutdown for http2::Connection<I, S, E>
    where
        S: Service<Request<Incoming>, Response = Response<B>>,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        I: Read + Write + Unpin,
        B: Body + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
        E: Http2ServerConnExec<S::Future, B>,
    {
        fn graceful_shutdown(self: Pin<&mut Self>) {
            Self::graceful_shutdown(self);
        }
    }
}

#[cfg(feature = "hyper-util")]
mod auto_impl {
    use super::{H2Shutdown, Pin};
    use http::{Request, Response};
    use http_body::Body;
    use hyper::body::Incoming;
    use hyper::rt::{Read, Write};
    use hyper::service::Service;
    use hyper_util::server::conn::auto::{Connection, HttpServerConnExec, UpgradeableConnection};
    use std::error::Error;

    impl<I, B, S, E> H2Shutdown for Connection<'_, I, S, E>
    where
        S: Service<Request<Incoming>, Response = Response<B>>,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        I: Read + Write + Unpin,
        B: Body + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
        E: HttpServerConnExec<S::Future, B>,
    {
        fn graceful_shutdown(self: Pin<&mut Self>) {
            Self::graceful_shutdown(self);
        }
    }

    impl<I, B, S, E> H2Shutdown for UpgradeableConnection<'_, I, S, E>
    where
        S: Service<Request<Incoming>, Response = Response<B>>,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        I: Read + Write + Unpin,
        B: Body + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
        E: HttpServerConnExec<S::Future, B>,
    {
        fn graceful_shutdown(self: Pin<&mut Self>) {
            Self::graceful_shutdown(self);
        }
    }
}
