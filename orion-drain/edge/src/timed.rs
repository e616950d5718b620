//! What a stream's timer watches: the bodies of its request and of its response, and the bytes of
//! its tunnel.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use orion_drain::serve::ReceivedBody;
use orion_drain::stats::HttpStats;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::response_watch::watch;
use crate::timeout::{Progress, StreamTimer};
use crate::upload::{Upload, UploadError};

/// The body of a request on its way to the upstream.
#[derive(Debug)]
pub(crate) struct RequestBody {
    body: ReceivedBody,
    /// Told of every frame until the end, or until it is given up.
    progress: Option<Arc<Progress>>,
    /// Shared with the response, if there is something to come.
    upload: Option<Arc<Upload>>,
}

impl RequestBody {
    /// A body that `timer` watches, if there is one.
    pub(crate) fn new(body: ReceivedBody, timer: Option<&mut StreamTimer>) -> Self {
        let timer = timer.filter(|_| !body.is_end_stream());
        let progress = timer.map(StreamTimer::arrives);
        Self {
            body,
            progress,
            upload: None,
        }
    }

    /// What the response and this body say to each other; `None`: there is nothing of it to come.
    pub(crate) fn upload(&mut self) -> Option<Arc<Upload>> {
        self.upload = (!self.body.is_end_stream()).then(Arc::default);
        self.upload.clone()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let this = self.get_mut();
        if let Some(upload) = &this.upload {
            if upload.is_answered(cx) {
                return Poll::Ready(Some(Err(UploadError::Answered)));
            }
        }
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let Some(progress) = &this.progress {
            progress.moved();
        }
        if let (Some(Err(_)), Some(upload)) = (&frame, &this.upload) {
            upload.breaks_off();
        }
        if !matches!(frame, Some(Ok(_))) || this.body.is_end_stream() {
            if let Some(progress) = this.progress.take() {
                progress.ended();
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(UploadError::Client)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(progress) = &self.progress {
            progress.ended();
        }
    }
}

/// The body of a response, which is cut off when a time is over.
pub(crate) struct ResponseBody {
    body: Incoming,
    times: Times,
    /// Of its request, if that had not come whole when the response began.
    upload: Option<Arc<Upload>>,
    /// A stream of HTTP/2: its end is END_STREAM, also if a reset stands behind that (RFC 9113,
    /// section 8.1). hyper makes an end of a reset with NO_ERROR alone, too.
    is_stream: bool,
    /// All of it was read: a reset of the request's rest, by another thread, changes nothing.
    is_whole: bool,
}

/// The times of a response.
enum Times {
    None,
    /// It may end with its first frame.
    Begun(StreamTimer, Arc<HttpStats>),
    /// Its task watches it.
    Watched(Arc<Progress>),
}

impl ResponseBody {
    /// A body that `timer` limits, if there is one. What is over is counted in `stats`. `over_http2`:
    /// how it comes from the endpoint.
    pub(crate) fn new(
        body: Incoming,
        timer: Option<StreamTimer>,
        (upload, over_http2): (Option<Arc<Upload>>, bool),
        stats: &Arc<HttpStats>,
    ) -> Self {
        let times = match timer {
            None => Times::None,
            Some(timer) => Times::Begun(timer, Arc::clone(stats)),
        };
        Self {
            body,
            times,
            is_stream: over_http2,
            is_whole: false,
            upload,
        }
    }

    /// Nothing limits it from now on, and what is left of its request is of no use.
    fn end(&mut self) {
        if let Some(upload) = self.upload.take() {
            upload.answered();
        }
        if let Times::Watched(progress) = std::mem::replace(&mut self.times, Times::None) {
            progress.answered();
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        if this.is_whole {
            return Poll::Ready(None);
        }
        if let Times::Watched(progress) = &this.times {
            if let Some(overdue) = progress.overdue() {
                this.end();
                return Poll::Ready(Some(Err(overdue.into())));
            }
        }
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        // Both are asked before `end`, which lets the request reset the stream.
        this.is_whole =
            matches!(frame, Poll::Ready(None | Some(Ok(_)))) && this.body.is_end_stream();
        let ends = match &frame {
            Poll::Pending => false,
            Poll::Ready(Some(Ok(_))) => this.is_whole,
            Poll::Ready(_) => true,
        };
        if ends {
            this.end();
        } else {
            this.times = match std::mem::replace(&mut this.times, Times::None) {
                Times::Begun(timer, stats) => Times::Watched(watch(timer, stats)),
                times => times,
            };
        }
        if let (Poll::Ready(_), Times::Watched(progress)) = (&frame, &this.times) {
            progress.moved();
        }
        if matches!(frame, Poll::Ready(None)) && this.is_stream && !this.is_whole {
            return Poll::Ready(Some(Err("the endpoint has reset the stream".into())));
        }
        frame.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.is_whole || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.end();
    }
}

/// The client's side of a tunnel: all that moves passes through it.
pub(crate) struct TimedIo<IO> {
    io: IO,
    progress: Option<Arc<Progress>>,
}

impl<IO> TimedIo<IO> {
    pub(crate) const fn new(io: IO, progress: Option<Arc<Progress>>) -> Self {
        Self { io, progress }
    }

    fn moved(&self) {
        if let Some(progress) = &self.progress {
            progress.moved();
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for TimedIo<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if read.is_ready() {
            self.moved();
        }
        read
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for TimedIo<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.io).poll_write(cx, buf);
        if wrote.is_ready() {
            self.moved();
        }
        wrote
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
