//! A two-way copy and its steps in a drain. How it copies is in `run.rs`.

use crate::{
    Bytes, CloseMode, CopyOptions, DrainPoint, Ended, Rule, Side,
    half::Half,
    reset::Resets,
    run::Stage,
    timer::{Timer, later},
};
use drain_signal::{CloseSteps, DrainDecision, Goodbye, GracefulClose};
use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    io,
    pin::Pin,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

/// The decision of a copy that was given none: its own slot. Never constructed.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "it has no value")]
pub enum OwnSlot {}

impl DrainDecision for OwnSlot {
    fn is_due(&self) -> bool {
        match *self {}
    }
}

/// A two-way copy between a client and an upstream that can be asked to leave.
///
/// A future of a [`CopyReport`](crate::CopyReport); as a [`GracefulClose`] it is run by
/// [`drive`](drain_signal::drive) beside the connection's watch. Without a drain it copies as
/// tokio's
/// [`copy_bidirectional`](https://docs.rs/tokio/latest/tokio/io/fn.copy_bidirectional.html): an end
/// of one half is passed on while the other half goes on, and a side that does not read stops the
/// other from being read.
///
/// Differences: an error of one side does not throw away what was already taken for the other; a
/// side that was reset, or that ended without its protocol's end, makes the other one end in RST
/// and not in FIN; and the memory of a direction is held only while its reader is slower than its
/// writer.
///
/// # Cancel safety
///
/// Dropping it closes both sides at once; bytes taken and not delivered are lost. Everything else
/// about the end is in the report.
///
/// # Panics
///
/// When polled again after it was ready, and once it drains, or one side has failed, when polled
/// outside a tokio runtime with time enabled.
///
/// # Examples
///
/// ```
/// use proto_drain_tcp::{CopyOptions, DrainCopy, TcpDrainPolicy};
/// use std::time::Duration;
///
/// # fn f(client: tokio::net::TcpStream, upstream: tokio::net::TcpStream) {
/// let options = CopyOptions::new().with_policy(TcpDrainPolicy::WhenQuiet(Duration::from_secs(5)));
/// let copy = DrainCopy::new(client, upstream).with_options(options);
/// # drop(copy);
/// # }
/// ```
#[must_use = "a copy moves bytes only when it is polled"]
pub struct DrainCopy<A, B, D = OwnSlot> {
    /// The client and the upstream; dropped, and so closed, when the copy is over.
    pub(crate) ends: Option<(A, B)>,
    pub(crate) up: Half,
    pub(crate) down: Half,
    pub(crate) options: CopyOptions,
    pub(crate) decision: Option<D>,
    pub(crate) close_mode: CloseMode,
    pub(crate) resets: Resets<A, B>,
    pub(crate) point: DrainPoint,
    pub(crate) rule: Rule,
    /// The time between `finish` and `abort`.
    pub(crate) finish_window: Duration,
    /// The time between `abort` and the moment when the driver drops the copy.
    pub(crate) drop_after: Duration,
    pub(crate) stage: Stage,
    pub(crate) ended: Ended,
    /// The last chunk went to the upstream, which has not answered it.
    pub(crate) awaits_answer: bool,
    /// Since when nothing has moved. Kept up only while a rule or a bound looks at it.
    pub(crate) still_since: Option<Instant>,
    /// A quiet copy closes no earlier than this, so that quiet copies do not all close in one
    /// moment.
    pub(crate) not_before: Option<Instant>,
    /// The end of the time to deliver or to linger, whatever moves.
    pub(crate) until: Option<Instant>,
    pub(crate) timer: Timer,
}

impl<A, B> DrainCopy<A, B>
where
    A: AsyncRead + AsyncWrite + Unpin + 'static,
    B: AsyncRead + AsyncWrite + Unpin + 'static,
{
    /// A copy between the connection that was accepted and the one that was made for it.
    ///
    /// It knows how to reset a [`TcpStream`](tokio::net::TcpStream); for other transports see
    /// [`with_resets`](Self::with_resets).
    pub fn new(client: A, upstream: B) -> Self {
        Self {
            ends: Some((client, upstream)),
            up: Half::new(Side::Client),
            down: Half::new(Side::Upstream),
            options: CopyOptions::new(),
            decision: None,
            close_mode: CloseMode::Fin,
            resets: Resets::of_known_types(),
            point: DrainPoint::Open,
            rule: Rule::Stay,
            finish_window: CloseSteps::default().finish_before,
            drop_after: CloseSteps::default().drop_after,
            stage: Stage::Copying,
            ended: Ended::ByPeers,
            awaits_answer: false,
            still_since: None,
            not_before: None,
            until: None,
            timer: Timer::default(),
        }
    }

    /// What [`TcpDrainPolicy::CheckOnData`](crate::TcpDrainPolicy::CheckOnData) asks after each
    /// chunk: the connection's watch, or a drain manager's decision over it. Without one the
    /// connection's own slot is the answer.
    pub fn with_decision<D: DrainDecision>(self, decision: D) -> DrainCopy<A, B, D> {
        DrainCopy {
            decision: Some(decision),
            ends: self.ends,
            up: self.up,
            down: self.down,
            options: self.options,
            close_mode: self.close_mode,
            resets: self.resets,
            point: self.point,
            rule: self.rule,
            finish_window: self.finish_window,
            drop_after: self.drop_after,
            stage: self.stage,
            ended: self.ended,
            awaits_answer: self.awaits_answer,
            still_since: self.still_since,
            not_before: self.not_before,
            until: self.until,
            timer: self.timer,
        }
    }
}

