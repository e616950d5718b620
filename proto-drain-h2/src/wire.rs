//! The wire: where both directions of one transport stand, and how far its goodbye has come.

use crate::frames::{CLIENT_PREFACE, Goodbye, NOTICE, Short, Wanted, collect, is_collected, ping_ack, read};
use crate::handle::{GoawayHandle, WireProtocol};
use crate::orders::Orders;
use crate::phase::{H2Event, H2Phase};
use crate::walker::FrameWalker;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::AsyncWrite;
use tokio::time::{Instant, Sleep};

/// How long after the gap a peer in the middle of a frame may neither send nor take a byte before it counts as gone.
const MID_FRAME_LIMIT: Duration = Duration::from_secs(10);

/// A transport's state, without the transport.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) handle: GoawayHandle,
    /// Where the codec stands in what it was given.
    read: FrameWalker,
    /// Where the peer stands in what it was sent.
    written: FrameWalker,
    protocol: WireProtocol,
    /// The codec learns on its next read that the peer has ended.
    ended: bool,
    /// Apart, since most connections of most servers are not going away.
    going: Option<Box<Going>>,
}

/// What a connection in its goodbye needs.
#[derive(Debug, Default)]
struct Going {
    gap: Gap,
    shutdown: Shutdown,
    /// The beginning of a frame of the codec that is looked at before it is written.
    held: Short,
    /// What is written before anything else, and what it means when it has been.
    out: Short,
    on_written: Option<Goodbye>,
    unflushed: bool,
    /// What the codec reads before anything else: the acknowledgement of its PING.
    ack: Short,
    /// Runs in the gap, and behind it while the peer is in the middle of a frame.
    timer: Option<Pin<Box<Sleep>>>,
}

/// What the timer and the end of the peer's bytes mean at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Gap {
    #[default]
    NotBegun,
    /// Until the timer ends.
    Running,
    /// The peer has ended its side and can open no more streams: the final GOAWAY is due, and the codec learns of the end
    /// when the timer ends.
    PeerEnded,
    /// The final GOAWAY is due. The timer runs while the peer is in the middle of a frame.
    Over,
}

/// How far the codec's own graceful shutdown has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Shutdown {
    #[default]
    NotBegun,
    /// Its GOAWAY(2^31-1) has come; its PING is next.
    Announced,
    /// Its PING has come, and waits for the acknowledgement.
    Asks([u8; 8]),
    Answered,
}

/// What may be read at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Anything.
    Free,
    /// No more than so many bytes: an acknowledgement waits for the boundary behind them.
    UpTo(usize),
    /// Nothing yet.
    Waits,
    /// The end.
    Ended,
}

/// What becomes of the next bytes that the codec writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// So many go out as they are.
    Pass(usize),
    /// So many count as written.
    Taken(usize),
}

impl Wire {
    pub(crate) fn new(gap: Duration) -> Self {
        Self {
            handle: GoawayHandle::new(gap),
            read: FrameWalker::from_client(),
            written: FrameWalker::from_server(),
            protocol: WireProtocol::Unknown,
            ended: false,
            going: None,
        }
    }

    pub(crate) const fn protocol(&self) -> WireProtocol {
        self.protocol
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.handle.is_cut()
    }

    /// Whether HTTP/2 is read and nothing is to be done about it.
    pub(crate) fn is_quiet(&self) -> bool {
        self.protocol == WireProtocol::Http2
            && self.going.is_none()
            && !self.ended
            && !self.is_cut()
            && !self.is_notice_due()
    }

    /// Whether the peer has had the final GOAWAY and may still close first.
    pub(crate) fn may_linger(&self) -> bool {
        let gap = self.going.as_ref().map(|going| going.gap);
        let said = self.protocol == WireProtocol::Http2 && self.handle.last_stream_id().is_some();
        said && !self.ended && gap != Some(Gap::PeerEnded)
    }

    // Reading.

    /// What may be read now.
    pub(crate) fn reading(&self) -> Reading {
        if self.ended {
            return Reading::Ended;
        }
        match self.going.as_deref() {
            Some(going) if going.gap == Gap::PeerEnded => Reading::Waits,
            Some(going) if going.gap == Gap::Over && matches!(going.shutdown, Shutdown::Asks(_)) => {
                Reading::UpTo(self.read.until_boundary())
            }
            _ => Reading::Free,
        }
    }

