//! What ends a connection without any drain: `idle_timeout` and
//! [`ConnectionAge`](super::ConnectionAge). The same goodbye is used.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use conn_tracker::{ConnKind, ConnProtocol};
use drain_signal::{Goodbye, GracefulClose};
use tokio::time::{Instant, Sleep};

use super::Connection;
use super::age::{Age, Due};
use super::ending::Ending;
use super::quiet::{Look, Quiet};

/// A connection that may grow too old or be idle too long. It stays where it is.
pub(super) struct Aging<'a, C> {
    inner: Pin<&'a mut C>,
    connection: &'a Connection,
    ending: &'a Ending,
    /// Where it has any.
    limits: Option<Box<Limits>>,
}

/// A connection that is busy costs a timer every 32nd part of its `idle_timeout`, not one per
/// request ([`Quiet`]), and is found idle that much late at most.
struct Limits {
    idle: Option<Idle>,
    age: Option<Age>,
    /// The task that the timers wake.
    registered: Option<Waker>,
}

struct Idle {
    quiet: Quiet,
    timer: Pin<Box<Sleep>>,
    /// Requests seen when it was last looked at, and whether one was on its way then.
    seen: u64,
    was_busy: bool,
}

impl<'a, C> Aging<'a, C> {
    pub(super) fn new(
        inner: Pin<&'a mut C>,
        connection: &'a Connection,
        ending: &'a Ending,
        idle: Option<Duration>,
        age: Option<Age>,
    ) -> Self {
        let has_limits = idle.is_some() || age.is_some();
        let limits = has_limits.then(|| {
            Box::new(Limits {
                idle: idle.map(Idle::new),
                age,
                registered: None,
            })
        });
        Self {
            inner,
            connection,
            ending,
            limits,
        }
    }
}

impl Idle {
    fn new(timeout: Duration) -> Self {
        let (quiet, first) = Quiet::new(timeout, Instant::now());
        Self {
            quiet,
            timer: Box::pin(tokio::time::sleep_until(first)),
            seen: 0,
            was_busy: false,
        }
    }

    /// Ready when it has been idle for its time.
    fn poll(&mut self, cx: &mut Context<'_>, connection: &Connection) -> Poll<()> {
        let requests = connection.requests();
        if self.quiet.rests() && requests != self.seen {
            self.seen = requests;
            self.timer
                .as_mut()
                .reset(self.quiet.stirred(Instant::now()));
        }
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let kind = connection.guard().kind();
            let is_busy = !matches!(kind, ConnKind::Idle | ConnKind::Handshaking);
            // One that was on its way may have ended since.
            let happened = is_busy || self.was_busy || requests != self.seen;
            self.seen = requests;
            self.was_busy = is_busy;
            match self.quiet.look(happened, Instant::now()) {
                Look::Again(at) => self.timer.as_mut().reset(at),
                Look::Over => return Poll::Ready(()),
            }
        }
    }

    /// Whether polling it again before its timer wakes the task would change nothing.
    fn rests(&self, connection: &Connection) -> bool {
        let stirs = self.quiet.rests() && connection.requests() != self.seen;
        !stirs && !self.timer.is_elapsed()
    }
}

impl Limits {
    /// Ready when the connection is to be informed, or closed.
    fn poll(&mut self, cx: &mut Context<'_>, connection: &Connection) -> Poll<Over> {
        let retired = connection.has_retired();
        let rests = self.age.as_ref().is_none_or(|age| age.rests(retired))
            && self.idle.as_ref().is_none_or(|idle| idle.rests(connection));
        let registered = self.registered.as_ref();
        // Once the timers are registered there is nothing to ask them: that costs two loads a poll.
        if rests && registered.is_some_and(|waker| waker.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        self.registered = Some(cx.waker().clone());
        if let Some(age) = &mut self.age {
            if let Poll::Ready(due) = age.poll(cx, retired) {
                // Its next timer is not registered yet.
                self.registered = None;
                return Poll::Ready(Over::Age(due));
            }
        }
        if let Some(idle) = &mut self.idle {
            ready!(idle.poll(cx, connection));
            self.idle = None;
            return Poll::Ready(Over::Idle);
        }
        Poll::Pending
    }
}

/// Which limit is reached.
enum Over {
    Idle,
    Age(Due),
}

/// A connection that an idle timeout can close.
pub(super) trait CloseWhenIdle {
    /// Closes as soon as no request is under way.
    fn close_when_idle(self: Pin<&mut Self>);
}

impl<C: GracefulClose + CloseWhenIdle> Future for Aging<'_, C> {
    type Output = C::Output;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let this = &mut *self;
        loop {
            if let Poll::Ready(output) = this.inner.as_mut().poll(cx) {
                return Poll::Ready(output);
            }
            let Some(limits) = this.limits.as_mut() else {
                return Poll::Pending;
            };
            let connection = this.connection;
            let is_over = match ready!(limits.poll(cx, connection)) {
                Over::Age(Due::Aged) => {
                    if !connection.has_retired() {
                        this.ending.stats().max_duration_reached();
                    }
                    connection.retire();
                    false
                }
                Over::Age(Due::GraceOver) => true,
                Over::Age(Due::Cut) => {
                    // The driver, which is above, learns of it and takes the steps that are left.
                    connection.drain().force();
                    false
                }
                Over::Idle => {
                    this.ending.stats().idle_timed_out();
                    connection.reach_limit();
                    true
                }
            };
            // HTTP/2 has a word for it, and `drain_timeout` between its two GOAWAYs; a request that
            // is on its way is served. HTTP/1 has none: it is closed if it is still idle.
            if is_over && connection.guard().protocol() != ConnProtocol::Http2 {
                this.inner.as_mut().close_when_idle();
            }
        }
    }
}

impl<C: GracefulClose + CloseWhenIdle> GracefulClose for Aging<'_, C> {
    fn start(mut self: Pin<&mut Self>, goodbye: &Goodbye) {
        self.inner.as_mut().start(goodbye);
    }

    fn finish(mut self: Pin<&mut Self>) {
        self.inner.as_mut().finish();
    }

    fn abort(mut self: Pin<&mut Self>) {
        self.ending.cut();
        self.inner.as_mut().abort();
    }
}
