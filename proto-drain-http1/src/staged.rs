//! The steps of a close and their one bound: flush, half-close, read and discard.
//!
//! The bound is on time without progress. While we flush, progress is that the transport can be
//! written again, for which this file polls with a waker of its own: the task's waker is also woken
//! by what the peer sends, and a peer that sends and takes nothing must not stretch the close.
//! After the half-close only the peer's end is progress, and that is the last step.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep};

/// A close under way. Made when it does not end at once.
#[derive(Debug)]
pub(crate) struct Staged {
    timer: Pin<Box<Sleep>>,
    taken: Arc<Taken>,
    discarded: u64,
}

/// How a step of the close went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Discarded {
    /// The peer ended its direction, by FIN or by RST: what it has not taken by now, it does not
    /// want.
    PeerEnded,
    TimedOut,
    LimitReached,
}

/// Woken when the transport takes bytes again.
#[derive(Debug)]
struct Taken {
    progress: AtomicBool,
    task: Waker,
}

impl Wake for Taken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Relaxed: the wake-up orders it before the poll that reads it.
        self.progress.store(true, Ordering::Relaxed);
        self.task.wake_by_ref();
    }
}

impl Staged {
    pub(crate) fn new(cx: &Context<'_>, timeout: Duration) -> Self {
        Self {
            timer: Box::pin(tokio::time::sleep(timeout)),
            taken: Arc::new(Taken {
                progress: AtomicBool::new(false),
                task: cx.waker().clone(),
            }),
            discarded: 0,
        }
    }

    /// Polls `step` until it is ready; an error of kind [`TimedOut`](io::ErrorKind::TimedOut) if
    /// the peer takes nothing for `timeout`.
    pub(crate) fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        timeout: Duration,
        step: impl FnOnce(&mut Context<'_>) -> Poll<io::Result<()>>,
    ) -> Poll<io::Result<()>> {
        if !self.taken.task.will_wake(cx.waker()) {
            self.taken = Arc::new(Taken {
                progress: AtomicBool::new(self.taken.progress.load(Ordering::Relaxed)),
                task: cx.waker().clone(),
            });
        }
        let waker = Waker::from(Arc::clone(&self.taken));
        let polled = step(&mut Context::from_waker(&waker));
        if polled.is_ready() {
            return polled;
        }
        if self.taken.progress.swap(false, Ordering::Relaxed) {
            self.restart(timeout);
        }
        self.timer
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// The time without progress begins anew.
    pub(crate) fn restart(&mut self, timeout: Duration) {
        // A bound beyond what the clock can say is none.
        if let Some(at) = Instant::now().checked_add(timeout) {
            self.timer.as_mut().reset(at);
        }
    }

    /// Reads and discards until the peer ends its direction, or the time or `limit` bytes are over.
    pub(crate) fn poll_discard(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut (impl AsyncRead + Unpin),
        limit: u64,
    ) -> Poll<Discarded> {
        /// Reads of one poll; a busy peer must not keep the thread.
        const ROUNDS: usize = 16;
        let mut space = [MaybeUninit::<u8>::uninit(); 16 * 1024];
        for _ in 0..ROUNDS {
            let mut buf = ReadBuf::uninit(&mut space);
            match Pin::new(&mut *io).poll_read(cx, &mut buf) {
                // A timer that is set wakes the runtime's driver (a write to its eventfd): not for
                // a peer that has ended.
                Poll::Pending => {
                    let timer = self.timer.as_mut().poll(cx);
                    return timer.map(|()| Discarded::TimedOut);
                }
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                    self.discarded = self.discarded.saturating_add(buf.filled().len() as u64);
                    if self.discarded >= limit {
                        return Poll::Ready(Discarded::LimitReached);
                    }
                    if self.timer.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(Discarded::TimedOut);
                    }
                }
                Poll::Ready(Ok(()) | Err(_)) => return Poll::Ready(Discarded::PeerEnded),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
