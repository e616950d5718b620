//! The steps of an HTTP/1 connection, and who closes one that is idle.
//!
//! HTTP/1 can announce a close only by a header on a response, so a client that sends no request
//! cannot be informed. When its connection is closed is the [`IdlePolicy`]:
//!
//! | policy | an idle connection |
//! | --- | --- |
//! | `WhenItSpeaks`, the default | is closed by the driver's `abort` at the deadline |
//! | `AfterGrace(d)` | is closed by [`Http1Connection`] `d` after its slot, if no byte has come meanwhile |
//! | either, if it has never sent a byte | is closed [`pre_session_timeout`](Http1Settings::pre_session_timeout) (10 s) after its slot |
//!
//! In each case a request can cross the close (RFC 9112 section 9.5); no server can prevent that.
//! A drain closes no connection on half a request head before the deadline.
//! Outside of a drain an idle connection is closed by its `idle_timeout`, which is
//! orion-drain-serve's (`aging.rs`), and half a head holds that up for 10 s.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use drain_signal::{Goodbye, GracefulClose};
use pin_project::pin_project;
use tokio::time::Sleep;

use crate::exchange::Exchanges;

/// An HTTP/1 connection of any implementation that can be asked to stop keeping alive.
///
/// Implemented for hyper's two connection types (feature `hyper`), open for others: a hand-written
/// server implements this one method.
pub trait GracefulShutdown: Future {
    /// No more keep-alive: close at once if idle, otherwise after the response that is under way,
    /// which says `close` if its head is not written yet. Called at most once; must not block. The
    /// connection is polled afterwards.
    fn graceful_shutdown(self: Pin<&mut Self>);
}

/// What happens to a kept-alive connection without a request in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IdlePolicy {
    /// Its next response says `close`, and it is never closed before the deadline. The default.
    ///
    /// Envoy 1.40 closes it at its slot (proactive drain, `drain_timeout` later), without having
    /// said anything to it.
    #[default]
    WhenItSpeaks,
    /// It is closed if its slot has come and no byte came for this long after that. The grace
    /// narrows the race between the close and a new request, which nothing can remove (RFC 9112
    /// section 9.5).
    AfterGrace(Duration),
}

/// What becomes of a connection that is still there at the deadline of a drain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AtDeadline {
    /// An idle connection closes in good order; the others are dropped, and the transport lingers
    /// ([`LingerIo::with_spawner`](crate::LingerIo::with_spawner)), so that nothing that was sent
    /// is destroyed. The default.
    #[default]
    Linger,
    /// The transport is closed at once, as Envoy 1.40 does it: FIN, or RST where unread data lies
    /// in the socket.
    Cut,
}

/// How an [`Http1Connection`] drains: what becomes of an idle one, and of what is left at the
/// deadline.
///
/// Nearest to Envoy 1.40 is [`IdlePolicy::AfterGrace`] with its `drain_timeout` (5 s), a
/// `pre_session_timeout` of zero and [`AtDeadline::Cut`]. One thing stays different: after a
/// response with `close` Envoy serves on until `drain_timeout` ends, where RFC 9112 section 9.6
/// asks for the close, and hyper closes.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use proto_drain_http1::{Http1Settings, IdlePolicy};
///
/// // Idle connections are closed 5 s after their slots instead of at the deadline.
/// let settings = Http1Settings::default().with_idle(IdlePolicy::AfterGrace(Duration::from_secs(5)));
/// assert_eq!(settings.pre_session_timeout, Some(Duration::from_secs(10)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Http1Settings {
    /// What happens to an idle kept-alive connection. Default [`IdlePolicy::WhenItSpeaks`].
    pub idle: IdlePolicy,
    /// How long a connection that has never sent a byte may stay silent after its slot before it is
    /// closed; default 10 s. `None`: as an idle one.
    ///
    /// It is probably about to send its first request, or it is a preconnected spare without a
    /// request to lose. Envoy closes it at its slot at once, and can lose a request that is on its
    /// way.
    pub pre_session_timeout: Option<Duration>,
    /// What becomes of what is left at the deadline. Default [`AtDeadline::Linger`].
    pub at_deadline: AtDeadline,
}

impl Default for Http1Settings {
    fn default() -> Self {
        Self {
            idle: IdlePolicy::default(),
            pre_session_timeout: Some(Duration::from_secs(10)),
            at_deadline: AtDeadline::default(),
        }
    }
}

impl Http1Settings {
    /// Sets [`idle`](Self::idle).
    #[must_use]
    pub fn with_idle(mut self, idle: IdlePolicy) -> Self {
        self.idle = idle;
        self
    }

