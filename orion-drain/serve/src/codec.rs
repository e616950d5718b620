//! hyper's two codecs, of which the client's first bytes choose one; or the one that is asked for.
//!
//! hyper-util's auto connection does the same, with a read for the 24 bytes of the preface alone.
//! Where upgrades are allowed it ignores `http1_only` and `http2_only`: a listener of HTTP/2 alone
//! would serve HTTP/1.

use std::error::Error;
use std::future::Future;
use std::io::{self, Cursor, IoSlice};
use std::mem::{self, MaybeUninit};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Buf as _;
use http_body::Body;
use hyper::body::Incoming;
use hyper::rt::bounds::Http2ServerConnExec;
use hyper::server::conn::{http1, http2};
use hyper::service::HttpService;
use hyper_util::rt::{TokioIo, TokioTimer};
use pin_project::pin_project;
use proto_drain_h2::H2Shutdown;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::CodecType;
use super::stream::StreamTasks;
use super::watch::WatchSlot;

/// What every HTTP/2 client sends first
/// ([RFC 9113 section 3.4](https://www.rfc-editor.org/rfc/rfc9113#section-3.4)).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How much is read before the codec is chosen: a usual request comes whole, and costs no read of
/// its own.
const FIRST_READ: usize = 4096;

/// hyper's builders of both codecs, for settings other than the server's; for
/// [`HttpServer::with_hyper`](super::HttpServer::with_hyper).
#[derive(Debug, Clone)]
pub struct HyperBuilders {
    http1: http1::Builder,
    http2: http2::Builder<StreamTasks>,
}

impl HyperBuilders {
    pub(super) fn new() -> Self {
        let mut builders = Self {
            http1: http1::Builder::new(),
            http2: http2::Builder::new(StreamTasks::default()),
        };
        builders.set_own();
        builders
    }

    /// hyper's settings of HTTP/1.
    pub const fn http1(&mut self) -> &mut http1::Builder {
        &mut self.http1
    }

    /// hyper's settings of HTTP/2.
    pub const fn http2(&mut self) -> &mut http2::Builder<StreamTasks> {
        &mut self.http2
    }

    /// What serving depends on, whatever else is set.
    pub(super) fn set_own(&mut self) {
        self.http1
            .timer(TokioTimer::new())
            // hyper's timer for the head would also run while a connection is idle.
            .header_read_timeout(None)
            // A client may end its side after its request and still read the answer.
            .half_close(true);
        self.http2.timer(TokioTimer::new());
    }

    /// Serves a connection of this codec.
    pub(super) fn serve<IO, S>(
        self: &Arc<Self>,
        codec: CodecType,
        io: IO,
        service: S,
    ) -> Codec<IO, S>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Answering,
        StreamTasks: Http2ServerConnExec<S::Future, S::ResBody>,
    {
        Codec(match codec {
            CodecType::Http1 => self.serve_http1(FirstIo::new(Vec::new(), io), service),
            CodecType::Http2 => self.serve_http2(FirstIo::new(Vec::new(), io), service),
            CodecType::Auto => Stage::Unknown(Box::new(Unknown {
                builders: Arc::clone(self),
                io,
                service,
                first: Vec::new(),
                leaves: false,
            })),
        })
    }

    fn serve_http1<IO, S>(&self, io: FirstIo<IO>, service: S) -> Stage<IO, S>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Answering,
    {
        let served = self.http1.serve_connection(TokioIo::new(io), service);
        Stage::Http1(Box::pin(Http1 {
            served: served.with_upgrades(),
            watch: WatchSlot::default(),
        }))
    }

    fn serve_http2<IO, S>(&self, io: FirstIo<IO>, service: S) -> Stage<IO, S>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Answering,
        StreamTasks: Http2ServerConnExec<S::Future, S::ResBody>,
    {
        let served = self.http2.serve_connection(TokioIo::new(io), service);
        Stage::Http2(Box::pin(served))
    }
}

type BoxError = Box<dyn Error + Send + Sync>;

/// What both codecs ask of a service.
pub(super) trait Answering: HttpService<Incoming, ResBody: AnswerBody> {}

impl<S: HttpService<Incoming, ResBody: AnswerBody>> Answering for S {}

/// What both codecs ask of a response's body.
pub(super) trait AnswerBody: Body<Error: Into<BoxError>> + 'static {}

impl<B: Body<Error: Into<BoxError>> + 'static> AnswerBody for B {}

/// A connection of either codec.
pub(super) struct Codec<IO, S: HttpService<Incoming>>(Stage<IO, S>);

// Boxed, each as large as it is: a connection of HTTP/1 has no room for one of HTTP/2, which takes
// twice as much, nor for its own beginning; and the layers around it, and the task, are made by
// moving it.
enum Stage<IO, S: HttpService<Incoming>> {
    /// The client has not shown which.
    Unknown(Box<Unknown<IO, S>>),
    Http1(Pin<Box<Http1<IO, S>>>),
    Http2(Pin<Box<Http2<IO, S>>>),
    Ended,
}

