//! How a copy runs: copying, then closing, then lingering.
//!
//! ```text
//!  Copying ── both peers ended ─────────────────────────────────────────────► report
//!     │ the policy says close, or one side failed
//!     ▼
//!  Closing    take no more, deliver what was taken, FIN each way
//!     ▼
//!  Lingering  read and drop until the peers end, within time and bytes ─────► report
//! ```
//!
//! A failed side closes too, but the direction away from it goes on to its end: what a peer said
//! before it went is still delivered. If it went without an end of its own (RST, a TLS stream
//! without close_notify), the other side is reset behind that, and no FIN makes it take a part for
//! the whole. A side that has not taken everything when the time to deliver is over is reset too.

use crate::{
    CloseMode, CopyError, CopyReport, DrainCopy, DrainPoint, Ended, Flow, Rule, Side, Step,
    half::{CHUNKS_A_POLL, Half, Moved},
    timer::later,
};
use drain_signal::DrainDecision;
use std::{
    future::Future,
    io, mem,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Copying,
    Closing,
    Lingering,
}

impl<A, B, D> Future for DrainCopy<A, B, D>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
    D: DrainDecision + Unpin,
{
    type Output = CopyReport;

    /// # Panics
    ///
    /// If it is polled after it was ready.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<CopyReport> {
        let this = self.get_mut();
        loop {
            match this.stage {
                Stage::Copying => ready!(this.poll_copying(cx)),
                Stage::Closing => ready!(this.poll_closing(cx)),
                Stage::Lingering => {
                    ready!(this.poll_lingering(cx));
                    return Poll::Ready(this.report());
                }
            }
        }
    }
}