    /// Sets [`pre_session_timeout`](Self::pre_session_timeout).
    #[must_use]
    pub fn with_pre_session_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.pre_session_timeout = timeout;
        self
    }

    /// Sets [`at_deadline`](Self::at_deadline).
    #[must_use]
    pub fn with_at_deadline(mut self, at_deadline: AtDeadline) -> Self {
        self.at_deadline = at_deadline;
        self
    }
}

/// What the future of an [`Http1Connection`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome<T> {
    /// The connection came to its end by itself, with this.
    Ended(T),
    /// It was dropped in the abort step: what was still open is cut.
    Aborted,
}

impl<T> Outcome<T> {
    /// What the connection returned, unless it was aborted.
    pub fn ended(self) -> Option<T> {
        match self {
            Self::Ended(output) => Some(output),
            Self::Aborted => None,
        }
    }
}

/// An HTTP/1 connection that takes part in a drain: give it to [`drain_signal::drive`].
///
/// | step | what it does |
/// | --- | --- |
/// | `start` (the slot) | [`IdlePolicy`], and `pre_session_timeout` for one that never spoke; the response of a busy one says `close` ([`DrainService`](crate::DrainService)) |
/// | `finish` (near the deadline) | nothing: an idle connection has nothing to finish, and closing it early could only lose a request |
/// | `abort` (the deadline) | closes if idle, where [`AtDeadline::Linger`] is set; otherwise drops the connection, and [`AtDeadline`] says what becomes of the transport. A request whose first bytes have come counts as under way |
///
/// # Cancel safety
///
/// Dropping it is an abort.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct Http1Connection<C> {
    /// `None` once aborted.
    #[pin]
    connection: Option<C>,
    exchanges: Exchanges,
    settings: Arc<Http1Settings>,
    step: Step,
}

/// How long half a request head holds up the close of a connection that is otherwise idle.
const REST_OF_A_HEAD: Duration = Duration::from_secs(10);

/// How far the close has come.
enum Step {
    Serving,
    /// The slot has come; at the end of this time the connection is asked, if it still is as it
    /// was.
    Waiting(Pin<Box<Sleep>>, Still),
    /// It is asked as soon as nothing would be lost by it. Half a head has this long for its rest,
    /// from when it is first seen to hold up the close.
    Closing(Option<Pin<Box<Sleep>>>),
    /// The deadline: asked, and dropped if that does not close it at once.
    Ending,
    Asked,
}

/// What a waited-for connection must still be.
#[derive(Clone, Copy)]
enum Still {
    Unspoken,
    Idle,
    /// Idle; and if it is not, it closes as soon as it can.
    Leaving,
}

impl<C: GracefulShutdown> Http1Connection<C> {
    /// Wraps `connection`, which runs over the [`LingerIo`](crate::LingerIo) that `exchanges` was
    /// taken from.
    ///
    /// Exchanges of no transport would make it look as if it had never spoken. Connections can share
    /// their settings, by an `Arc`.
    pub fn new(
        connection: C,
        exchanges: Exchanges,
        settings: impl Into<Arc<Http1Settings>>,
    ) -> Self {
        Self {
            connection: Some(connection),
            exchanges,
            settings: settings.into(),
            step: Step::Serving,
        }
    }
}

impl<C> Http1Connection<C> {
    /// Closes as soon as no request is under way: at once if it is idle, as for an idle timeout. A
    /// request whose first bytes have come counts as under way, and its response says `close`, if
    /// the rest of its head comes within 10 s. With [`IdlePolicy::AfterGrace`] a connection that has
    /// spoken is closed that much later, as after its slot.
    pub fn close_when_idle(self: Pin<&mut Self>) {
        let this = self.project();
        this.exchanges.leave();
        match (&mut *this.step, this.settings.idle) {
            (Step::Asked | Step::Ending | Step::Closing(_), _) => {}
            // A grace that runs goes on.
            (Step::Waiting(_, still @ (Still::Idle | Still::Leaving)), _) => {
                *still = Still::Leaving
            }
            (_, IdlePolicy::AfterGrace(grace)) if this.exchanges.has_spoken() => {
                let timer = Box::pin(tokio::time::sleep(grace));
                *this.step = Step::Waiting(timer, Still::Leaving);
            }
            _ => *this.step = Step::Closing(None),
        }
    }

    /// What it and its transport share.
    pub const fn exchanges(&self) -> &Exchanges {
        &self.exchanges
    }

