//! How long a stream may take, as in Envoy: a route's `timeout`, from the end of the request to the
//! end of the response; `stream_idle_timeout`, without a byte either way; `max_stream_duration`.
//!
//! A response whose client takes nothing ends by the same times: see [`crate::response_watch`].
//!
//! One timer does for all three. It is set when a stream first has to wait, at the time that comes
//! first. Bytes set a flag and nothing else: an eighth of the idle timeout is the measure, so that
//! a stream ends when nothing has moved for that timeout, at most an eighth of it later.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use atomic_waker::AtomicWaker;
use http::{Response, StatusCode};
use orion_drain::config::StreamLimits;
use orion_drain::stats::HttpStats;
use tokio::time::{Instant, Sleep};

use crate::answers::{Body, closing, with_body};

/// How often a stream is looked at in its idle timeout.
const LOOKS: u32 = 8;

/// Which time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Overdue {
    #[error("upstream request timeout")]
    Response,
    #[error("stream timeout")]
    Idle { received: bool },
    #[error("downstream duration timeout")]
    Duration { received: bool },
}

impl Overdue {
    /// Counts it under Envoy's name.
    pub(crate) fn count(self, stats: &HttpStats) {
        match self {
            Self::Response => {}
            Self::Idle { .. } => stats.downstream_rq_idle_timeout.inc(),
            Self::Duration { .. } => stats.downstream_rq_max_duration_reached.inc(),
        }
    }

    /// The answer to a request that has none yet. It is counted.
    pub(crate) fn response(self, over_http1: bool, stats: &HttpStats) -> Response<Body> {
        self.count(stats);
        let received = match self {
            Self::Response => true,
            Self::Idle { received } | Self::Duration { received } => received,
        };
        match received {
            true => with_body(StatusCode::GATEWAY_TIMEOUT, self.to_string()),
            // What is still to come of it is not read.
            false if over_http1 => {
                closing(with_body(StatusCode::REQUEST_TIMEOUT, self.to_string()))
            }
            false => with_body(StatusCode::REQUEST_TIMEOUT, self.to_string()),
        }
    }
}

/// What the timer of a stream is told from elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Something has moved since the timer last looked. Relaxed: it says nothing about anything
    /// else.
    moved: AtomicBool,
    /// The request has arrived whole, or is given up.
    ended: AtomicBool,
    timer: AtomicWaker,
    /// The response has ended. Relaxed, as `overdue` is of the stream's task alone.
    answered: AtomicBool,
    /// Which time is over while the response is under way.
    overdue: OnceLock<Overdue>,
}

impl Progress {
    pub(crate) fn moved(&self) {
        self.moved.store(true, Ordering::Relaxed);
    }

    /// The request is over.
    pub(crate) fn ended(&self) {
        self.moved();
        // Release: pairs with the Acquire in `StreamTimer::poll`, which then sees the movement. The
        // waker orders it before the timer's next look.
        self.ended.store(true, Ordering::Release);
        self.timer.wake();
    }

    /// The response is over, or is given up.
    pub(crate) fn answered(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// This time is over while the response is under way.
    pub(crate) fn is_over(&self, overdue: Overdue) {
        self.overdue.get_or_init(|| overdue);
    }

    /// Which time is over while the response is under way.
    pub(crate) fn overdue(&self) -> Option<Overdue> {
        self.overdue.get().copied()
    }
}

/// The timer of one stream. It resolves when a time is over.
pub(crate) struct StreamTimer {
    limits: StreamLimits,
    /// When the stream began, if it may only take so long.
    since: Option<Instant>,
    /// The other side of what the timer watches.
    progress: Option<Arc<Progress>>,
    received: bool,
    /// The response has moved since the timer last looked.
    moved: bool,
    armed: Option<Pin<Box<Sleep>>>,
    /// When the response must have ended.
    response_at: Option<Instant>,
    look_at: Option<Instant>,
    quiet: u32,
}

impl StreamTimer {
    /// The timer of a request that has arrived whole; `None`: nothing limits it.
    pub(crate) fn new(limits: StreamLimits) -> Option<Self> {
        (limits != StreamLimits::default()).then(|| Self {
            limits,
            since: limits.duration.map(|_| Instant::now()),
            progress: None,
            received: true,
            moved: false,
            armed: None,
            response_at: None,
            look_at: None,
            quiet: 0,
        })
    }

    /// The same for a request that has not arrived: what is told of it.
    pub(crate) fn arrives(&mut self) -> Arc<Progress> {
        self.received = false;
        Arc::clone(self.progress.get_or_insert_default())
    }

    /// The same for a stream that became a tunnel. It has no end but its own.
    pub(crate) fn tunnel(&mut self) -> Arc<Progress> {
        self.limits.response = None;
        self.response_at = None;
        Arc::clone(self.progress.get_or_insert_default())
    }

    /// The same for a response that is under way: what is told of it.
    pub(crate) fn answers(&mut self) -> Arc<Progress> {
        Arc::clone(self.progress.get_or_insert_default())
    }

    /// Something of the response has moved.
    pub(crate) fn moved(&mut self) {
        self.moved = true;
    }

