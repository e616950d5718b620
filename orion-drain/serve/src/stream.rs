//! Streams of HTTP/2 that are tunnels (CONNECT,
//! [RFC 8441](https://www.rfc-editor.org/rfc/rfc8441)): each counts as a request of its connection
//! until it ends, and ends in a reset where its other side was reset.
//!
//! hyper gives a tunnel's sending half to a task of its own, by the executor, right after the
//! response. That task lives as long as the tunnel does, so it is what is counted; and a stream
//! whose task is dropped ends in RST_STREAM, not in END_STREAM.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;
use http::header::CONTENT_LENGTH;
use http::{Method, Request, Response, Version};
use hyper::rt::Executor;

use super::watch::WatchedTask;
use super::{Connection, WeakConnection};

thread_local! {
    /// The tunnel whose task hyper spawns next: between a response that opens a tunnel and that
    /// task hyper does nothing else.
    static NEXT: Cell<Option<Box<Next>>> = const { Cell::new(None) };
}

#[derive(Debug)]
struct Next {
    tunnel: Arc<StreamTunnel>,
    connection: WeakConnection,
}

/// Where hyper spawns the tasks of HTTP/2 streams: on tokio's current runtime.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct StreamTasks {}

impl<F> Executor<F> for StreamTasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        match NEXT.take() {
            None => drop(tokio::spawn(WatchedTask::new(future))),
            Some(next) => {
                let Next { tunnel, connection } = *next;
                // The response's body still keeps its connection here.
                let open = connection.upgrade().map(OpenStream::new);
                let inner = Some(Box::pin(future));
                tokio::spawn(TunnelTask {
                    inner,
                    tunnel,
                    open,
                });
            }
        }
    }
}

/// A stream that is a tunnel: its connection is not idle.
#[derive(Debug)]
pub(super) struct OpenStream(Connection);

impl OpenStream {
    pub(super) fn new(connection: Connection) -> Self {
        connection.guard().request_started();
        Self(connection)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.guard().request_ended();
    }
}

/// What passes between a tunnel's task and its handler.
#[derive(Debug, Default)]
pub(super) struct StreamTunnel {
    state: AtomicU8,
    task: AtomicWaker,
    reader: AtomicWaker,
}

/// The stream is to end in a reset.
const RESET: u8 = 1;
/// The reader asks whether the stream has ended; the task takes it away when it has looked.
const ASKED: u8 = 2;
/// The stream's sending half has ended.
const ENDED: u8 = 4;

impl StreamTunnel {
    /// Resets the stream, once its handler has dropped it.
    pub(super) fn reset(&self) {
        self.add(RESET);
        self.task.wake();
    }

    /// After the end of what is read: whether the sending half had ended by then, which only the
    /// client can have done if the handler has not. hyper makes the same end of RST_STREAM(CANCEL)
    /// as of END_STREAM.
    pub(super) fn poll_was_reset(&self, cx: &Context<'_>, asked: &mut bool) -> Poll<bool> {
        self.reader.register(cx.waker());
        if !*asked {
            *asked = true;
            self.add(ASKED);
            self.task.wake();
        }
        let state = self.state.load(Ordering::Acquire);
        match (state & ENDED != 0, state & ASKED != 0) {
            (true, _) => Poll::Ready(true),
            (false, true) => Poll::Pending,
            (false, false) => Poll::Ready(false),
        }
    }

    // Release here pairs with the Acquire loads. The wakers order a change before the other side's
    // next look.

    fn add(&self, bits: u8) {
        self.state.fetch_or(bits, Ordering::Release);
    }

    fn answer(&self) {
        if self.state.load(Ordering::Acquire) & ASKED != 0 {
            self.state.fetch_and(!ASKED, Ordering::Release);
            self.reader.wake();
        }
    }
}

/// hyper's task of a tunnel's sending half.
struct TunnelTask<F> {
    inner: Option<Pin<Box<F>>>,
    tunnel: Arc<StreamTunnel>,
    open: Option<OpenStream>,
}

impl<F: Future> Future for TunnelTask<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.tunnel.task.register(cx.waker());
        let is_reset = this.tunnel.state.load(Ordering::Acquire) & RESET != 0;
        let ended = match this.inner.as_mut() {
            Some(inner) if !is_reset => inner.as_mut().poll(cx).is_ready(),
            _ => true,
        };
        if !ended {
            this.tunnel.answer();
            return Poll::Pending;
        }
        this.end();
        Poll::Ready(())
    }
}

impl<F> TunnelTask<F> {
    fn end(&mut self) {
        self.inner = None;
        self.open = None;
        self.tunnel.add(ENDED);
        self.tunnel.reader.wake();
    }
}

impl<F> Drop for TunnelTask<F> {
    fn drop(&mut self) {
        self.end();
    }
}

impl StreamTunnel {
    /// What this request asks to open, if that is a tunnel on a stream of HTTP/2.
    pub(super) fn asked_for<B>(request: &Request<B>) -> Option<Arc<Self>> {
        if request.version() != Version::HTTP_2 {
            return None;
        }
        // Of a tunnel that failed before its task: this stream's task is not that one.
        NEXT.set(None);
        (request.method() == Method::CONNECT).then(Arc::default)
    }
}

/// This response to a CONNECT goes to hyper now, which spawns the tunnel's task next.
pub(super) fn opens_tunnel<B>(
    tunnel: Arc<StreamTunnel>,
    connection: &Connection,
    response: &Response<B>,
) {
    // hyper refuses a tunnel with a length, and spawns nothing for it.
    let length = response.headers().get(CONTENT_LENGTH);
    if response.status().is_success() && length.is_none_or(|length| length == "0") {
        let connection = connection.downgrade();
        NEXT.set(Some(Box::new(Next { tunnel, connection })));
    }
}
