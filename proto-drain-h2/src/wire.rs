//! The wire: where both directions of one transport stand, and how far its goodbye has come.

use crate::drain::H2Drain;
use crate::frames::{CLIENT_PREFACE, Short, enlarged, missing, ping_ack};
use crate::handle::{GoawayHandle, WireProtocol};
use crate::orders::Orders;
use crate::walker::FrameWalker;
use std::task::Context;
use std::time::Duration;

mod going;
use going::{Gap, Going, Shutdown};
mod writing;
pub(crate) use writing::Piece;

/// How long after the gap a peer in the middle of a frame may neither send nor take a byte before
/// it counts as gone.
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

/// What may be read at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Anything.
    Free,
    /// No more than so many bytes: an acknowledgement waits for the boundary behind them, or the
    /// next frame is looked at.
    UpTo(usize),
    /// So many bytes of the next frame, for [`Wire::on_next`].
    Next(usize),
    /// Nothing yet.
    Waits,
    /// The end.
    Ended,
}

impl Wire {
    pub(crate) fn new(drain: &H2Drain) -> Self {
        Self {
            handle: GoawayHandle::new(drain),
            read: FrameWalker::from_client(),
            written: FrameWalker::from_server(),
            protocol: WireProtocol::Unknown,
            ended: false,
            going: None,
        }
    }

    #[inline]
    pub(crate) const fn protocol(&self) -> WireProtocol {
        self.protocol
    }

    #[inline]
    pub(crate) fn is_cut(&self) -> bool {
        self.handle.is_cut()
    }

    /// Whether HTTP/2 is read and nothing is to be done about it.
    #[inline]
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
    #[inline]
    pub(crate) fn reading(&self) -> Reading {
        if self.ended {
            return Reading::Ended;
        }
        match self.going.as_deref() {
            Some(going) if going.gap == Gap::PeerEnded => Reading::Waits,
            Some(going)
                if going.gap == Gap::Over && matches!(going.shutdown, Shutdown::Asks(_)) =>
            {
                Reading::UpTo(self.read.until_boundary())
            }
            Some(going) if going.gap == Gap::Over && going.shutdown == Shutdown::Answered => {
                match (self.read.until_boundary(), missing(&going.next)) {
                    (0, 0) => Reading::Waits,
                    (0, missing) => Reading::Next(missing),
                    (inside, _) => Reading::UpTo(inside),
                }
            }
            _ => Reading::Free,
        }
    }

    /// Takes what the codec reads first, at most `room` bytes of it.
    pub(crate) fn take_ack(&mut self, room: usize, out: impl FnOnce(&[u8])) -> bool {
        self.pass_next();
        let Some(going) = self
            .going
            .as_deref_mut()
            .filter(|going| !going.ack.is_empty())
        else {
            return false;
        };
        let n = room.min(going.ack.as_slice().len());
        out(&going.ack.as_slice()[..n]);
        going.ack.advance(n);
        self.rest();
        true
    }

    /// Takes the beginning of the next frame of the peer.
    pub(crate) fn on_next(&mut self, bytes: &[u8]) {
        if let Some(going) = self.going.as_deref_mut() {
            going.next.extend(bytes);
        }
    }

    /// Behind the final GOAWAY a frame that nothing has to be done about goes to the codec.
    ///
    /// A peer that has not read that GOAWAY opens streams, and may enlarge their windows at once.
    /// h2 ignores such streams ([RFC 9113 section
    /// 6.8](https://www.rfc-editor.org/rfc/rfc9113#section-6.8)) but for this: it ends the
    /// connection for a WINDOW_UPDATE of a stream that it does not know, and with it the streams
    /// that are still served.
    fn pass_next(&mut self) {
        let Some(going) = self.going.as_deref_mut() else {
            return;
        };
        if missing(&going.next) > 0 {
            return;
        }
        match (enlarged(&going.next), self.handle.last_stream_id()) {
            // Which was the last stream is known when the codec has written its GOAWAY.
            (Some(_), None) => {}
            (Some(id), Some(last)) if id > last => going.next = Short::default(),
            _ => {
                going.ack = std::mem::take(&mut going.next);
                self.read.skip(going.ack.as_slice());
            }
        }
    }

    /// Bytes of the peer go to the codec.
    #[inline]
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
        } else {
            self.handle.set_begun();
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
        let next = self.going.as_deref().map(|going| going.next);
        let at_boundary = self.read.at_boundary() && next.is_none_or(|next| next.is_empty());
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
    #[inline]
    fn on_progress(&mut self) {
        match self.going.as_deref_mut() {
            Some(going) if going.gap == Gap::Over && going.timer.is_some() => {
                going.arm(MID_FRAME_LIMIT)
            }
            _ => {}
        }
    }

    /// Gives back what is needed no more.
    #[inline]
    fn rest(&mut self) {
        if self.going.as_deref().is_some_and(Going::is_over) {
            self.going = None;
        }
    }
}
