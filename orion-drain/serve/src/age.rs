//! How old a connection may become, and how many requests it may serve: then its client is asked to
//! finish, also without a drain.
//!
//! ```text
//! max_duration + jitter, or max_requests ── informed ──► grace ── idle HTTP/1 and TCP closed ──► cut_after ── cut
//! ```

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// How old a connection may become, and how many requests it may serve. Default: no limits.
///
/// At its age an HTTP/1 connection is informed by `connection: close` on its next response; an
/// HTTP/2 connection by both GOAWAYs with `drain_timeout` between them, and its streams are served;
/// a TCP connection gets FIN in its next quiet moment, behind every byte that was read. In the
/// registry its reason is [`Aged`](conn_tracker::CloseReason::Aged) from then on. A tunnel that an
/// HTTP/1 connection has become has no age, as in Envoy; one over HTTP/2 ends with its connection.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use orion_drain_serve::ConnectionAge;
///
/// // Connections leave after an hour, not all in the same minute, or with their 10 000th request.
/// let age = ConnectionAge::default()
///     .with_max_duration(Some(Duration::from_secs(3600)))
///     .with_jitter(Duration::from_secs(600))
///     .with_max_requests(Some(10_000));
/// assert_eq!(age.cut_after, None);
/// ```
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionAge {
    /// Since it was accepted: Envoy's `max_connection_duration`. Default: no limit.
    pub max_duration: Option<Duration>,
    /// How much older a connection may become, at most: Envoy's `max_connection_duration_jitter`,
    /// as a time. Each connection has its own share, so that those that were accepted together do
    /// not leave together. Default 0.
    pub jitter: Duration,
    /// From then on until an HTTP/1 connection without a request is closed, or TCP that is never
    /// quiet. A request that crosses the close of an idle connection is lost, so it should be
    /// longer than clients pause. Default 5 s. Envoy's is `drain_timeout`.
    pub grace: Duration,
    /// From then on until it is cut, with the requests that are under way. Default: never.
    pub cut_after: Option<Duration>,
    /// The response to this request is the first that informs the client: Envoy's
    /// `max_requests_per_connection`. Zero counts as no limit, as in Envoy. Default: no limit.
    ///
    /// A response that makes a tunnel of an HTTP/1 connection does not inform the client: the tunnel
    /// goes on.
    pub max_requests: Option<u64>,
}

impl Default for ConnectionAge {
    fn default() -> Self {
        Self {
            max_duration: None,
            jitter: Duration::ZERO,
            grace: Duration::from_secs(5),
            cut_after: None,
            max_requests: None,
        }
    }
}

impl ConnectionAge {
    /// Sets [`max_duration`](Self::max_duration).
    #[must_use]
    pub const fn with_max_duration(mut self, age: Option<Duration>) -> Self {
        self.max_duration = age;
        self
    }

    /// Sets [`jitter`](Self::jitter).
    #[must_use]
    pub const fn with_jitter(mut self, most: Duration) -> Self {
        self.jitter = most;
        self
    }

    /// Sets [`grace`](Self::grace).
    #[must_use]
    pub const fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Sets [`cut_after`](Self::cut_after).
    #[must_use]
    pub const fn with_cut_after(mut self, time: Option<Duration>) -> Self {
        self.cut_after = time;
        self
    }

    /// Sets [`max_requests`](Self::max_requests).
    #[must_use]
    pub const fn with_max_requests(mut self, requests: Option<u64>) -> Self {
        self.max_requests = requests;
        self
    }

    /// The number of the request whose response informs the client.
    pub(super) fn last_request(&self) -> u64 {
        match self.max_requests {
            None | Some(0) => u64::MAX,
            Some(requests) => requests,
        }
    }
}

/// The age of one connection.
#[derive(Debug)]
pub(super) struct Age {
    grace: Duration,
    cut_after: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
    step: Step,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Young,
    /// Informed at this moment.
    Grace(Instant),
    Cutting,
    Over,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// It is as old as it may be, and is to be informed.
    Aged,
    /// The grace is over since it was as old, or had served as many requests, as it may.
    GraceOver,
    Cut,
}

impl Age {
    /// `None`: it has no limit. `jitter` is the connection's share.
    pub(super) fn new(limits: &ConnectionAge, jitter: Duration) -> Option<Self> {
        let timer = limits
            .max_duration
            .map(|age| Box::pin(tokio::time::sleep(age.saturating_add(jitter))));
        (timer.is_some() || limits.last_request() != u64::MAX).then_some(Self {
            grace: limits.grace,
            cut_after: limits.cut_after,
            timer,
            step: Step::Young,
        })
    }

    /// Whether polling it again before its timer wakes the task would change nothing.
    pub(super) fn rests(&self, retired: bool) -> bool {
        let elapsed = self.timer.as_ref().is_some_and(|timer| timer.is_elapsed());
        let is_due = retired && matches!(self.step, Step::Young);
        !(elapsed || is_due)
    }

    /// `retired`: it has served as many requests as it may.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, retired: bool) -> Poll<Due> {
        match self.step {
            Step::Young => {
                if !retired {
                    ready!(self.poll_timer(cx));
                }
                let now = Instant::now();
                self.step = Step::Grace(now);
                // A cut that comes first leaves nothing to close afterwards.
                let grace = self.cut_after.map_or(self.grace, |cut| cut.min(self.grace));
                self.arm(now, grace);
                Poll::Ready(Due::Aged)
            }
            Step::Grace(informed) => {
                ready!(self.poll_timer(cx));
                self.step = Step::Over;
                self.timer = None;
                if let Some(cut_after) = self.cut_after {
                    self.step = Step::Cutting;
                    self.arm(informed, cut_after);
                }
                Poll::Ready(Due::GraceOver)
            }
            Step::Cutting => {
                ready!(self.poll_timer(cx));
                self.step = Step::Over;
                self.timer = None;
                Poll::Ready(Due::Cut)
            }
            Step::Over => Poll::Pending,
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.timer {
            Some(timer) => timer.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }

    fn arm(&mut self, from: Instant, after: Duration) {
        // A moment beyond the clock's reach never comes.
        self.timer = from
            .checked_add(after)
            .map(|at| Box::pin(tokio::time::sleep_until(at)));
    }
}
