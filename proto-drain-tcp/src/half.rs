//! One direction of a copy: take a chunk, deliver it, pass the end on.
//!
//! A chunk is read into the stack and written from there. Only what the other side does not take at
//! once is kept, so an idle direction owns no buffer, and nothing is allocated per chunk while the
//! reader keeps up.

use crate::report::{Bytes, CopyError, Side};
use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(crate) const MAX_CHUNK: usize = 64 * 1024;
/// How many chunks move in one poll before other tasks get a turn.
pub(crate) const CHUNKS_A_POLL: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Taking and delivering.
    Open,
    /// Taking no more; what was taken is delivered, then the end is passed on.
    Ending,
    /// The end was passed on.
    Over,
    /// No end was passed on: the receiving side failed, the copy gave up, or the source broke off.
    Broken,
}

/// What one call of [`Half::poll_chunk`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moved {
    /// A chunk was taken. Its rest, if any, is kept.
    Chunk,
    /// Some of what was kept was delivered.
    Rest,
    /// The source ended its half.
    End,
    /// The direction is over: nothing will move any more.
    Over,
}

#[derive(Debug)]
pub(crate) struct Half {
    from: Side,
    state: State,
    /// Taken and not delivered: `kept[sent..]`.
    kept: Vec<u8>,
    sent: usize,
    /// Something was taken since the last flush; as long as anything is kept there is none.
    unflushed: bool,
    /// There is nothing more to read from the source.
    source_ended: bool,
    /// The receiving side got a part: the source was reset or failed and never said that this was
    /// all, or the time to deliver was over.
    broke_off: bool,
    bytes: Bytes,
}

impl Half {
    pub(crate) const fn new(from: Side) -> Self {
        Self {
            from,
            state: State::Open,
            kept: Vec::new(),
            sent: 0,
            unflushed: false,
            source_ended: false,
            broke_off: false,
            bytes: Bytes {
                delivered: 0,
                undelivered: 0,
                discarded: 0,
            },
        }
    }

    pub(crate) const fn bytes(&self) -> Bytes {
        self.bytes
    }

    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    pub(crate) const fn is_over(&self) -> bool {
        matches!(self.state, State::Over | State::Broken)
    }

    /// Whether bytes were taken that the other side's transport does not have yet.
    pub(crate) const fn owes(&self) -> bool {
        self.unflushed
    }

    /// Take no more; deliver what was taken, then pass the end on.
    pub(crate) fn stop(&mut self) {
        if self.state == State::Open {
            self.state = State::Ending;
        }
    }

    /// Deliver no more: what was taken is lost, and counted.
    pub(crate) fn give_up(&mut self) {
        if !self.is_over() {
            self.state = State::Broken;
            self.bytes.undelivered += (self.kept.len() - self.sent) as u64;
            self.release();
        }
    }

    /// The time to deliver is over. A receiving side that has not taken everything must not read a
    /// good end.
    pub(crate) fn time_is_over(&mut self) {
        if !self.is_over() {
            self.broke_off |= self.owes();
            self.give_up();
        }
    }

    /// The source cannot be read any more: what was taken is delivered, and no end is passed on.
    pub(crate) fn source_failed(&mut self) {
        self.source_was_reset();
        self.source_ended = true;
        self.stop();
    }

    /// The source was reset while something was written to it. What it sent before that is still
    /// read and delivered; its end, which reads like a good one then, is not passed on.
    pub(crate) fn source_was_reset(&mut self) {
        if !self.is_over() {
            self.broke_off = true;
        }
    }

    /// Whether the receiving side must not take what it got for the whole.
    pub(crate) const fn broke_off(&self) -> bool {
        self.broke_off
    }

