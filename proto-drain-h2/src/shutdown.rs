//! The open trait of servers that can begin to shut down, and who implements it.

use std::pin::Pin;

/// A server connection that can be asked to begin its shutdown: GOAWAY with the notice on HTTP/2, no keep-alive on
/// HTTP/1.
///
/// Implemented for hyper's `http2::Connection` (feature `hyper`), hyper-util's two auto connections (feature
/// `hyper-util`) and [`ServeStreams`](crate::ServeStreams) over h2 (feature `h2`); open for others.
pub trait GracefulShutdown {
    /// Begins the shutdown; the connection must be polled on. Called at most once, and only after the client's first
    /// bytes have told what it speaks.
    fn graceful_shutdown(self: Pin<&mut Self>);
}

impl<C: GracefulShutdown + ?Sized> GracefulShutdown for Pin<Box<C>> {
    fn graceful_shutdown(self: Pin<&mut Self>) {
        self.get_mut().as_mut().graceful_shutdown();
    }
}

#[cfg(feature = "hyper")]
mod hyper_impl {
    use super::{GracefulShutdown, Pin};
    use http::{Request, Response};
    use http_body::Body;
    use hyper::body::Incoming;
    use hyper::rt::bounds::Http2ServerConnExec;
    use hyper::rt::{Read, Write};
    use hyper::server::conn::http2;
    use hyper::service::Service;
    use std::error::Error;

    impl<I, B, S, E> GracefulShutdown for http2::Connection<I, S, E>
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
    use super::{GracefulShutdown, Pin};
    use http::{Request, Response};
    use http_body::Body;
    use hyper::body::Incoming;
    use hyper::rt::{Read, Write};
    use hyper::service::Service;
    use hyper_util::server::conn::auto::{Connection, HttpServerConnExec, UpgradeableConnection};
    use std::error::Error;

    impl<I, B, S, E> GracefulShutdown for Connection<'_, I, S, E>
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

    impl<I, B, S, E> GracefulShutdown for UpgradeableConnection<'_, I, S, E>
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