impl<A, B, D> DrainCopy<A, B, D> {
    /// Sets the policy and the bounds.
    pub fn with_options(mut self, options: CopyOptions) -> Self {
        self.options = options.with_chunk(options.chunk);
        self
    }

    /// How a drain closes this connection: FIN (the default), or RST on both sides. A copy that the
    /// peers end, or that fails, is not reset by this. Transports without a
    /// [reset](Self::with_resets) end in FIN.
    pub fn with_close_mode(mut self, mode: CloseMode) -> Self {
        self.close_mode = mode;
        self
    }

    /// How each side is made to send RST when it is dropped: for a wrapper around a
    /// [`TcpStream`](tokio::net::TcpStream) (TLS, PROXY protocol), `|wrapper|
    /// reset_on_drop(wrapper.get_ref())` with [`reset_on_drop`](crate::reset_on_drop). An error
    /// says that it cannot be reset.
    ///
    /// A side is reset when the other one was: a reset means that its data is not complete, and FIN
    /// would say that it is.
    pub fn with_resets(
        mut self,
        client: fn(&A) -> io::Result<()>,
        upstream: fn(&B) -> io::Result<()>,
    ) -> Self {
        self.resets = Resets { client, upstream };
        self
    }

    /// How far the drain has come for this copy.
    #[must_use]
    pub const fn point(&self) -> DrainPoint {
        self.point
    }

    /// What the client has sent so far.
    #[must_use]
    pub const fn client_to_upstream(&self) -> Bytes {
        self.up.bytes()
    }

    /// What the upstream has sent so far.
    #[must_use]
    pub const fn upstream_to_client(&self) -> Bytes {
        self.down.bytes()
    }

    fn reach(&mut self, point: DrainPoint) {
        self.point = self.point.max(point);
        self.rule = self
            .options
            .policy
            .rule(self.point, self.options.finish_quiet);
    }

    /// The time to deliver and to linger ends at `at`, or earlier if that was said before.
    pub(crate) fn end_by(&mut self, at: Instant) {
        self.until = Some(self.until.map_or(at, |until| until.min(at)));
    }
}

impl<A, B, D> GracefulClose for DrainCopy<A, B, D>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
    D: DrainDecision + Unpin,
{
    fn start(self: Pin<&mut Self>, goodbye: &Goodbye) {
        let this = self.get_mut();
        if let Some(event) = &goodbye.event {
            this.finish_window = event.finish_before();
            this.drop_after = event.close_steps.drop_after;
        }
        this.reach(DrainPoint::Signaled);
    }

    /// A quiet copy closes from here on, at a moment of its own in the first three quarters of what
    /// is left, so that quiet copies do not all close at once.
    fn finish(self: Pin<&mut Self>) {
        let this = self.get_mut();
        this.reach(DrainPoint::Finishing);
        let share = RandomState::new().hash_one(()) as u32;
        let window = this.finish_window / 4 * 3;
        let wait = window.mul_f64(f64::from(share) / f64::from(u32::MAX));
        this.not_before = Some(later(Instant::now(), wait));
    }

    fn abort(self: Pin<&mut Self>) {
        let this = self.get_mut();
        this.reach(DrainPoint::Deadline);
        // Half of what the driver leaves, so that the report is there before the driver drops the
        // copy.
        this.end_by(later(Instant::now(), this.drop_after / 2));
    }
}

impl<A, B, D> fmt::Debug for DrainCopy<A, B, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainCopy")
            .field("point", &self.point)
            .field("stage", &self.stage)
            .field("client_to_upstream", &self.up.bytes())
            .field("upstream_to_client", &self.down.bytes())
            .finish_non_exhaustive()
    }
}
