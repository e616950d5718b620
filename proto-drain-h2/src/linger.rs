//! The delayed close: the peer closes first, or its time is over; bounded in time and in bytes.

use crate::settings::nanos;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// After so many discarded bytes nothing more is read; the peer keeps its time.
const DISCARD_LIMIT: u32 = 256 * 1024;

/// Waits for the peer's end after our last frame.
///
/// A close while the peer still sends makes the kernel answer with RST, which can destroy what the peer has not read
/// yet ([RFC 9112 section 9.6](https://www.rfc-editor.org/rfc/rfc9112#section-9.6)). No early half-close, as Envoy.
#[derive(Debug)]
pub(crate) struct Linger {
    nanos: u64,
    discarded: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    Flushing,
    Waiting,
    Done,
}

impl Linger {
    pub(crate) fn new(time: Duration) -> Self {
        Self {
            nanos: nanos(time),
            discarded: 0,
            state: State::Flushing,
        }
    }

    /// Ready when the peer has ended, has failed, or had its time.
    pub(crate) fn poll<IO: AsyncRead + AsyncWrite>(
        &mut self,
        cx: &mut Context<'_>,
        mut io: Pin<&mut IO>,
        timer: &mut Option<Pin<Box<Sleep>>>,
    ) -> Poll<()> {
        loop {
            match self.state {
                State::Flushing => {
                    let flushed = ready!(io.as_mut().poll_flush(cx));
                    self.state = if flushed.is_err() || self.nanos == 0 {
                        State::Done
                    } else {
                        State::Waiting
                    };
                    *timer = Some(Box::pin(tokio::time::sleep(Duration::from_nanos(self.nanos))));
                }
                State::Waiting => match self.discard(cx, io.as_mut()) {
                    Poll::Ready(_ended) => self.state = State::Done,
                    Poll::Pending => {
                        if let Some(timer) = timer {
                            ready!(timer.as_mut().poll(cx));
                        }
                        self.state = State::Done;
                    }
                },
                State::Done => {
                    *timer = None;
                    return Poll::Ready(());
                }
            }
        }
    }

    fn discard<IO: AsyncRead>(&mut self, cx: &mut Context<'_>, mut io: Pin<&mut IO>) -> Poll<io::Result<()>> {
        let mut bytes = [0; 2048];
        while self.discarded < DISCARD_LIMIT {
            let mut buf = ReadBuf::new(&mut bytes);
            ready!(io.as_mut().poll_read(cx, &mut buf))?;
            if buf.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.discarded += buf.filled().len() as u32;
        }
        Poll::Pending
    }
}
