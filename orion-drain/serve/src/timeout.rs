//! `request_timeout`: how long a request may take to arrive whole, head and body. Then 408.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;
use pin_project::pin_project;
use proto_drain_h2::{GoawayHandle, WireProtocol};
use proto_drain_http1::{Exchanges, OpenBody};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::HttpCounts;
use super::HttpServer;
use super::ending::Ending;

/// A service whose requests must have arrived whole within the server's `request_timeout`, unless their response begins
/// before. Who is too slow gets 408, and loses an HTTP/1 connection.
///
/// As [Envoy's `request_timeout`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto),
/// counted for the body from the end of the head. [`Http`](super::Http) wraps its service in it; [`serve_http`](super::serve_http)
/// by itself bounds the head alone. A body that the service leaves unread has not arrived: what of it has come is not known. A
/// request without a body costs nothing.
#[derive(Debug, Clone)]
pub struct RequestTimeout<S> {
    inner: S,
    timeout: Option<Duration>,
    stats: Arc<dyn HttpCounts>,
}

impl<S> RequestTimeout<S> {
    /// Wraps a service of this server.
    pub fn new(inner: S, server: &HttpServer) -> Self {
        Self {
            inner,
            timeout: server.request_timeout(),
            stats: Arc::clone(server.stats()),
        }
    }
}

impl<S, B> Service<Request<Incoming>> for RequestTimeout<S>
where
    S: Service<Request<ReceivedBody>, Response = Response<B>>,
{
    type Response = Response<TimedBody<B>>;
    type Error = S::Error;
    type Future = Timed<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let mut request = request;
        let open = request.extensions_mut().remove::<BodyGuard>();
        let waits = self.timeout.filter(|_| !request.body().is_end_stream());
        let (timer, arrived) = match waits {
            None => (None, None),
            Some(timeout) => {
                let arrived = Arc::<AtomicBool>::default();
                let timer = Timer {
                    sleep: tokio::time::sleep(timeout),
                    arrived: Arc::clone(&arrived),
                    stats: Arc::clone(&self.stats),
                    closes: request.version() < Version::HTTP_2,
                };
                (Some(Box::pin(timer)), Some(arrived))
            }
        };
        Timed {
            inner: self.inner.call(request.map(|body| ReceivedBody {
                body,
                arrived,
                open,
            })),
            timer,
        }
    }
}

#[pin_project]
struct Timer {
    #[pin]
    sleep: Sleep,
    arrived: Arc<AtomicBool>,
    stats: Arc<dyn HttpCounts>,
    closes: bool,
}

/// The response of a [`RequestTimeout`].
#[pin_project]
#[must_use = "futures do nothing unless polled"]
#[expect(missing_debug_implementations, reason = "a service's future")]
pub struct Timed<F> {
    #[pin]
    inner: F,
    /// Only while a body arrives.
    timer: Option<Pin<Box<Timer>>>,
}

impl<F, B, E> Future for Timed<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<TimedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(answered) = this.inner.poll(cx) {
            return Poll::Ready(
                answered.map(|response| response.map(|body| TimedBody { body: Some(body) })),
            );
        }
        let Some(timer) = this.timer.as_mut() else {
            return Poll::Pending;
        };
        let waiting = timer.as_mut().project();
        if waiting.arrived.load(Ordering::Relaxed) {
            *this.timer = None;
            return Poll::Pending;
        }
        ready!(waiting.sleep.poll(cx));
        waiting.stats.request_timed_out();
        let mut response = Response::new(TimedBody { body: None });
        *response.status_mut() = StatusCode::REQUEST_TIMEOUT;
        if *waiting.closes {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        *this.timer = None;
        Poll::Ready(Ok(response))
    }
}

/// A request's body as a service under [`RequestTimeout`] gets it. Frames pass unchanged.
#[derive(Debug)]
pub struct ReceivedBody {
    body: Incoming,
    arrived: Option<Arc<AtomicBool>>,
    open: Option<BodyGuard>,
}

/// For the timer of the next head: until this is dropped, what comes over HTTP/1 is a request's body.
#[derive(Debug, Clone)]
pub(super) struct BodyGuard {
    _guard: Arc<OpenBody>,
}

impl BodyGuard {
    pub(super) fn new(guard: OpenBody) -> Self {
        Self {
            _guard: Arc::new(guard),
        }
    }
}

impl Body for ReceivedBody {
    type Data = bytes::Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) || this.body.is_end_stream() {
            // Relaxed: it says nothing about anything else.
            if let Some(arrived) = this.arrived.take() {
                arrived.store(true, Ordering::Relaxed);
            }
            this.open = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a response under [`RequestTimeout`]: the service's, or none.
#[pin_project]
#[derive(Debug)]
pub struct TimedBody<B> {
    #[pin]
    body: Option<B>,
}

impl<B: Body> Body for TimedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match self.project().body.as_pin_mut() {
            Some(body) => body.poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

const TIMED_OUT: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// A transport on which the head of an HTTP/1 request must arrive in time, from its first byte on. It is the transport's
/// business, since hyper's own timer also runs while a connection is idle.
#[pin_project]
pub(super) struct HeadTimeoutIo<IO> {
    #[pin]
    io: IO,
    timeout: Option<Duration>,
    exchanges: Exchanges,
    goaway: GoawayHandle,
    ending: Arc<Ending>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Something is waiting to be written: the codec is in the middle of a response.
    is_writing: bool,
}

impl<IO> HeadTimeoutIo<IO> {
    pub(super) const fn new(
        io: IO,
        timeout: Option<Duration>,
        exchanges: Exchanges,
        goaway: GoawayHandle,
        ending: Arc<Ending>,
    ) -> Self {
        Self {
            io,
            timeout,
            exchanges,
            goaway,
            ending,
            timer: None,
            is_writing: false,
        }
    }
}

impl<IO: AsyncRead + AsyncWrite> AsyncRead for HeadTimeoutIo<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut this = self.project();
        let read = this.io.as_mut().poll_read(cx, buf);
        let Some(timeout) = *this.timeout else {
            return read;
        };
        if read.is_ready() {
            return read;
        }
        // An exchange lasts until both bodies end, and a tunnel for ever: what comes meanwhile is no head.
        let awaits_a_head = this.exchanges.is_receiving()
            && !this.exchanges.is_answering()
            && !this.exchanges.has_open_body()
            && !this.exchanges.is_tunnel()
            && !*this.is_writing
            && !this.ending.is_in_request();
        if this.goaway.protocol() != WireProtocol::Other || !awaits_a_head {
            *this.timer = None;
            return Poll::Pending;
        }
        if this.exchanges.took_head() {
            // It ran for that head.
            *this.timer = None;
        }
        let timer = this
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(timer.as_mut().poll(cx));
        *this.timeout = None;
        this.ending.stats().request_timed_out();
        // A client that does not even take this answer gets none. For hyper its half of the connection has ended.
        drop(this.io.poll_write(cx, TIMED_OUT));
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite> AsyncWrite for HeadTimeoutIo<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let wrote = this.io.poll_write(cx, buf);
        *this.is_writing = wrote.is_pending();
        wrote
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let wrote = this.io.poll_write_vectored(cx, bufs);
        *this.is_writing = wrote.is_pending();
        wrote
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let flushed = this.io.poll_flush(cx);
        *this.is_writing |= flushed.is_pending();
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_shutdown(cx)
    }
}