    /// The connection inside, pinned; `None` once aborted.
    pub fn get_pin_mut(self: Pin<&mut Self>) -> Option<Pin<&mut C>> {
        self.project().connection.as_pin_mut()
    }
}

impl<C: GracefulShutdown> Future for Http1Connection<C> {
    type Output = Outcome<C::Output>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let Some(mut connection) = this.connection.as_mut().as_pin_mut() else {
                return Poll::Ready(Outcome::Aborted);
            };
            // The connection first: it takes in what already lies in the socket, so that a request
            // there counts.
            if let Poll::Ready(output) = connection.as_mut().poll(cx) {
                return Poll::Ready(Outcome::Ended(output));
            }
            let ask = match this.step {
                Step::Serving | Step::Asked => false,
                Step::Closing(rest) => {
                    loses_nothing(this.exchanges)
                        || rest
                            .get_or_insert_with(|| Box::pin(tokio::time::sleep(REST_OF_A_HEAD)))
                            .as_mut()
                            .poll(cx)
                            .is_ready()
                }
                Step::Ending => {
                    if !this.exchanges.is_shut_down() {
                        this.connection.set(None);
                        continue;
                    }
                    *this.step = Step::Asked;
                    false
                }
                Step::Waiting(timer, still) => {
                    if timer.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    let ask = match still {
                        Still::Unspoken => !this.exchanges.has_spoken(),
                        Still::Idle => loses_nothing(this.exchanges),
                        Still::Leaving => {
                            *this.step = Step::Closing(None);
                            continue;
                        }
                    };
                    *this.step = Step::Serving;
                    ask
                }
            };
            if !ask {
                return Poll::Pending;
            }
            if waits_for_first_head(this.exchanges) {
                this.connection.set(None);
                continue;
            }
            connection.graceful_shutdown();
            *this.step = Step::Asked;
        }
    }
}

impl<C: GracefulShutdown> GracefulClose for Http1Connection<C> {
    fn start(self: Pin<&mut Self>, _goodbye: &Goodbye) {
        let this = self.project();
        if let Step::Closing(_) | Step::Waiting(_, Still::Leaving) = this.step {
            return;
        }
        let wait = match (this.settings.pre_session_timeout, this.settings.idle) {
            (Some(timeout), _) if !this.exchanges.has_spoken() => Some((timeout, Still::Unspoken)),
            (_, IdlePolicy::AfterGrace(grace)) => Some((grace, Still::Idle)),
            (_, IdlePolicy::WhenItSpeaks) => None,
        };
        if let Some((time, still)) = wait {
            *this.step = Step::Waiting(Box::pin(tokio::time::sleep(time)), still);
        }
    }

    fn finish(self: Pin<&mut Self>) {}

    fn abort(self: Pin<&mut Self>) {
        let mut this = self.project();
        if this.settings.at_deadline == AtDeadline::Cut {
            this.exchanges.cut();
            this.connection.set(None);
        } else if loses_nothing(this.exchanges) {
            if let (Some(connection), false) = (
                this.connection.as_mut().as_pin_mut(),
                matches!(this.step, Step::Asked),
            ) {
                connection.graceful_shutdown();
            }
            // An idle one shuts its transport down when it is polled now. One with a response under
            // way does not.
            *this.step = Step::Ending;
        } else {
            this.connection.set(None);
        }
    }
}

/// Whether a graceful shutdown now closes on no request.
///
/// A request that is being answered is finished by the connection itself. One whose head has come
/// in part is not: hyper closes an idle kept-alive connection whatever is in its buffer. Without a
/// service wrapper nothing is known, and the connection's own idea of idle decides.
fn loses_nothing(exchanges: &Exchanges) -> bool {
    !exchanges.is_tracked() || exchanges.is_answering() || !exchanges.is_receiving()
}

/// Whether a graceful shutdown now leaves the connection open: hyper waits for the rest of a first
/// head without end, also if all that has come is an empty line. Nothing was written that a drop
/// could cut off.
fn waits_for_first_head(exchanges: &Exchanges) -> bool {
    exchanges.is_tracked()
        && exchanges.has_spoken()
        && !exchanges.has_answered()
        && !exchanges.is_answering()
}

impl<C> fmt::Debug for Http1Connection<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match self.step {
            Step::Serving => "serving",
            Step::Waiting(..) => "waiting",
            Step::Closing(_) => "closing",
            Step::Ending => "ending",
            Step::Asked => "asked",
        };
        f.debug_struct("Http1Connection")
            .field("step", &step)
            .field("exchanges", &self.exchanges)
            .finish_non_exhaustive()
    }
}
