//! The transport wrapper: holds the codec's PING open for the drain timeout, and the socket open until the peer left.

use crate::filter::ReadFilter;
use crate::frames::{CLIENT_PREFACE, Frame, FrameWalker};
use crate::handle::{GoawayHandle, Version};
use crate::linger::Linger;
use crate::phase::H2Event;
use crate::settings::H2DrainSettings;
use pin_project::{pin_project, pinned_drop};
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// The stream id of the shutdown notice, [RFC 9113 section 6.8](https://www.rfc-editor.org/rfc/rfc9113#section-6.8).
const NOTICE_ID: u32 = 0x7fff_ffff;

/// How long after the gap a peer may stay in the middle of a frame before it is taken for gone.
const MID_FRAME_LIMIT: Duration = Duration::from_secs(10);

/// The transport of one server connection, on which the wait between the two GOAWAYs is exact.
///
/// Put it between the socket (or TLS stream) and an unmodified server: the codec's `graceful_shutdown()` writes
/// GOAWAY(2^31-1) and a PING and writes the final GOAWAY when that PING is acknowledged. This wrapper learns the PING's
/// payload as it is written, keeps the peer's acknowledgement to itself, and gives the codec one when the gap is over,
/// between two frames of the peer. Peers that never acknowledge cannot hold the connection open by that.
///
/// - A peer that ends its side in the gap can open no more streams: the final GOAWAY leaves at once, and the streams
///   still open have until the end of the gap to be answered.
/// - When the codec shuts the transport down after the final GOAWAY, the peer has
///   [`delayed_close_timeout`](H2DrainSettings::delayed_close_timeout) to close first; what it still sends is discarded.
/// - Anything that is not HTTP/2 passes straight through.
///
/// One task polls both directions, as h2 and hyper do. Dropping it drops the socket.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use proto_drain_h2::{GoawayIo, H2DrainSettings, H2Phase};
///
/// let (_client, server) = tokio::io::duplex(1024);
/// let (io, handle) = GoawayIo::new(server, &H2DrainSettings::default());
/// assert_eq!(handle.phase(), H2Phase::Serving);
/// drop(io);
/// assert_eq!(handle.phase(), H2Phase::Closed);
/// # }
/// ```
#[pin_project(PinnedDrop)]
#[derive(Debug)]
pub struct GoawayIo<IO> {
    #[pin]
    inner: IO,
    handle: GoawayHandle,
    filter: ReadFilter,
    written: FrameWalker,
    /// Bytes of the client preface read so far.
    preface_seen: u8,
    version: Version,
    mode: Mode,
    /// Runs in the gap, behind it while the peer is in the middle of a frame, and in the delayed close.
    timer: Option<Pin<Box<Sleep>>>,
    linger: Linger,
}

/// What the timer and the end of the peer's bytes mean at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
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

impl<IO> GoawayIo<IO> {
    /// Wraps a transport whose first byte has not been read yet.
    pub fn new(inner: IO, settings: &H2DrainSettings) -> (Self, GoawayHandle) {
        let handle = GoawayHandle::new(settings.drain_timeout);
        let io = Self {
            inner,
            handle: handle.clone(),
            filter: ReadFilter::new(),
            written: FrameWalker::from_server(),
            preface_seen: 0,
            version: Version::Unknown,
            mode: Mode::Plain,
            timer: None,
            linger: Linger::new(settings.delayed_close_timeout),
        };
        (io, handle)
    }

    /// The wrapped transport.
    pub fn get_ref(&self) -> &IO {
        &self.inner
    }

    /// A handle of this transport.
    pub fn handle(&self) -> GoawayHandle {
        self.handle.clone()
    }
}

/// The fields without the transport.
struct Wire<'a> {
    handle: &'a GoawayHandle,
    filter: &'a mut ReadFilter,
    written: &'a mut FrameWalker,
    preface_seen: &'a mut u8,
    version: &'a mut Version,
    mode: &'a mut Mode,
    timer: &'a mut Option<Pin<Box<Sleep>>>,
}