impl<A, B, D> DrainCopy<A, B, D>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
    D: DrainDecision,
{
    /// Ready when the copy is in another stage.
    fn poll_copying(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.rule == Rule::Close {
            self.close();
            return Poll::Ready(());
        }
        ready!(self.pump(cx));
        if self.stage != Stage::Copying {
            return Poll::Ready(());
        }
        if self.up.is_over() && self.down.is_over() {
            // Both peers have said their last byte: there is nothing to wait for.
            self.stage = Stage::Lingering;
            return Poll::Ready(());
        }
        let Rule::WhenStill(_) = self.rule else {
            return Poll::Pending;
        };
        let now = Instant::now();
        let still_since = *self.still_since.get_or_insert(now);
        let owing = self.awaits_answer
            || [&self.up, &self.down]
                .iter()
                .any(|half| half.owes() || !half.is_open());
        let flow = if owing {
            Flow::Owing
        } else {
            Flow::Still(now.saturating_duration_since(still_since))
        };
        let at = match self.rule.step(flow) {
            Step::Stay => return Poll::Pending,
            Step::LookAgain(wait) => later(now, wait).max(self.not_before.unwrap_or(now)),
            Step::Close => self.not_before.unwrap_or(now),
        };
        if at > now {
            ready!(self.timer.poll_until(cx, at));
            return Poll::Ready(());
        }
        self.close();
        Poll::Ready(())
    }

    /// Ready when everything is delivered and both ends are passed on, or the time for it is over.
    fn poll_closing(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.point == DrainPoint::Deadline {
            self.up.stop();
            self.down.stop();
        }
        ready!(self.pump(cx));
        if !(self.up.is_over() && self.down.is_over()) {
            if let Some(until) = self.closing_bound() {
                ready!(self.timer.poll_until(cx, until));
            } else {
                return Poll::Pending;
            }
            self.up.time_is_over();
            self.down.time_is_over();
        }
        let lingers = if self.passes_reset_on() {
            Duration::ZERO
        } else {
            self.options.linger_time
        };
        self.end_by(later(Instant::now(), lingers));
        self.stage = Stage::Lingering;
        Poll::Ready(())
    }

    /// Resets the side that must not take what it got for the whole. A transport without a reset is
    /// dropped as it is, without an end of its own protocol (close_notify).
    fn passes_reset_on(&self) -> bool {
        let Some((client, upstream)) = &self.ends else {
            return false;
        };
        // What cannot be reset ends as it can.
        if self.down.broke_off() {
            (self.resets.client)(client).ok();
        }
        if self.up.broke_off() {
            (self.resets.upstream)(upstream).ok();
        }
        self.down.broke_off() || self.up.broke_off()
    }

    /// A drain waits for a slow reader until its deadline. After a failure the other side has to
    /// show progress.
    fn closing_bound(&mut self) -> Option<Instant> {
        let progress = matches!(self.ended, Ended::Failed(_)).then(|| {
            let since = *self.still_since.get_or_insert_with(Instant::now);
            later(since, self.options.linger_time)
        });
        progress.into_iter().chain(self.until).min()
    }

    /// Ready when both peers have ended, or sent too much, or the time for it is over.
    fn poll_lingering(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((client, upstream)) = &mut self.ends else {
            return Poll::Ready(());
        };
        if let Some(until) = self.until {
            if self.timer.poll_until(cx, until).is_ready() {
                return Poll::Ready(());
            }
        }
        let limit = self.options.linger_bytes;
        let up = self.up.poll_discard(cx, client, limit);
        let down = self.down.poll_discard(cx, upstream, limit);
        if up.is_ready() && down.is_ready() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Moves bytes both ways until nothing more can move, or it is another task's turn. Ready: look
    /// at the state.
    fn pump(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (mut up_rests, mut down_rests, mut both_rest, mut moved) = (false, false, false, false);
        for _ in 0..CHUNKS_A_POLL {
            if !up_rests {
                up_rests = self.poll_chunk(Side::Client, cx).is_pending();
                moved |= !up_rests;
            }
            if !down_rests {
                down_rests = self.poll_chunk(Side::Upstream, cx).is_pending();
                moved |= !down_rests;
            }
            both_rest = up_rests && down_rests;
            if both_rest {
                break;
            }
        }
        if moved && (self.stage == Stage::Closing || matches!(self.rule, Rule::WhenStill(_))) {
            self.still_since = Some(Instant::now());
        }
        if both_rest {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// One chunk of the direction away from `from`. Pending: nothing can move, now or ever.
    fn poll_chunk(&mut self, from: Side, cx: &mut Context<'_>) -> Poll<()> {
        let chunk = self.options.chunk;
        let (client, upstream) = self
            .ends
            .as_mut()
            .expect("a copy is not polled after it was ready");
        let moved = match from {
            Side::Client => self.up.poll_chunk(cx, client, upstream, chunk),
            Side::Upstream => self.down.poll_chunk(cx, upstream, client, chunk),
        };
        match moved {
            Poll::Pending | Poll::Ready(Ok(Moved::Over)) => return Poll::Pending,
            Poll::Ready(Ok(Moved::Chunk)) => {
                self.awaits_answer = from == Side::Client;
                if self.leaves_on_data() {
                    self.ended = Ended::OnData;
                    self.close();
                }
            }
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(error)) => self.fail(error),
        }
        Poll::Ready(())
    }

    fn leaves_on_data(&self) -> bool {
        self.stage == Stage::Copying
            && self.options.policy.asks_on_data()
            && self.decision.as_ref().map_or(
                self.point >= DrainPoint::Signaled,
                DrainDecision::leave_if_due,
            )
    }

    /// A drain closes this connection now.
    fn close(&mut self) {
        if !self.ended.by_drain() {
            self.ended = match self.point {
                DrainPoint::Open | DrainPoint::Signaled => Ended::Signaled,
                DrainPoint::Finishing => Ended::Finishing,
                DrainPoint::Deadline => Ended::AtDeadline,
            };
        }
        self.stage = Stage::Closing;
        self.up.stop();
        self.down.stop();
        let (CloseMode::Reset, Some((client, upstream))) = (self.close_mode, &self.ends) else {
            return;
        };
        let reset = (self.resets.client)(client).and((self.resets.upstream)(upstream));
        if reset.is_ok() {
            self.up.give_up();
            self.down.give_up();
            self.end_by(Instant::now());
            self.stage = Stage::Lingering;
        }
    }

    /// One side failed. What it said before is still delivered; what it should have got is lost.
    fn fail(&mut self, error: CopyError) {
        let (from_it, to_it): (&mut Half, &mut Half) = match error.side() {
            Side::Client => (&mut self.up, &mut self.down),
            Side::Upstream => (&mut self.down, &mut self.up),
        };
        match &error {
            CopyError::Read { .. } => from_it.source_failed(),
            // The kernel reports a reset once, to whichever call comes first; the reads behind it
            // find the end of the stream. Where the peer had sent FIN before it, the error is
            // another one (EPIPE): then the end is a good one.
            CopyError::Write { source, .. } if source.kind() == io::ErrorKind::ConnectionReset => {
                from_it.source_was_reset();
            }
            CopyError::Write { .. } => {}
        }
        to_it.give_up();
        if self.stage == Stage::Copying {
            self.stage = Stage::Closing;
            self.ended = Ended::Failed(error);
        }
    }

    /// Closes both ends and says what became of the bytes.
    fn report(&mut self) -> CopyReport {
        drop(self.ends.take());
        CopyReport {
            client_to_upstream: self.up.bytes(),
            upstream_to_client: self.down.bytes(),
            ended: mem::replace(&mut self.ended, Ended::ByPeers),
        }
    }
}
