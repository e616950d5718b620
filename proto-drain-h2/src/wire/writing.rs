//! Writing: which bytes of the codec go out as they are, which frames are kept back, and where ours
//! goes in.

use super::Wire;
use super::going::{Gap, Shutdown};
use crate::frames::{Goodbye, NOTICE, Short, Wanted, collect, is_collected, read};
use crate::handle::WireProtocol;
use crate::orders::Orders;
use crate::phase::{H2Event, H2Phase};
use crate::walker::FrameWalker;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// What becomes of the next bytes that the codec writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// So many go out as they are.
    Pass(usize),
    /// So many count as written.
    Taken(usize),
}

impl Wire {
    /// The first GOAWAY is put before what the codec writes next, if it is due and may stand here.
    fn put_notice(&mut self) {
        if !self.is_notice_due() || !self.written.takes_ours() {
            return;
        }
        let going = self.going.get_or_insert_default();
        if going.out.is_empty() && going.held.is_empty() {
            going.out = Short::new(&NOTICE);
            going.on_written = Some(Goodbye::Notice);
        }
    }

    /// Writes what goes before the next bytes of the codec.
    pub(crate) fn poll_ours<IO: AsyncWrite>(
        &mut self,
        mut io: Pin<&mut IO>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_out(io.as_mut(), cx))?;
        self.put_notice();
        self.poll_out(io, cx)
    }

    #[inline]
    pub(super) fn is_notice_due(&self) -> bool {
        self.handle.orders().has(Orders::NOTICE)
            && self.protocol == WireProtocol::Http2
            && self.handle.phase() == H2Phase::Serving
            && self
                .going
                .as_ref()
                .is_none_or(|going| going.on_written.is_none())
    }

    /// What is written before anything else.
    #[inline]
    fn out(&self) -> &[u8] {
        self.going
            .as_ref()
            .map_or(&[], |going| going.out.as_slice())
    }

    /// `n` bytes of [`Self::out`] were written.
    fn on_out(&mut self, n: usize, cx: &Context<'_>) {
        let Some(going) = self.going.as_deref_mut() else {
            return;
        };
        going.out.advance(n);
        going.unflushed = true;
        if !going.out.is_empty() {
            return;
        }
        match going.on_written.take() {
            Some(Goodbye::Notice) => {
                if self.handle.on_event(H2Event::NoticeWritten, None) {
                    going.gap = Gap::Running;
                    going.arm(self.handle.gap());
                    // The codec has polled its reads before it wrote: it has to come back for the
                    // timer.
                    cx.waker().wake_by_ref();
                }
            }
            Some(Goodbye::Final(id)) => {
                self.handle.on_event(H2Event::FinalWritten, Some(id));
                // A frame of the peer may wait for it.
                cx.waker().wake_by_ref();
            }
            Some(Goodbye::Ping(_)) | None => {}
        }
    }

    /// Whether what was written here, not by the codec, is still to be flushed.
    #[inline]
    fn is_unflushed(&self) -> bool {
        self.going.as_ref().is_some_and(|going| going.unflushed)
    }

    #[inline]
    fn on_flushed(&mut self) {
        if let Some(going) = self.going.as_deref_mut() {
            going.unflushed = false;
        }
        self.rest();
    }

    /// Where the peer stands behind `bufs`, if nothing in them is looked at before it is written.
    #[inline]
    pub(crate) fn passes_whole<'a>(
        &self,
        bufs: impl IntoIterator<Item = &'a [u8]>,
    ) -> Option<FrameWalker> {
        if self
            .going
            .as_ref()
            .is_some_and(|going| !going.held.is_empty())
            || self.is_notice_due()
        {
            return None;
        }
        let wanted = self.wanted();
        let mut ahead = self.written.clone();
        for buf in bufs {
            if self.protocol != WireProtocol::Http2 {
                ahead.skip(buf);
                continue;
            }
            if ahead.walk_until(buf, |rest| wanted.may_be(rest)) < buf.len() {
                return None;
            }
        }
        Some(ahead)
    }

    /// All of what [`Self::passes_whole`] was written.
    #[inline]
    pub(crate) fn on_written_whole(&mut self, ahead: FrameWalker) {
        self.written = ahead;
        self.on_progress();
    }

    /// Bytes of the codec were written as they are.
    pub(crate) fn on_written(&mut self, chunk: &[u8]) {
        self.written.skip(chunk);
        self.on_progress();
    }

    /// What becomes of `buf`, of which something may be looked at before it is written. Not to be
    /// asked before [`Self::out`] is empty.
    pub(crate) fn next_piece(&mut self, buf: &[u8], cx: &Context<'_>) -> Piece {
        let wanted = self.wanted();
        let held = self
            .going
            .as_ref()
            .is_some_and(|going| !going.held.is_empty());
        if !(held || self.written.at_boundary() && wanted.may_be(buf)) {
            let mut ahead = self.written.clone();
            let mut run = ahead.walk(buf);
            // Our notice may be put behind this frame.
            if !self.is_notice_due() {
                run += ahead.walk_until(&buf[run..], |rest| wanted.may_be(rest));
            }
            return Piece::Pass(run);
        }
        let going = self.going.get_or_insert_default();
        let taken = collect(&mut going.held, buf);
        if is_collected(&going.held) {
            self.decide_on_held(cx);
        }
        Piece::Taken(taken)
    }

    #[inline]
    fn wanted(&self) -> Wanted {
        let shutdown = self.going.as_ref().map(|going| going.shutdown);
        if shutdown == Some(Shutdown::Announced) {
            Wanted::GoawayAndPing
        } else {
            Wanted::Goaway
        }
    }

    fn decide_on_held(&mut self, cx: &Context<'_>) {
        let noticed = self.handle.phase() != H2Phase::Serving;
        let Some(going) = self.going.as_deref_mut() else {
            return;
        };
        let goodbye = read(&going.held);
        match goodbye {
            Some(Goodbye::Notice) => {
                going.shutdown = Shutdown::Announced;
                if noticed {
                    // The peer has ours.
                    going.held = Short::default();
                    return;
                }
            }
            Some(Goodbye::Ping(payload)) if going.shutdown == Shutdown::Announced => {
                going.shutdown = Shutdown::Asks(payload);
                going.held = Short::default();
                // For the acknowledgement.
                cx.waker().wake_by_ref();
                return;
            }
            _ => {}
        }
        self.release();
        if let Some(going) = self.going.as_deref_mut() {
            going.on_written = goodbye;
        }
    }

    /// What was held goes out after all.
    #[inline]
    fn release(&mut self) {
        if let Some(going) = self
            .going
            .as_deref_mut()
            .filter(|going| !going.held.is_empty())
        {
            going.out = std::mem::take(&mut going.held);
            self.written.skip(going.out.as_slice());
        }
    }

    /// Writes what goes before anything else.
    #[inline]
    fn poll_out<IO: AsyncWrite>(
        &mut self,
        mut io: Pin<&mut IO>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.out().is_empty() {
            match ready!(io.as_mut().poll_write(cx, self.out()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.on_out(n, cx),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Flushes everything that counts as written.
    #[inline]
    pub(crate) fn poll_flush<IO: AsyncWrite>(
        &mut self,
        mut io: Pin<&mut IO>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        // No codec flushes half a frame: what was held of one is none that is looked at.
        self.release();
        ready!(self.poll_out(io.as_mut(), cx))?;
        ready!(io.poll_flush(cx))?;
        self.on_flushed();
        Poll::Ready(Ok(()))
    }

    /// Does what is due in a goodbye: writes and flushes what is ours, and goes on by time and
    /// orders.
    pub(crate) fn tend<IO: AsyncWrite>(
        &mut self,
        mut io: Pin<&mut IO>,
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        if let Poll::Ready(written) = self.poll_ours(io.as_mut(), cx) {
            written?;
            if self.is_unflushed() {
                if let Poll::Ready(flushed) = io.poll_flush(cx) {
                    flushed?;
                    self.on_flushed();
                }
            }
        }
        self.step(cx);
        Ok(())
    }
}
