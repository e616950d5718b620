//! The end of a transport: flush, the delayed close, half-close; each bounded by one rule.
//!
//! The rule: a peer that takes nothing for `delayed_close_timeout` is not waited for. After the
//! last byte of ours has been taken it has the same time to close first; what it sends meanwhile is
//! discarded, and is no progress.

use crate::counters::Lingering;
use crate::drain::H2Drain;
use crate::orders::Orders;
use crate::wire::Wire;
use atomic_waker::AtomicWaker;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// The rule's time where `delayed_close_timeout` is zero, which means no delayed close, not an end
/// without a bound.
const WITHOUT_TIMEOUT: Duration = Duration::from_secs(1);

/// How far the end of one transport has come.
#[derive(Debug)]
pub(crate) struct Ending {
    drain: H2Drain,
    stage: Stage,
    /// Once something has to be waited for: a timer that is set wakes the runtime's driver (a write
    /// to its eventfd), and most transports end at once.
    timer: Option<Pin<Box<Sleep>>>,
    progress: Arc<Progress>,
}

#[derive(Debug)]
enum Stage {
    Flush,
    /// A close while the peer still sends makes the kernel answer with RST, which can destroy what the peer has not read
    /// yet ([RFC 9112 section 9.6](https://www.rfc-editor.org/rfc/rfc9112#section-9.6)). No early half-close, as Envoy.
    Discard(Lingering, u64),
    HalfClose,
}

impl Ending {
    pub(crate) fn new(drain: &H2Drain) -> Self {
        Self {
            drain: drain.clone(),
            stage: Stage::Flush,
            timer: None,
            progress: Arc::new(Progress {
                made: AtomicBool::new(false),
                task: AtomicWaker::new(),
            }),
        }
    }

    /// Ready when the transport is closed, has failed, or is given up.
    pub(crate) fn poll<IO: AsyncRead + AsyncWrite>(
        &mut self,
        cx: &mut Context<'_>,
        mut io: Pin<&mut IO>,
        wire: &mut Wire,
    ) -> Poll<io::Result<()>> {
        let orders = wire.handle.orders().given();
        loop {
            let waker = self.progress.waker(cx);
            let ours = &mut Context::from_waker(&waker);
            let polled = match &mut self.stage {
                Stage::Flush => match wire.poll_flush(io.as_mut(), ours) {
                    Poll::Ready(Ok(())) => {
                        let may_linger = wire.may_linger() && orders & Orders::END == 0;
                        self.go_on(may_linger);
                        continue;
                    }
                    other => other,
                },
                Stage::Discard(lingering, left) => {
                    if orders & Orders::END == 0 {
                        match discard(io.as_mut(), cx, left) {
                            Poll::Ready(_ended) => lingering.peer_closed(),
                            Poll::Pending => ready!(poll_timer(&mut self.timer, &self.drain, cx)),
                        }
                    }
                    self.stage = Stage::HalfClose;
                    self.arm();
                    continue;
                }
                Stage::HalfClose => io.as_mut().poll_shutdown(ours),
            };
            if polled.is_pending() && orders & Orders::CUT != 0 {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            if polled.is_pending() {
                ready!(self.poll_stalled(cx));
                self.drain.counters().stalled();
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            return polled;
        }
    }

    /// All was taken: the peer may close first, or not.
    fn go_on(&mut self, may_linger: bool) {
        let settings = self.drain.settings();
        let lingers = may_linger && !settings.delayed_close_timeout.is_zero();
        self.stage = match lingers.then(|| self.drain.counters().linger(settings.max_lingering)) {
            Some(Some(lingering)) => Stage::Discard(lingering, settings.discard_limit),
            Some(None) | None => Stage::HalfClose,
        };
        self.arm();
    }

    /// Ready when nothing was taken for the time.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Relaxed: the waker that sets it has woken this task, which orders the two.
        if self.progress.made.swap(false, Ordering::Relaxed) {
            self.arm();
        }
        poll_timer(&mut self.timer, &self.drain, cx)
    }

    /// The time begins anew; without a timer it begins when it is waited for.
    fn arm(&mut self) {
        let Some(timer) = &mut self.timer else {
            return;
        };
        if let Some(end) = Instant::now().checked_add(time_of(&self.drain)) {
            timer.as_mut().reset(end);
        }
    }
}

/// The rule's time.
fn time_of(drain: &H2Drain) -> Duration {
    let timeout = drain.settings().delayed_close_timeout;
    if timeout.is_zero() {
        WITHOUT_TIMEOUT
    } else {
        timeout
    }
}

fn poll_timer(
    timer: &mut Option<Pin<Box<Sleep>>>,
    drain: &H2Drain,
    cx: &mut Context<'_>,
) -> Poll<()> {
    timer
        .get_or_insert_with(|| Box::pin(tokio::time::sleep(time_of(drain))))
        .as_mut()
        .poll(cx)
}

/// Whether the transport took something: its writes were pending, and it woke their waker.
#[derive(Debug)]
struct Progress {
    made: AtomicBool,
    task: AtomicWaker,
}

impl Progress {
    fn waker(self: &Arc<Self>, cx: &Context<'_>) -> Waker {
        self.task.register(cx.waker());
        Waker::from(Arc::clone(self))
    }
}

impl Wake for Progress {
    fn wake(self: Arc<Self>) {
        self.made.store(true, Ordering::Relaxed);
        self.task.wake();
    }
}

/// Reads until the peer ends, or nothing more can be read; after the limit nothing more is read,
/// and the peer has its time.
fn discard<IO: AsyncRead>(
    mut io: Pin<&mut IO>,
    cx: &mut Context<'_>,
    left: &mut u64,
) -> Poll<io::Result<()>> {
    let mut bytes = [0; 2048];
    while *left > 0 {
        let mut buf = ReadBuf::new(&mut bytes);
        ready!(io.as_mut().poll_read(cx, &mut buf))?;
        if buf.filled().is_empty() {
            return Poll::Ready(Ok(()));
        }
        *left = left.saturating_sub(buf.filled().len() as u64);
    }
    Poll::Pending
}