    /// Takes what the codec reads first, at most `room` bytes of it.
    pub(crate) fn take_ack(&mut self, room: usize, out: impl FnOnce(&[u8])) -> bool {
        let Some(going) = self.going.as_deref_mut().filter(|going| !going.ack.is_empty()) else {
            return false;
        };
        let n = room.min(going.ack.as_slice().len());
        out(&going.ack.as_slice()[..n]);
        going.ack.advance(n);
        self.rest();
        true
    }

    /// Bytes of the peer go to the codec.
    pub(crate) fn on_read(&mut self, chunk: &[u8]) {
        if self.protocol == WireProtocol::Unknown {
            self.sniff(chunk);
        }
        if self.protocol != WireProtocol::Other {
            self.read.skip(chunk);
        }
        self.on_progress();
    }

    /// Decides on the protocol from the first bytes.
    fn sniff(&mut self, chunk: &[u8]) {
        let expected = &CLIENT_PREFACE[self.read.preface_seen()..];
        let n = chunk.len().min(expected.len());
        if chunk[..n] != expected[..n] {
            self.decide(WireProtocol::Other);
        } else if n == expected.len() {
            self.decide(WireProtocol::Http2);
        }
    }

    fn decide(&mut self, protocol: WireProtocol) {
        self.protocol = protocol;
        self.handle.set_protocol(protocol);
    }

    /// The peer has sent its last byte.
    pub(crate) fn on_eof(&mut self) {
        if self.protocol == WireProtocol::Unknown {
            self.decide(WireProtocol::Other);
        }
        let at_boundary = self.read.at_boundary();
        if !at_boundary && self.protocol == WireProtocol::Http2 {
            self.handle.set_lost();
        }
        match self.going.as_deref_mut() {
            Some(going) if going.gap == Gap::Running && at_boundary => {
                going.gap = Gap::PeerEnded;
                self.handle.set_gap_over();
            }
            _ => self.ended = true,
        }
    }

    // Writing.

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

    fn is_notice_due(&self) -> bool {
        self.handle.orders().has(Orders::NOTICE)
            && self.protocol == WireProtocol::Http2
            && self.handle.phase() == H2Phase::Serving
            && self.going.as_ref().is_none_or(|going| going.on_written.is_none())
    }