#[pin_project]
struct Http1<IO, S: HttpService<Incoming>> {
    #[pin]
    served: http1::UpgradeableConnection<TokioIo<FirstIo<IO>>, S>,
    /// Of the response under way.
    watch: WatchSlot,
}

type Http2<IO, S> = http2::Connection<TokioIo<FirstIo<IO>>, S, StreamTasks>;

struct Unknown<IO, S> {
    builders: Arc<HyperBuilders>,
    io: IO,
    service: S,
    first: Vec<u8>,
    /// Asked to shut down.
    leaves: bool,
}

impl<IO, S> Codec<IO, S>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Answering,
    StreamTasks: Http2ServerConnExec<S::Future, S::ResBody>,
{
    fn shut_down(&mut self) {
        match &mut self.0 {
            Stage::Http1(http1) => http1.as_mut().project().served.graceful_shutdown(),
            Stage::Http2(http2) => http2.as_mut().graceful_shutdown(),
            Stage::Unknown(unknown) => unknown.leaves = true,
            Stage::Ended => {}
        }
    }
}

/// Whether these first bytes are HTTP/2's; `None`: so far.
fn is_http2(first: &[u8]) -> Option<bool> {
    let common = first.len().min(PREFACE.len());
    match first[..common] == PREFACE[..common] {
        false => Some(false),
        true if common == PREFACE.len() => Some(true),
        true => None,
    }
}

impl<IO: AsyncRead + Unpin, S> Unknown<IO, S> {
    /// Reads until the version is known: whether it is HTTP/2.
    fn poll_version(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            let mut space = [MaybeUninit::<u8>::uninit(); FIRST_READ];
            let mut buf = ReadBuf::uninit(&mut space);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf))?;
            if buf.filled().is_empty() {
                // It ended without a preface: hyper's HTTP/1 knows what to make of it.
                return Poll::Ready(Ok(false));
            }
            self.first.extend_from_slice(buf.filled());
            if let Some(is_http2) = is_http2(&self.first) {
                return Poll::Ready(Ok(is_http2));
            }
        }
    }
}

impl<IO, S> Future for Codec<IO, S>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Answering,
    StreamTasks: Http2ServerConnExec<S::Future, S::ResBody>,
{
    type Output = Result<(), BoxError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            let is_http2 = match &mut this.0 {
                Stage::Http1(http1) => {
                    let http1 = http1.as_mut().project();
                    let served = http1.watch.poll_around(cx, |cx| http1.served.poll(cx));
                    if let Some(served) = served {
                        return served.map_err(Into::into);
                    }
                    this.0 = Stage::Ended;
                    return Poll::Ready(Err("the client does not take its response".into()));
                }
                Stage::Http2(http2) => return http2.as_mut().poll(cx).map_err(Into::into),
                // Polled after completion: a future may stay pending then.
                Stage::Ended => return Poll::Pending,
                Stage::Unknown(unknown) if unknown.leaves && unknown.first.is_empty() => {
                    return Poll::Ready(Ok(()));
                }
                Stage::Unknown(unknown) => ready!(unknown.poll_version(cx))?,
            };
            let Stage::Unknown(known) = mem::replace(&mut this.0, Stage::Ended) else {
                return Poll::Pending;
            };
            let io = FirstIo::new(known.first, known.io);
            this.0 = match is_http2 {
                true => known.builders.serve_http2(io, known.service),
                false => known.builders.serve_http1(io, known.service),
            };
            if known.leaves {
                this.shut_down();
            }
        }
    }
}

impl<IO, S> H2Shutdown for Codec<IO, S>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Answering,
    StreamTasks: Http2ServerConnExec<S::Future, S::ResBody>,
{
    fn graceful_shutdown(self: Pin<&mut Self>) {
        self.get_mut().shut_down();
    }
}

/// A transport of which some bytes were read already.
#[derive(Debug)]
pub(super) struct FirstIo<IO> {
    /// Until they are read again.
    first: Option<Box<Cursor<Vec<u8>>>>,
    io: IO,
}

impl<IO> FirstIo<IO> {
    #[inline]
    fn new(first: Vec<u8>, io: IO) -> Self {
        let first = (!first.is_empty()).then(|| Box::new(Cursor::new(first)));
        Self { first, io }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for FirstIo<IO> {
    #[inline]
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(first) = &mut self.first {
            let now = first.remaining().min(buf.remaining());
            buf.put_slice(&first.chunk()[..now]);
            first.advance(now);
            if !first.has_remaining() {
                self.first = None;
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for FirstIo<IO> {
    #[inline]
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    #[inline]
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    #[inline]
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_preface_and_nothing_less_is_http2() {
        for len in 0..PREFACE.len() {
            assert_eq!(is_http2(&PREFACE[..len]), None, "{len}");
        }
        assert_eq!(is_http2(PREFACE), Some(true));
        assert_eq!(is_http2(&[PREFACE, b"more"].concat()), Some(true));
        for first in [&b"G"[..], b"POST / HTTP/1.1", b"PRI * HTTP/1.1"] {
            assert_eq!(is_http2(first), Some(false));
        }
    }
}