    /// Sets what has no time yet, and the timer at what comes first.
    fn arm(&mut self) {
        let now = Instant::now();
        if let Some(limit) = self.limits.response.filter(|_| self.received) {
            self.response_at.get_or_insert(now + limit);
        }
        if let Some(limit) = self.limits.idle {
            self.look_at.get_or_insert(now + limit / LOOKS);
        }
        let next = [self.duration_at(), self.response_at, self.look_at];
        let Some(next) = next.into_iter().flatten().min() else {
            return;
        };
        match &mut self.armed {
            None => self.armed = Some(Box::pin(tokio::time::sleep_until(next))),
            Some(sleep) if sleep.deadline() == next => {}
            Some(sleep) => sleep.as_mut().reset(next),
        }
    }

    fn duration_at(&self) -> Option<Instant> {
        Some(self.since? + self.limits.duration?)
    }

    /// The timer has gone off: which time is over, or none yet.
    fn look(&mut self) -> Option<Overdue> {
        let now = Instant::now();
        let is_over = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let received = self.received;
        if is_over(self.duration_at()) {
            return Some(Overdue::Duration { received });
        }
        if is_over(self.response_at) {
            return Some(Overdue::Response);
        }
        if is_over(self.look_at) {
            let progress = self.progress.as_deref();
            let moved = progress.is_some_and(|it| it.moved.swap(false, Ordering::Relaxed));
            // From now on, not from when it should have been: a stream that was not looked at for
            // long is not idle because of that.
            self.look_at = None;
            self.quiet += 1;
            if std::mem::take(&mut self.moved) | moved {
                self.quiet = 0;
            }
            if self.quiet >= LOOKS {
                return Some(Overdue::Idle { received });
            }
        }
        None
    }
}

impl Future for StreamTimer {
    type Output = Overdue;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Overdue> {
        let this = self.get_mut();
        let mut rearm = this.armed.is_none();
        if let Some(progress) = this.progress.as_ref().filter(|_| !this.received) {
            progress.timer.register(cx.waker());
            // Pairs with the Release in `Progress::ended`.
            if progress.ended.load(Ordering::Acquire) {
                this.received = true;
                rearm = true;
            }
        }
        loop {
            if rearm {
                this.arm();
            }
            let Some(sleep) = &mut this.armed else {
                return Poll::Pending;
            };
            ready!(sleep.as_mut().poll(cx));
            if let Some(overdue) = this.look() {
                return Poll::Ready(overdue);
            }
            rearm = true;
        }
    }
}

/// What a stream waits for, unless a time is over before. It stays where the caller pinned it: a
/// request's future is kept small.
pub(crate) async fn in_time<T>(
    waits: Pin<&mut impl Future<Output = T>>,
    timer: Option<&mut StreamTimer>,
) -> Result<T, Overdue> {
    let Some(timer) = timer else {
        return Ok(waits.await);
    };
    tokio::select! {
        // What is there counts.
        biased;
        done = waits => {
            timer.moved();
            Ok(done)
        }
        overdue = &mut *timer => Err(overdue),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn limits(response: u64, idle: u64, duration: u64) -> StreamLimits {
        let limit = |millis| Some(Duration::from_millis(millis)).filter(|it| !it.is_zero());
        let mut limits = StreamLimits::default();
        limits.response = limit(response);
        limits.idle = limit(idle);
        limits.duration = limit(duration);
        limits
    }

    async fn after(timer: &mut StreamTimer, since: Instant) -> (Overdue, u128) {
        let overdue = timer.await;
        (overdue, since.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_when_nothing_has_moved_for_the_idle_timeout_and_never_earlier() {
        let (since, received) = (Instant::now(), true);
        let mut timer = StreamTimer::new(limits(0, 800, 0)).expect("a limit");
        assert_eq!(
            after(&mut timer, since).await,
            (Overdue::Idle { received }, 800)
        );
        // It moves at 250, between two looks.
        let (since, received) = (Instant::now(), false);
        let mut timer = StreamTimer::new(limits(0, 800, 0)).expect("a limit");
        let progress = timer.arrives();
        let moves = async {
            tokio::time::sleep(Duration::from_millis(250)).await;
            progress.moved();
            std::future::pending::<()>().await;
        };
        let (overdue, at) = tokio::select! {
            () = moves => unreachable!(),
            over = after(&mut timer, since) => over,
        };
        assert_eq!(overdue, Overdue::Idle { received });
        assert!((1050..=1150).contains(&at), "{at}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_response_has_its_time_from_the_end_of_the_request_on() {
        let since = Instant::now();
        let mut timer = StreamTimer::new(limits(500, 0, 0)).expect("a limit");
        let progress = timer.arrives();
        let ends = async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            progress.ended();
            std::future::pending::<()>().await;
        };
        let over = tokio::select! {
            () = ends => unreachable!(),
            over = after(&mut timer, since) => over,
        };
        assert_eq!(over, (Overdue::Response, 60_500));
    }

    #[tokio::test(start_paused = true)]
    async fn a_duration_is_over_whatever_moves() {
        let (since, received) = (Instant::now(), true);
        let mut timer = StreamTimer::new(limits(0, 300, 1000)).expect("a limit");
        let progress = timer.tunnel();
        let moves = async {
            loop {
                tokio::time::sleep(Duration::from_millis(20)).await;
                progress.moved();
            }
        };
        let over = tokio::select! {
            () = moves => unreachable!(),
            over = after(&mut timer, since) => over,
        };
        assert_eq!(over, (Overdue::Duration { received }, 1000));
        assert!(StreamTimer::new(limits(0, 0, 0)).is_none());
    }
}