    /// What is written before anything else.
    fn out(&self) -> &[u8] {
        self.going.as_ref().map_or(&[], |going| going.out.as_slice())
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
                    // The codec has polled its reads before it wrote: it has to come back for the timer.
                    cx.waker().wake_by_ref();
                }
            }
            Some(Goodbye::Final(id)) => {
                self.handle.on_event(H2Event::FinalWritten, Some(id));
            }
            Some(Goodbye::Ping(_)) | None => {}
        }
    }

    /// Whether what was written here, not by the codec, is still to be flushed.
    fn is_unflushed(&self) -> bool {
        self.going.as_ref().is_some_and(|going| going.unflushed)
    }

    fn on_flushed(&mut self) {
        if let Some(going) = self.going.as_deref_mut() {
            going.unflushed = false;
        }
        self.rest();
    }

    /// Where the peer stands behind `bufs`, if nothing in them is looked at before it is written.
    pub(crate) fn passes_whole<'a>(&self, bufs: impl IntoIterator<Item = &'a [u8]>) -> Option<FrameWalker> {
        if self.going.as_ref().is_some_and(|going| !going.held.is_empty()) || self.is_notice_due() {
            return None;
        }
        let wanted = self.wanted();
        let mut ahead = self.written.clone();
        for buf in bufs {
            if self.protocol != WireProtocol::Http2 {
                ahead.skip(buf);
                continue;
            }
            if ahead.at_boundary() && !buf.is_empty() && wanted.may_be(buf) {
                return None;
            }
            if ahead.walk_until(buf, |rest| wanted.may_be(rest)) < buf.len() {
                return None;
            }
        }
        Some(ahead)
    }

    /// All of what [`Self::passes_whole`] was written.
    pub(crate) fn on_written_whole(&mut self, ahead: FrameWalker) {
        self.written = ahead;
        self.on_progress();
    }

    /// Bytes of the codec were written as they are.
    pub(crate) fn on_written(&mut self, chunk: &[u8]) {
        self.written.skip(chunk);
        self.on_progress();
    }

    /// What becomes of `buf`, of which something may be looked at before it is written. Not to be asked before
    /// [`Self::out`] is empty.
    pub(crate) fn next_piece(&mut self, buf: &[u8], cx: &Context<'_>) -> Piece {
        let wanted = self.wanted();
        let held = self.going.as_ref().is_some_and(|going| !going.held.is_empty());
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
        if going.held.as_slice().len() > 3 && !wanted.may_be(going.held.as_slice()) {
            // Split in the first bytes of its header, but of no interest.
            self.release();
        } else if is_collected(&going.held) {
            self.decide_on_held(cx);
        }
        Piece::Taken(taken)
    }

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
    fn release(&mut self) {
        if let Some(going) = self.going.as_deref_mut().filter(|going| !going.held.is_empty()) {
            going.out = std::mem::take(&mut going.held);
            self.written.skip(going.out.as_slice());
        }
    }

    /// Writes what goes before anything else.
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

    /// Does what is due in a goodbye: writes and flushes what is ours, and goes on by time and orders.
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

    // Time.

    /// Goes on by time and orders.
    pub(crate) fn step(&mut self, cx: &mut Context<'_>) {
        let Some(going) = self.going.as_deref_mut() else {
            return;
        };
        let fired = going.poll_timer(cx);
        let finishing = self.handle.orders().has(Orders::FINISH);
        match going.gap {
            Gap::Running if fired || finishing => {
                going.gap = Gap::Over;
                going.timer = None;
                self.handle.set_gap_over();
            }
            Gap::PeerEnded if fired || finishing => {
                self.ended = true;
                going.timer = None;
            }
            Gap::Over if fired && !self.read.at_boundary() => {
                self.handle.set_lost();
                self.ended = true;
                going.timer = None;
            }
            _ => {}
        }
        if let (Gap::Over | Gap::PeerEnded, Shutdown::Asks(payload)) = (going.gap, going.shutdown) {
            if self.read.at_boundary() {
                going.ack = Short::new(&ping_ack(payload));
                going.shutdown = Shutdown::Answered;
                if going.gap == Gap::Over {
                    going.timer = None;
                }
            } else if going.timer.is_none() {
                going.arm(MID_FRAME_LIMIT);
                going.poll_timer(cx);
            }
        }
        self.rest();
    }

    /// The peer has sent or taken something.
    fn on_progress(&mut self) {
        match self.going.as_deref_mut() {
            Some(going) if going.gap == Gap::Over && going.timer.is_some() => going.arm(MID_FRAME_LIMIT),
            _ => {}
        }
    }

    /// Gives back what is needed no more.
    fn rest(&mut self) {
        let over = |going: &Going| {
            let said = going.gap == Gap::Over && going.shutdown == Shutdown::Answered;
            let never = going.gap == Gap::NotBegun && going.shutdown == Shutdown::NotBegun;
            (said || never)
                && going.ack.is_empty()
                && going.out.is_empty()
                && going.held.is_empty()
                && !going.unflushed
        };
        if self.going.as_deref().is_some_and(over) {
            self.going = None;
        }
    }
}

impl Going {
    fn arm(&mut self, after: Duration) {
        if let Some(timer) = self.timer.as_mut() {
            timer.as_mut().reset(later(after));
        } else {
            self.timer = Some(Box::pin(tokio::time::sleep_until(later(after))));
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let timer = self.timer.as_mut();
        timer.is_some_and(|timer| timer.as_mut().poll(cx).is_ready())
    }
}

fn later(after: Duration) -> Instant {
    let now = Instant::now();
    // Further than the clock reaches is a year: no connection drains longer.
    now.checked_add(after)
        .unwrap_or(now + Duration::from_secs(365 * 24 * 3600))
}
