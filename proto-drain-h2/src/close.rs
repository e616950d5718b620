//! The connection: what the driver's three steps mean for a server over a [`GoawayIo`](crate::GoawayIo).

use crate::handle::{GoawayHandle, Version};
use crate::settings::{AtDeadline, H2DrainSettings, Packed};
use crate::shutdown::GracefulShutdown;
use drain_signal::{Goodbye, GracefulClose};
use pin_project::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

#[cfg(feature = "hyper")]
use crate::reset::ResetHandle;

/// A server connection that [`drain_signal::drive`] can let go.
///
/// | step | what happens |
/// | --- | --- |
/// | `start` | `graceful_shutdown()`, as soon as the client has shown that it speaks HTTP/2 (or another version); the gap is [`H2DrainSettings::gap`] of what is left until the deadline |
/// | `finish` | the gap ends now: the final GOAWAY. A connection that is told only in this moment, or later, keeps its gap: half of what is left. With [`AtDeadline::Cut`]: nothing |
/// | `abort` | streams are reset ([`AtDeadline`]), the transport closes without waiting for the peer, and what still lives after [`AtDeadline::GRACE`] is cut. With [`AtDeadline::Cut`] this is over at once, without polling the server again: what follows is that it is dropped |
///
/// As a future it ends as the server's own future does, except that a peer that breaks off after it was told to go
/// (a GOAWAY was written), or that was cut here, is a good end and no error.
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
    settings: Packed,
    #[cfg(feature = "hyper")]
    resets: Option<ResetHandle>,
    step: Step,
    /// Told, and not polled since.
    just_told: bool,
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
    /// Told to go before the client has said what it speaks.
    Held,
    Told,
    Aborted,
    /// Over: the server is not polled any more.
    Cut,
}

impl<C> H2Connection<C> {
    /// A server over the transport that `handle` belongs to.
    pub fn new(server: C, handle: GoawayHandle, settings: H2DrainSettings) -> Self {
        Self {
            server,
            handle,
            settings: Packed::new(&settings),
            #[cfg(feature = "hyper")]
            resets: None,
            step: Step::Serving,
            just_told: false,
            timer: None,
        }
    }

    /// Streams served through `resets` get their RST_STREAM at the deadline.
    #[cfg(feature = "hyper")]
    pub fn with_resets(mut self, resets: ResetHandle) -> Self {
        self.resets = Some(resets);
        self
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

impl<C: GracefulShutdown> H2Connection<C> {
    fn tell(self: Pin<&mut Self>, deadline: Option<Instant>) {
        let this = self.project();
        *this.step = Step::Told;
        *this.just_told = true;
        *this.timer = None;
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        this.handle.set_gap(this.settings.unpacked().gap(left));
        this.server.graceful_shutdown();
    }
}

impl<C, E> Future for H2Connection<C>
where
    C: GracefulShutdown + Future<Output = Result<(), E>>,
{
    type Output = Result<(), E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        *self.as_mut().project().just_told = false;
        if self.step == Step::Cut {
            return Poll::Ready(Ok(()));
        }
        loop {
            if let Poll::Ready(result) = self.as_mut().project().server.poll(cx) {
                let good = self.handle.is_lost() && (self.handle.was_told() || self.handle.is_cut());
                return Poll::Ready(if good { Ok(()) } else { result });
            }
            if self.step == Step::Held && self.handle.version() != Version::Unknown {
                let deadline = self.timer.as_ref().and_then(|timer| timer.deadline);
                self.as_mut().tell(deadline);
                continue;
            }
            let this = self.as_mut().project();
            let timer = this.timer.as_mut();
            match timer.map(|timer| timer.as_mut().project().sleep.poll(cx)) {
                Some(Poll::Ready(())) => {
                    *this.timer = None;
                    this.handle.cut();
                }
                Some(Poll::Pending) | None => return Poll::Pending,
            }
        }
    }
}

impl<C, E> GracefulClose for H2Connection<C>
where
    C: GracefulShutdown + Future<Output = Result<(), E>>,
{
    fn start(mut self: Pin<&mut Self>, goodbye: &Goodbye) {
        let this = self.as_mut().project();
        if *this.step != Step::Serving {
            return;
        }
        let deadline = goodbye.deadline.map(Instant::from_std);
        if this.handle.version() == Version::Unknown {
            *this.step = Step::Held;
            *this.timer = Some(Timer::new(this.settings.unpacked().first_bytes_timeout, deadline));
        } else {
            self.tell(deadline);
        }
    }

    fn finish(self: Pin<&mut Self>) {
        // Told in the same turn, or to be told: its gap has been, or will be, measured by what is left.
        let hurries = self.settings.at_deadline == AtDeadline::ResetStreams;
        if hurries && self.step != Step::Held && !self.just_told {
            self.handle.finish();
        }
    }

    fn abort(self: Pin<&mut Self>) {
        let this = self.project();
        match this.settings.at_deadline {
            AtDeadline::ResetStreams => {
                *this.step = Step::Aborted;
                #[cfg(feature = "hyper")]
                if let Some(resets) = this.resets {
                    resets.reset();
                }
                this.handle.end();
                *this.timer = Some(Timer::new(AtDeadline::GRACE, None));
            }
            AtDeadline::Cut => {
                *this.step = Step::Cut;
                this.handle.set_lost();
            }
        }
    }
}