impl Wire<'_> {
    /// Decides on the version from the first bytes.
    fn sniff(&mut self, chunk: &[u8]) {
        let seen = usize::from(*self.preface_seen);
        let expected = &CLIENT_PREFACE[seen..];
        let n = chunk.len().min(expected.len());
        if chunk[..n] != expected[..n] {
            self.decide(Version::Other);
        } else {
            *self.preface_seen += n as u8;
            if n == expected.len() {
                self.decide(Version::Http2);
            }
        }
    }

    fn decide(&mut self, version: Version) {
        *self.version = version;
        self.handle.set_version(version);
    }

    /// Looks at what the codec has written.
    fn observe(&mut self, mut chunk: &[u8], cx: &mut Context<'_>) {
        while !chunk.is_empty() {
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
                Some(Frame::Ping { ack: false, payload }) if *self.mode == Mode::Noticed => {
                    self.filter.watch(payload);
                    *self.mode = Mode::Gap;
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
            *self.mode = Mode::Noticed;
        }
    }

    fn arm(&mut self, after: Duration) {
        if let Some(timer) = self.timer.as_mut() {
            timer.as_mut().reset(later(after));
        } else {
            *self.timer = Some(Box::pin(tokio::time::sleep_until(later(after))));
        }
    }

    /// Moves the mode on by time and orders.
    fn step(&mut self, cx: &mut Context<'_>) {
        self.handle.register_transport(cx);
        let fired = self
            .timer
            .as_mut()
            .is_some_and(|timer| timer.as_mut().poll(cx).is_ready());
        let over = fired || self.handle.is_finishing();
        match *self.mode {
            Mode::Gap if over => {
                if self.filter.inject() {
                    self.rest();
                } else {
                    *self.mode = Mode::Overdue;
                    self.arm(MID_FRAME_LIMIT);
                    self.poll_timer(cx);
                }
            }
            Mode::Overdue if self.filter.inject() => self.rest(),
            Mode::Overdue | Mode::PeerEnded if fired => {
                if *self.mode == Mode::Overdue {
                    self.handle.set_lost();
                }
                *self.mode = Mode::Eof;
                *self.timer = None;
            }
            _ => {}
        }
    }

    fn rest(&mut self) {
        *self.mode = Mode::Plain;
        *self.timer = None;
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) {
        // A timer that has just been set for later is not over: this registers the task with it.
        let _registered = self
            .timer
            .as_mut()
            .is_some_and(|timer| timer.as_mut().poll(cx).is_ready());
    }

    /// The peer has sent its last byte. Whether the codec is told at once.
    fn on_eof(&mut self) -> bool {
        if *self.version == Version::Unknown {
            self.decide(Version::Other);
        }
        self.filter.release();
        if !self.filter.at_boundary() {
            self.handle.set_lost();
        }
        if matches!(self.mode, Mode::Gap | Mode::Overdue) && self.filter.inject() {
            // Nobody can open streams any more: the codec may say its last word. Its streams keep the rest of the gap.
            *self.mode = if *self.mode == Mode::Gap {
                Mode::PeerEnded
            } else {
                Mode::Eof
            };
            return false;
        }
        *self.mode = Mode::Eof;
        true
    }
}

fn later(after: Duration) -> Instant {
    let now = Instant::now();
    // Further than the clock reaches is a year: no connection drains longer.
    now.checked_add(after)
        .unwrap_or(now + Duration::from_secs(365 * 24 * 3600))
}

