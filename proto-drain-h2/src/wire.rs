//! The wire: what both directions of one transport have shown, and how far the gap between its GOAWAYs has come.

use crate::filter::ReadFilter;
use crate::frames::{CLIENT_PREFACE, Frame, FrameWalker};
use crate::handle::{GoawayHandle, Version};
use crate::phase::H2Event;
use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// The stream id of the shutdown notice, [RFC 9113 section 6.8](https://www.rfc-editor.org/rfc/rfc9113#section-6.8).
const NOTICE_ID: u32 = 0x7fff_ffff;

/// How long after the gap a peer may stay in the middle of a frame before it is taken for gone.
const MID_FRAME_LIMIT: Duration = Duration::from_secs(10);

/// A transport's state, without the transport.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) handle: GoawayHandle,
    pub(crate) filter: ReadFilter,
    written: FrameWalker,
    /// Bytes of the client preface read so far.
    preface_seen: u8,
    pub(crate) version: Version,
    pub(crate) mode: Mode,
    /// Runs in the gap, behind it while the peer is in the middle of a frame, and in the delayed close.
    pub(crate) timer: Option<Pin<Box<Sleep>>>,
}

/// What the timer and the end of the peer's bytes mean at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// No PING of the shutdown is out, or it is all over.
    Plain,
    /// The notice was written, its PING not yet.
    Noticed,
    /// Until the timer ends.
    Gap,
    /// The gap is over, the peer is in the middle of a frame; until the timer ends.
    Overdue,
    /// The peer has ended its side; the codec learns it when the timer ends.
    PeerEnded,
    /// The codec learns on its next read that the peer has ended.
    Eof,
}

impl Wire {
    pub(crate) fn new(gap: Duration) -> Self {
        Self {
            handle: GoawayHandle::new(gap),
            filter: ReadFilter::new(),
            written: FrameWalker::from_server(),
            preface_seen: 0,
            version: Version::Unknown,
            mode: Mode::Plain,
            timer: None,
        }
    }

    /// Whether HTTP/2 is read and nobody asks what it is.
    pub(crate) fn is_quiet(&self) -> bool {
        self.version == Version::Http2 && self.mode == Mode::Plain && self.filter.is_off()
    }

    /// Decides on the version from the first bytes.
    pub(crate) fn sniff(&mut self, chunk: &[u8]) {
        let seen = usize::from(self.preface_seen);
        let expected = &CLIENT_PREFACE[seen..];
        let n = chunk.len().min(expected.len());
        if chunk[..n] != expected[..n] {
            self.decide(Version::Other);
        } else {
            self.preface_seen += n as u8;
            if n == expected.len() {
                self.decide(Version::Http2);
            }
        }
    }

    fn decide(&mut self, version: Version) {
        self.version = version;
        self.handle.set_version(version);
    }

    /// Looks at what the codec has written.
    pub(crate) fn observe(&mut self, mut chunk: &[u8], cx: &mut Context<'_>) {
        while !chunk.is_empty() {
            chunk = &chunk[self.written.pass(chunk)..];
            let walked = self.written.walk(chunk);
            chunk = &chunk[walked.taken..];
            match walked.frame {
                Some(Frame::GoAway {
                    last_stream_id: NOTICE_ID,
                    error_code: 0,
                }) => self.on_notice(),
                Some(Frame::GoAway { last_stream_id, .. }) => {
                    self.handle.on_event(H2Event::FinalWritten, Some(last_stream_id));
                }
                Some(Frame::Ping { ack: false, payload }) if self.mode == Mode::Noticed => {
                    self.filter.watch(payload);
                    self.mode = Mode::Gap;
                    self.arm(self.handle.gap());
                    self.handle.register_transport(cx);
                    // The codec has polled its reads before it wrote: it has to come back for the timer.
                    cx.waker().wake_by_ref();
                }
                _ => {}
            }
        }
    }

    fn on_notice(&mut self) {
        if self.handle.on_event(H2Event::NoticeWritten, None) {
            self.mode = Mode::Noticed;
        }
    }

    fn arm(&mut self, after: Duration) {
        if let Some(timer) = self.timer.as_mut() {
            timer.as_mut().reset(later(after));
        } else {
            self.timer = Some(Box::pin(tokio::time::sleep_until(later(after))));
        }
    }

    /// Moves the mode on by time and orders.
    pub(crate) fn step(&mut self, cx: &mut Context<'_>) {
        self.handle.register_transport(cx);
        let fired = self
            .timer
            .as_mut()
            .is_some_and(|timer| timer.as_mut().poll(cx).is_ready());
        let over = fired || self.handle.is_finishing();
        match self.mode {
            Mode::Gap if over => {
                if self.filter.inject() {
                    self.rest();
                } else {
                    self.mode = Mode::Overdue;
                    self.arm(MID_FRAME_LIMIT);
                    self.poll_timer(cx);
                }
            }
            Mode::Overdue if self.filter.inject() => self.rest(),
            Mode::Overdue | Mode::PeerEnded if fired => {
                if self.mode == Mode::Overdue {
                    self.handle.set_lost();
                }
                self.mode = Mode::Eof;
                self.timer = None;
            }
            _ => {}
        }
    }

    fn rest(&mut self) {
        self.mode = Mode::Plain;
        self.timer = None;
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) {
        // A timer that has just been set for later is not over: this registers the task with it.
        let _registered = self
            .timer
            .as_mut()
            .is_some_and(|timer| timer.as_mut().poll(cx).is_ready());
    }

    /// The peer has sent its last byte. Whether the codec is told at once.
    pub(crate) fn on_eof(&mut self) -> bool {
        if self.version == Version::Unknown {
            self.decide(Version::Other);
        }
        self.filter.release();
        if !self.filter.at_boundary() {
            self.handle.set_lost();
        }
        if matches!(self.mode, Mode::Gap | Mode::Overdue) && self.filter.inject() {
            // Nobody can open streams any more: the codec may say its last word. Its streams keep the rest of the gap.
            self.mode = if self.mode == Mode::Gap {
                Mode::PeerEnded
            } else {
                Mode::Eof
            };
            return false;
        }
        self.mode = Mode::Eof;
        true
    }
}

fn later(after: Duration) -> Instant {
    let now = Instant::now();
    // Further than the clock reaches is a year: no connection drains longer.
    now.checked_add(after)
        .unwrap_or(now + Duration::from_secs(365 * 24 * 3600))
}
