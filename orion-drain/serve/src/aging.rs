//! What ends a connection without any drain: `idle_timeout` and `max_connection_duration`. The same goodbye is used.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use conn_tracker::{ConnKind, ConnProtocol};
use drain_signal::{Goodbye, GracefulClose};
use pin_project::pin_project;
use tokio::time::{Instant, Sleep};

use super::Connection;
use super::ending::Ending;
use super::quiet::{Look, Quiet};

/// A connection that may grow too old or be idle too long.
///
/// A connection that is busy costs a timer every 32nd part of its `idle_timeout`, not one per request ([`Quiet`]), and is
/// found idle that much late at most.
#[pin_project]
pub(super) struct Aging<C> {
    #[pin]
    inner: C,
    connection: Connection,
    ending: Arc<Ending>,
    quiet: Option<Quiet>,
    #[pin]
    idle: Option<Sleep>,
    /// Who the idle timer wakes.
    registered: Option<Waker>,
    #[pin]
    oldest: Option<Sleep>,
    /// Requests seen when it was last looked at, and whether one was on its way then.
    seen: u64,
    was_busy: bool,
    told: bool,
}

impl<C> Aging<C> {
    pub(super) fn new(
        inner: C,
        connection: Connection,
        ending: Arc<Ending>,
        idle: Option<Duration>,
        max_age: Option<Duration>,
    ) -> Self {
        Self {
            inner,
            connection,
            ending,
            quiet: idle.map(|timeout| Quiet::new(timeout, Instant::now())),
            idle: idle.map(tokio::time::sleep),
            registered: None,
            oldest: max_age.map(tokio::time::sleep),
            seen: 0,
            was_busy: false,
            told: false,
        }
    }
}

/// A connection that an idle timeout can close.
pub(super) trait CloseWhenIdle {
    /// Closes as soon as no request is under way.
    fn close_when_idle(self: Pin<&mut Self>);
}

impl<C: GracefulClose + CloseWhenIdle> Future for Aging<C> {
    type Output = C::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let mut this = self.project();
        if let Poll::Ready(output) = this.inner.as_mut().poll(cx) {
            return Poll::Ready(output);
        }
        if !*this.told
            && this
                .oldest
                .as_mut()
                .as_pin_mut()
                .is_some_and(|age| age.poll(cx).is_ready())
        {
            *this.told = true;
            this.ending.stats().max_duration_reached();
            // The driver hears of it and starts the goodbye; the next response says it.
            this.connection.drain().start_now();
        }
        let Some(quiet) = this.quiet.as_mut() else {
            return Poll::Pending;
        };
        if quiet.rests() && this.connection.requests() != *this.seen {
            *this.seen = this.connection.requests();
            if let Some(idle) = this.idle.as_mut().as_pin_mut() {
                idle.reset(quiet.stirred(Instant::now()));
            }
        }
        // Once it is registered there is nothing to ask it until it has elapsed: that costs a load, a poll a hundred.
        let is_registered = this
            .registered
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()));
        if is_registered
            && this
                .idle
                .as_ref()
                .get_ref()
                .as_ref()
                .is_some_and(|idle| !idle.is_elapsed())
        {
            return Poll::Pending;
        }
        *this.registered = Some(cx.waker().clone());
        while this
            .idle
            .as_mut()
            .as_pin_mut()
            .is_some_and(|idle| idle.poll(cx).is_ready())
        {
            let requests = this.connection.requests();
            let kind = this.connection.guard().kind();
            let is_busy = !matches!(kind, ConnKind::Idle | ConnKind::Handshaking);
            // One that was on its way may have ended since.
            let happened = is_busy || *this.was_busy || requests != *this.seen;
            *this.seen = requests;
            *this.was_busy = is_busy;
            match quiet.look(happened, Instant::now()) {
                Look::Again(at) => {
                    if let Some(idle) = this.idle.as_mut().as_pin_mut() {
                        idle.reset(at);
                    }
                }
                Look::Over => {
                    *this.quiet = None;
                    this.idle.set(None);
                    this.ending.stats().idle_timed_out();
                    this.connection.drain().start_now();
                    // HTTP/2 has a word for it, and `drain_timeout` between its two GOAWAYs; a request that is on its way is
                    // served. HTTP/1 has none: it is closed if it is still idle.
                    if this.connection.guard().protocol() != ConnProtocol::Http2 {
                        this.inner.as_mut().close_when_idle();
                    }
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
        Poll::Pending
    }
}

impl<C: GracefulClose + CloseWhenIdle> GracefulClose for Aging<C> {
    fn start(self: Pin<&mut Self>, goodbye: &Goodbye) {
        self.project().inner.start(goodbye);
    }

    fn finish(self: Pin<&mut Self>) {
        self.project().inner.finish();
    }

    fn abort(self: Pin<&mut Self>) {
        let this = self.project();
        this.ending.cut();
        this.inner.abort();
    }
}