impl<IO: AsyncRead> AsyncRead for GoawayIo<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let mut inner = this.inner;
        if this.handle.is_cut() {
            this.handle.set_lost();
            return Poll::Ready(Ok(()));
        }
        if *this.version == Version::Other {
            return inner.poll_read(cx, buf);
        }
        let mut wire = Wire {
            handle: this.handle,
            filter: this.filter,
            written: this.written,
            preface_seen: this.preface_seen,
            version: this.version,
            mode: this.mode,
            timer: this.timer,
        };
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if !matches!(wire.mode, Mode::Plain | Mode::Noticed) {
                wire.step(cx);
            }
            if wire
                .filter
                .take_ready(buf.remaining(), |bytes| buf.put_slice(bytes))
            {
                return Poll::Ready(Ok(()));
            }
            match wire.mode {
                Mode::Eof => return Poll::Ready(Ok(())),
                Mode::PeerEnded => return Poll::Pending,
                _ => {}
            }
            if wire.filter.holds_back() {
                let mut bytes = [0; 17];
                let mut rest = ReadBuf::new(&mut bytes[..wire.filter.missing()]);
                lost_on_error(wire.handle, ready!(inner.as_mut().poll_read(cx, &mut rest)))?;
                match rest.filled() {
                    // Either way the codec gets what was held back first.
                    [] => {
                        let _told = wire.on_eof();
                    }
                    more => wire.filter.complete(more),
                }
                continue;
            }
            let before = buf.filled().len();
            lost_on_error(wire.handle, ready!(inner.as_mut().poll_read(cx, buf)))?;
            let chunk = &mut buf.filled_mut()[before..];
            if chunk.is_empty() {
                if wire.on_eof() {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            if *wire.version == Version::Unknown {
                wire.sniff(chunk);
                if *wire.version == Version::Other {
                    return Poll::Ready(Ok(()));
                }
            }
            let given = wire.filter.filter(chunk);
            buf.set_filled(before + given);
            if given > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<IO: AsyncWrite> GoawayIo<IO> {
    fn after_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        result: Poll<io::Result<usize>>,
        mut for_each: impl FnMut(usize, &mut dyn FnMut(&[u8])),
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let n = match result {
            // A cut transport does not wait for a peer that does not read.
            Poll::Pending if this.handle.is_cut() => {
                this.handle.set_lost();
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            Poll::Pending => return Poll::Pending,
            Poll::Ready(result) => lost_on_error(this.handle, result)?,
        };
        if *this.version != Version::Other {
            let mut wire = Wire {
                handle: this.handle,
                filter: this.filter,
                written: this.written,
                preface_seen: this.preface_seen,
                version: this.version,
                mode: this.mode,
                timer: this.timer,
            };
            for_each(n, &mut |chunk| wire.observe(chunk, cx));
        }
        Poll::Ready(Ok(n))
    }
}

impl<IO: AsyncWrite + AsyncRead> AsyncWrite for GoawayIo<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = self.as_mut().project().inner.poll_write(cx, buf);
        self.after_write(cx, result, |n, observe| observe(&buf[..n]))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = self.as_mut().project().inner.poll_write_vectored(cx, bufs);
        self.after_write(cx, result, |mut n, observe| {
            for buf in bufs {
                let part = n.min(buf.len());
                observe(&buf[..part]);
                n -= part;
            }
        })
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let result = this.inner.poll_flush(cx);
        if result.is_pending() && this.handle.is_cut() {
            this.handle.set_lost();
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        result.map(|result| lost_on_error(this.handle, result))
    }

    /// After the final GOAWAY the peer may close first, see [`GoawayIo`]; without one this is the transport's own
    /// shutdown.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut this = self.project();
        let waits = *this.version == Version::Http2 && this.handle.last_stream_id().is_some();
        if waits && *this.mode != Mode::Eof && *this.mode != Mode::PeerEnded {
            this.handle.register_transport(cx);
            if !this.handle.is_ending() {
                ready!(this.linger.poll(cx, this.inner.as_mut(), this.timer));
            }
        }
        let result = lost_on_error(this.handle, ready!(this.inner.poll_shutdown(cx)));
        this.handle.on_event(H2Event::TransportEnded, None);
        Poll::Ready(result)
    }
}

/// Notes an error of the transport on its way to the codec.
fn lost_on_error<T>(handle: &GoawayHandle, result: io::Result<T>) -> io::Result<T> {
    if result.is_err() {
        handle.set_lost();
    }
    result
}

#[pinned_drop]
impl<IO> PinnedDrop for GoawayIo<IO> {
    fn drop(self: Pin<&mut Self>) {
        self.handle.on_event(H2Event::TransportEnded, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_costs_less_than_256_bytes() {
        let total = size_of::<GoawayIo<()>>() + crate::handle::SHARED_SIZE + 2 * size_of::<usize>();
        assert!(total < 256, "{total}");
    }
}
