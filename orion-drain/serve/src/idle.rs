//! `idle_timeout` of a relayed connection: nothing has moved in either direction for so long.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::Connection;
use super::age::{Age, Due};
use super::quiet::{Look, Quiet};
use drain_signal::{Goodbye, GracefulClose};
use pin_project::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How often bytes have moved through a stream. Relaxed throughout: it is compared with itself an
/// idle timeout later.
#[derive(Debug, Clone, Default)]
pub(super) struct Moves(Arc<AtomicU64>);

impl Moves {
    fn moved(&self) {
        // One task writes it.
        self.0.store(self.seen().wrapping_add(1), Ordering::Relaxed);
    }

    fn seen(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The client's side of a relay: everything that moves, in either direction, passes through it.
#[pin_project]
pub(super) struct WatchedIo<IO> {
    #[pin]
    io: IO,
    moves: Moves,
}

impl<IO> WatchedIo<IO> {
    pub(super) fn new(io: IO) -> (Self, Moves) {
        let moves = Moves::default();
        let watched = Self {
            io,
            moves: moves.clone(),
        };
        (watched, moves)
    }

    pub(super) const fn get_ref(&self) -> &IO {
        &self.io
    }
}

impl<IO: AsyncRead> AsyncRead for WatchedIo<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.project();
        let read = ready!(this.io.poll_read(cx, buf));
        this.moves.moved();
        Poll::Ready(read)
    }
}

impl<IO: AsyncWrite> AsyncWrite for WatchedIo<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let written = ready!(this.io.poll_write(cx, buf));
        this.moves.moved();
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let written = ready!(this.io.poll_write_vectored(cx, bufs));
        this.moves.moved();
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().io.poll_shutdown(cx)
    }
}

/// A relay that is closed when it is idle or has its age: what was taken is delivered, then FIN
/// both ways.
///
/// It costs a timer every 32nd part of its `idle_timeout` while bytes move, not one per chunk
/// ([`Quiet`]), and is found idle that much late at most.
#[pin_project]
pub(super) struct Idling<C> {
    #[pin]
    inner: C,
    idle: Option<Idle>,
    age: Option<Age>,
    moves: Moves,
    /// Called once, when it is idle.
    on_idle: Option<Box<dyn FnOnce() + Send>>,
    connection: Connection,
}

struct Idle {
    quiet: Quiet,
    timer: Pin<Box<Sleep>>,
    seen: u64,
}

impl<C> Idling<C> {
    pub(super) fn new(
        inner: C,
        timeout: Option<Duration>,
        age: Option<Age>,
        moves: Moves,
        connection: Connection,
        on_idle: impl FnOnce() + Send + 'static,
    ) -> Self {
        let idle = timeout.map(|timeout| {
            let (quiet, first) = Quiet::new(timeout, Instant::now());
            Idle {
                quiet,
                timer: Box::pin(tokio::time::sleep_until(first)),
                seen: moves.seen(),
            }
        });
        Self {
            inner,
            idle,
            age,
            moves,
            on_idle: Some(Box::new(on_idle)),
            connection,
        }
    }
}

impl Idle {
    /// Ready when nothing has moved for the time.
    fn poll(&mut self, cx: &mut Context<'_>, moves: &Moves) -> Poll<()> {
        let moves = moves.seen();
        if self.quiet.rests() && moves != self.seen {
            self.seen = moves;
            self.timer
                .as_mut()
                .reset(self.quiet.stirred(Instant::now()));
        }
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let moved = moves != self.seen;
            self.seen = moves;
            match self.quiet.look(moved, Instant::now()) {
                Look::Again(at) => self.timer.as_mut().reset(at),
                Look::Over => return Poll::Ready(()),
            }
        }
    }
}

impl<C: GracefulClose> Future for Idling<C> {
    type Output = C::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let mut this = self.project();
        loop {
            if let Poll::Ready(output) = this.inner.as_mut().poll(cx) {
                return Poll::Ready(output);
            }
            let due = this.age.as_mut().map(|age| age.poll(cx, false));
            match due {
                Some(Poll::Ready(Due::Aged)) => {
                    this.connection.retire();
                    this.inner.as_mut().finish();
                    continue;
                }
                Some(Poll::Ready(Due::GraceOver | Due::Cut)) => {
                    this.inner.as_mut().abort();
                    continue;
                }
                Some(Poll::Pending) | None => {}
            }
            let Some(idle) = this.idle.as_mut() else {
                return Poll::Pending;
            };
            ready!(idle.poll(cx, this.moves));
            *this.idle = None;
            if let Some(on_idle) = this.on_idle.take() {
                on_idle();
            }
            this.inner.as_mut().abort();
        }
    }
}

impl<C: GracefulClose> GracefulClose for Idling<C> {
    fn start(self: Pin<&mut Self>, goodbye: &Goodbye) {
        self.project().inner.start(goodbye);
    }

    fn finish(self: Pin<&mut Self>) {
        self.project().inner.finish();
    }

    fn abort(self: Pin<&mut Self>) {
        self.project().inner.abort();
    }
}
