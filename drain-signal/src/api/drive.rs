//! The one driver: runs a connection, and leads it through the steps of its drain.
//!
//! Nothing else calls `start`, `finish` and `abort`. Whenever the connection is polled and still
//! open, the driver asks which phase the drain has reached for this connection, and takes the steps
//! up to there in their order: `start` at the connection's slot, `finish` at
//! [`finish_before`](crate::CloseSteps::finish_before) the deadline, `abort` at the deadline. A
//! connection that is still open [`drop_after`](crate::CloseSteps::drop_after) later is dropped.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project::pin_project;

use crate::{DrainHandle, DrainWatch, GracefulClose, Phase, PhaseWait};

/// How a driven connection came to its end.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCause {
    /// By itself, never signaled.
    BeforeDrain,
    /// By itself, after it was signaled.
    Drained,
    /// After the last word shortly before the deadline.
    Finished,
    /// In the abort step at the deadline.
    Aborted,
    /// It did not end in the abort step: dropped.
    Overdue,
    /// Its own deadline was set to now.
    Forced,
}

impl CloseCause {
    /// The cause as a stable lower-case word for logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BeforeDrain => "before_drain",
            Self::Drained => "drained",
            Self::Finished => "finished",
            Self::Aborted => "aborted",
            Self::Overdue => "overdue",
            Self::Forced => "forced",
        }
    }
}

/// A connection that has ended.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed<T> {
    /// What the connection's future returned; `None` if it had to be dropped.
    pub output: Option<T>,
    /// How it came to its end.
    pub cause: CloseCause,
}

/// Runs `connection` to its end under `watch`, whose guard is released with it.
///
/// ```text
/// slot ── start() ──► finish_before ── finish() ──► deadline ── abort() ──► drop_after ── dropped
/// ```
///
/// # Cancel safety
///
/// Dropping the returned future drops the connection and then its guard.
pub fn drive<C: GracefulClose>(connection: C, watch: DrainWatch) -> Drive<C> {
    drive_held(connection, watch)
}

/// [`drive`] for a connection whose guard lives elsewhere, for longer than the returned future. So
/// a connection that is shared by several tasks is counted once. `held` is the connection's handle,
/// or a reference to it, which costs nothing.
///
/// # Cancel safety
///
/// Dropping the returned future drops the connection.
pub fn drive_held<C: GracefulClose, H: AsRef<DrainHandle>>(connection: C, held: H) -> Drive<C, H> {
    Drive {
        connection: Some(connection),
        taken: Phase::Open,
        last_turns: LAST_TURNS,
        watch: Some(PhaseWait::new(held)),
    }
}

/// The future of [`drive`] and [`drive_held`].
#[pin_project]
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Drive<C, W: AsRef<DrainHandle> = DrainWatch> {
    // Declared before the guard: the connection is gone before it is counted out.
    #[pin]
    connection: Option<C>,
    taken: Phase,
    /// Left to a connection that is forced to close.
    last_turns: u8,
    watch: Option<PhaseWait<W>>,
}

/// How often a connection that is forced to close is polled after its abort. There is no time for
/// it, but its reset frames may have to come from other tasks, which run in between.
const LAST_TURNS: u8 = 8;

impl<C: GracefulClose, W: AsRef<DrainHandle>> Future for Drive<C, W> {
    type Output = Closed<C::Output>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let (output, cause) = loop {
            let (Some(mut connection), Some(wait)) =
                (this.connection.as_mut().as_pin_mut(), this.watch.as_mut())
            else {
                // Polled after completion: a future may stay pending then.
                return Poll::Pending;
            };
            // The connection first: what it has done by itself is not the drain's doing.
            let output = connection.as_mut().poll(cx);
            let handle = wait.handle().as_ref();
            if let Poll::Ready(output) = output {
                break (Some(output), cause(*this.taken, handle));
            }
            if *this.taken == Phase::Overdue {
                if !handle.is_forced() {
                    break (None, CloseCause::Overdue);
                }
                if *this.last_turns == 0 {
                    break (None, CloseCause::Forced);
                }
                *this.last_turns -= 1;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let phase = ready!(wait.poll_phase(cx, *this.taken));
            let taken = mem::replace(this.taken, phase);
            let passed = |step: Phase| taken < step && step <= phase;
            if passed(Phase::Signaled) {
                let goodbye = wait.handle().as_ref().goodbye();
                connection.as_mut().start(&goodbye);
            }
            if passed(Phase::Finishing) {
                connection.as_mut().finish();
            }
            if passed(Phase::Expired) {
                connection.abort();
            }
        };
        this.connection.set(None);
        *this.watch = None;
        Poll::Ready(Closed { output, cause })
    }
}

fn cause(taken: Phase, handle: &DrainHandle) -> CloseCause {
    match taken {
        _ if handle.is_forced() => CloseCause::Forced,
        Phase::Open => CloseCause::BeforeDrain,
        Phase::Signaled => CloseCause::Drained,
        Phase::Finishing => CloseCause::Finished,
        Phase::Expired | Phase::Overdue => CloseCause::Aborted,
    }
}