    /// Moves at most one chunk of at most `chunk` bytes.
    pub(crate) fn poll_chunk<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut R,
        sink: &mut W,
        chunk: usize,
    ) -> Poll<Result<Moved, CopyError>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        if self.is_over() {
            return Poll::Ready(Ok(Moved::Over));
        }
        if self.sent < self.kept.len() {
            let written = ready!(self.poll_write_kept(cx, sink))
                .map_err(|source| self.write_error(source))?;
            self.bytes.delivered += written as u64;
            return Poll::Ready(Ok(Moved::Rest));
        }
        if self.state == State::Ending {
            ready!(self.poll_end(cx, sink)).map_err(|source| self.write_error(source))?;
            return Poll::Ready(Ok(Moved::Over));
        }
        self.poll_take(cx, source, sink, chunk)
    }

    fn poll_take<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut R,
        sink: &mut W,
        chunk: usize,
    ) -> Poll<Result<Moved, CopyError>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut space = [const { MaybeUninit::uninit() }; MAX_CHUNK];
        let mut taken = ReadBuf::uninit(&mut space[..chunk]);
        match Pin::new(source).poll_read(cx, &mut taken) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(source)) => {
                return Poll::Ready(Err(CopyError::Read {
                    side: self.from,
                    source,
                }));
            }
            Poll::Pending => {
                // Nothing to read: now is the time to flush, and to hold no memory.
                if self.unflushed {
                    ready!(Pin::new(sink).poll_flush(cx))
                        .map_err(|source| self.write_error(source))?;
                    self.unflushed = false;
                }
                self.release();
                return Poll::Pending;
            }
        }
        let taken = taken.filled();
        if taken.is_empty() {
            self.source_ended = true;
            self.state = State::Ending;
            return Poll::Ready(Ok(Moved::End));
        }
        self.unflushed = true;
        let mut rest = taken;
        let refused = loop {
            match Pin::new(&mut *sink).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => break Some(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => {
                    self.bytes.delivered += written as u64;
                    rest = &rest[written..];
                    if rest.is_empty() {
                        return Poll::Ready(Ok(Moved::Chunk));
                    }
                }
                Poll::Ready(Err(error)) => break Some(error),
                Poll::Pending => break None,
            }
        };
        // Back-pressure, or a failure: then `give_up` counts what is kept.
        self.kept.clear();
        self.kept.extend_from_slice(rest);
        self.sent = 0;
        Poll::Ready(match refused {
            Some(source) => Err(self.write_error(source)),
            None => Ok(Moved::Chunk),
        })
    }

    fn poll_write_kept<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut W,
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(sink).poll_write(cx, &self.kept[self.sent..]))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.sent += written;
        Poll::Ready(Ok(written))
    }

    /// Flushes, then passes the end on, if the source had one. A failure to say FIN (or
    /// close_notify) loses no byte: the peer is gone.
    fn poll_end<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut W,
    ) -> Poll<io::Result<()>> {
        if self.unflushed {
            ready!(Pin::new(&mut *sink).poll_flush(cx))?;
            self.unflushed = false;
        }
        self.release();
        if self.broke_off {
            self.state = State::Broken;
            return Poll::Ready(Ok(()));
        }
        drop::<io::Result<()>>(ready!(Pin::new(sink).poll_shutdown(cx)));
        self.state = State::Over;
        Poll::Ready(Ok(()))
    }

    /// Reads and drops what the source still sends. Ready when it has ended its half, failed, or
    /// sent `limit` bytes.
    pub(crate) fn poll_discard<R: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut R,
        limit: u64,
    ) -> Poll<()> {
        let mut space = [const { MaybeUninit::uninit() }; MAX_CHUNK];
        for _ in 0..CHUNKS_A_POLL {
            if self.source_ended || self.bytes.discarded >= limit {
                return Poll::Ready(());
            }
            let mut dropped = ReadBuf::uninit(&mut space);
            match ready!(Pin::new(&mut *source).poll_read(cx, &mut dropped)) {
                Ok(()) if !dropped.filled().is_empty() => {
                    self.bytes.discarded += dropped.filled().len() as u64
                }
                Ok(()) | Err(_) => self.source_ended = true,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn write_error(&self, source: io::Error) -> CopyError {
        let side = match self.from {
            Side::Client => Side::Upstream,
            Side::Upstream => Side::Client,
        };
        CopyError::Write { side, source }
    }

    fn release(&mut self) {
        self.kept = Vec::new();
        self.sent = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{task::Waker, time::Duration};
    use tokio::io::{AsyncWriteExt, duplex};
    use tokio_test::io::Builder;

    #[tokio::test]
    async fn an_idle_direction_owns_no_buffer() {
        let (mut source, mut near) = duplex(64);
        source.write_all(b"question").await.unwrap();
        let mut slow = Builder::new().write(b"que").wait(Duration::ZERO).build();
        let mut cx = Context::from_waker(Waker::noop());
        let mut half = Half::new(Side::Client);
        let _moved = half.poll_chunk(&mut cx, &mut near, &mut slow, 64);
        assert_eq!(half.kept, b"stion");
        let mut quick = Builder::new().write(b"stion").build();
        let _moved = half.poll_chunk(&mut cx, &mut near, &mut quick, 64);
        assert!(
            half.poll_chunk(&mut cx, &mut near, &mut quick, 64)
                .is_pending()
        );
        assert_eq!(half.kept.capacity(), 0);
    }
}
