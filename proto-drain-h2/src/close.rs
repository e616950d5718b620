//! The connection: what the driver's three steps mean for a server over a
//! [`GoawayIo`](crate::GoawayIo), and so when the two GOAWAYs are written. The first is written at
//! `start`; the final one when the gap (`drain_timeout`) is over, or at `finish` if that comes first.

use crate::drain::H2Parts;
use crate::handle::{GoawayHandle, WireProtocol};
use crate::settings::StreamsAtDeadline;
use crate::shutdown::H2Shutdown;
use drain_signal::{Goodbye, GracefulClose};
use pin_project::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// A server connection that [`drain_signal::drive`] can lead through a drain, made by
/// [`H2Drain::connection`](crate::H2Drain::connection).
///
/// | step | what happens |
/// | --- | --- |
/// | `start` | GOAWAY(2^31-1), as soon as the client has shown that it speaks HTTP/2; the gap is [`H2DrainSettings::drain_timeout_within`](crate::H2DrainSettings::drain_timeout_within) of what is left until the deadline. When it is over, the server's `graceful_shutdown()`, which writes the final GOAWAY. If the client speaks something else, `graceful_shutdown()` at once |
/// | `finish` | the gap ends now. A connection that is started in the same moment, or later, keeps its gap: half of what is left. With [`StreamsAtDeadline::Cut`]: nothing |
/// | `abort` | streams are reset ([`StreamsAtDeadline`]), the transport closes without waiting for the peer, and what still lives after [`StreamsAtDeadline::GRACE`] is cut. With [`StreamsAtDeadline::Cut`] this is over at once, without polling the server again: what follows is that it is dropped |
///
/// As a future it ends as the server's own future does, except that a peer that breaks off after a
/// GOAWAY was written, or that was cut here, is a good end and no error.
///
/// # Examples
///
/// See the [crate's page](crate).
#[pin_project]
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct H2Connection<C> {
    #[pin]
    server: C,
    handle: GoawayHandle,
    step: Step,
    /// Started, and not polled since.
    just_started: bool,
    /// The server was asked to shut down.
    asked: bool,
    /// While a start is held back, and between the abort and the cut.
    timer: Option<Pin<Box<Timer>>>,
}

#[pin_project]
#[derive(Debug)]
struct Timer {
    #[pin]
    sleep: Sleep,
    /// Of the start that is held back.
    deadline: Option<Instant>,
}

impl Timer {
    fn new(after: Duration, deadline: Option<Instant>) -> Pin<Box<Self>> {
        let sleep = tokio::time::sleep(after);
        Box::pin(Self { sleep, deadline })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Serving,
    /// Started before the client has shown what it speaks.
    Held,
    Started,
    Aborted,
    /// Over: the server is not polled any more.
    Cut,
}

impl<C> H2Connection<C> {
    pub(crate) fn new(server: C, parts: H2Parts) -> Self {
        Self {
            server,
            handle: parts.handle,
            step: Step::Serving,
            just_started: false,
            asked: false,
            timer: None,
        }
    }

    /// The handle of its transport.
    pub fn handle(&self) -> &GoawayHandle {
        &self.handle
    }

    /// The server inside.
    pub fn get_ref(&self) -> &C {
        &self.server
    }

    /// The server inside, pinned.
    pub fn get_pin_mut(self: Pin<&mut Self>) -> Pin<&mut C> {
        self.project().server
    }
}

impl<C: H2Shutdown> H2Connection<C> {
    fn begin(self: Pin<&mut Self>, deadline: Option<Instant>) {
        let this = self.project();
        *this.just_started = true;
        *this.timer = None;
        if this.handle.protocol() == WireProtocol::Http2 {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let gap = this
                .handle
                .drain()
                .settings()
                .cut_to(this.handle.gap(), left);
            this.handle.set_drain_timeout(gap);
            this.handle.notice();
        } else {
            *this.asked = true;
            this.server.graceful_shutdown();
        }
        *this.step = Step::Started;
    }

    /// What is due after the server was polled. Whether it must be polled again.
    fn goes_on(mut self: Pin<&mut Self>) -> bool {
        match self.step {
            Step::Held if self.handle.protocol() != WireProtocol::Unknown => {
                let deadline = self.timer.as_ref().and_then(|timer| timer.deadline);
                self.begin(deadline);
                true
            }
            Step::Started | Step::Aborted if self.handle.is_gap_over() && !self.asked => {
                let this = self.as_mut().project();
                *this.asked = true;
                this.server.graceful_shutdown();
                true
            }
            _ => false,
        }
    }
}

impl<C, E> Future for H2Connection<C>
where
    C: H2Shutdown + Future<Output = Result<(), E>>,
{
    type Output = Result<(), E>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        *self.as_mut().project().just_started = false;
        if self.step == Step::Cut {
            return Poll::Ready(Ok(()));
        }
        loop {
            if let Poll::Ready(result) = self.as_mut().project().server.poll(cx) {
                let cut = self.handle.is_cut();
                let good = self.handle.is_lost() && (self.handle.goaway_written() || cut);
                return Poll::Ready(if good { Ok(()) } else { result });
            }
            if self.as_mut().goes_on() {
                continue;
            }
            let this = self.as_mut().project();
            let Some(timer) = this.timer else {
                return Poll::Pending;
            };
            ready!(timer.as_mut().project().sleep.poll(cx));
            let awaits = this.handle.has_begun()
                && !this.handle.drain().settings().first_bytes_timeout.is_zero();
            if *this.step == Step::Held && awaits {
                // The rest of the preface, and the request behind it, are under way.
                return Poll::Pending;
            }
            *this.timer = None;
            this.handle.cut();
        }
    }
}

impl<C, E> GracefulClose for H2Connection<C>
where
    C: H2Shutdown + Future<Output = Result<(), E>>,
{
    fn start(mut self: Pin<&mut Self>, goodbye: &Goodbye) {
        let this = self.as_mut().project();
        if *this.step != Step::Serving {
            return;
        }
        let deadline = goodbye.deadline.map(Instant::from_std);
        if this.handle.protocol() == WireProtocol::Unknown {
            *this.step = Step::Held;
            *this.timer = Some(Timer::new(
                this.handle.drain().settings().first_bytes_timeout,
                deadline,
            ));
        } else {
            self.begin(deadline);
        }
    }

    fn finish(self: Pin<&mut Self>) {
        // Started in the same turn, or to be started: its gap has been, or will be, measured by
        // what is left.
        let hurries = self.handle.drain().settings().at_deadline == StreamsAtDeadline::ResetStreams;
        if hurries && self.step != Step::Held && !self.just_started {
            self.handle.finish();
        }
    }

    fn abort(self: Pin<&mut Self>) {
        let this = self.project();
        match this.handle.drain().settings().at_deadline {
            StreamsAtDeadline::ResetStreams => {
                *this.step = Step::Aborted;
                #[cfg(feature = "hyper")]
                this.handle.resets().reset();
                this.handle.end();
                *this.timer = Some(Timer::new(StreamsAtDeadline::GRACE, None));
            }
            StreamsAtDeadline::Cut => {
                *this.step = Step::Cut;
                this.handle.set_lost();
            }
        }
    }
}
