//! The server: hyper's HTTP/2 connection, bare and in more and more of what this crate puts around
//! it.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use drain_signal::{DrainWatch, Goodbye, GracefulClose, drive};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pin_project::pin_project;
use proto_drain_h2::{GoawayIo, H2Drain, H2Shutdown, NoticeFirst, WithDrain};
use tokio::io::{AsyncRead, AsyncWrite};

/// What is around hyper's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Around {
    /// Nothing.
    Plain,
    /// `drive`, which asks hyper for its own graceful shutdown.
    Drive,
    /// The transport wrapper alone.
    Io,
    /// All of this crate, but:
    Whole,
    /// The drain is also in every request's extensions.
    Shown,
}

/// What the service does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    /// Bytes of each response.
    pub(crate) body: usize,
    /// Whether it answers on its first poll, or lets the others go first.
    pub(crate) yields: bool,
}

pub(crate) fn spawn<IO>(io: IO, around: Around, work: Work, watch: DrainWatch)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let drain = H2Drain::default();
    match around {
        Around::Plain => {
            let connection = builder().serve_connection(TokioIo::new(io), service(work));
            tokio::spawn(async move {
                let _watch = watch;
                connection.await.is_ok()
            });
        }
        Around::Drive => {
            let connection = builder().serve_connection(TokioIo::new(io), service(work));
            tokio::spawn(drive(Asked(connection), watch));
        }
        Around::Io => {
            let (io, _handle) = GoawayIo::new(io, &drain);
            let connection = builder().serve_connection(TokioIo::new(io), service(work));
            tokio::spawn(async move {
                let _watch = watch;
                connection.await.is_ok()
            });
        }
        Around::Whole => {
            let connection = drain.connection(io, |io, parts| {
                let (service, handle) = (parts.service(service(work)), parts.handle().clone());
                let service = NoticeFirst::new(service, watch.handle(), watch.handle(), handle);
                builder().serve_connection(TokioIo::new(io), service)
            });
            tokio::spawn(drive(connection, watch));
        }
        Around::Shown => {
            let connection = drain.connection(io, |io, parts| {
                let service = WithDrain::new(parts.service(service(work)), watch.handle());
                let handle = parts.handle().clone();
                let service = NoticeFirst::new(service, watch.handle(), watch.handle(), handle);
                builder().serve_connection(TokioIo::new(io), service)
            });
            tokio::spawn(drive(connection, watch));
        }
    }
}

fn builder() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.max_concurrent_streams(1000);
    builder
}

fn service(
    work: Work,
) -> impl Service<Request<Incoming>, Response = Response<Full<Bytes>>, Error = Infallible, Future: Send>
+ Send {
    let body = Bytes::from(vec![b'x'; work.body]);
    service_fn(move |_request| {
        let body = body.clone();
        async move {
            if work.yields {
                tokio::task::yield_now().await;
            }
            Ok::<_, Infallible>(Response::new(Full::new(body)))
        }
    })
}

/// hyper's graceful shutdown, and nothing more.
#[pin_project]
struct Asked<C>(#[pin] C);

impl<C: Future> Future for Asked<C> {
    type Output = C::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        self.project().0.poll(cx)
    }
}

impl<C: H2Shutdown + Future> GracefulClose for Asked<C> {
    fn start(self: Pin<&mut Self>, _: &Goodbye) {
        self.project().0.graceful_shutdown();
    }

    fn finish(self: Pin<&mut Self>) {}

    fn abort(self: Pin<&mut Self>) {}
}
