//! Towards the server: the client's frames, and a Close in the place of a client that does not
//! answer.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::{Stage, WebSocketIo};

impl<IO: AsyncWrite + Unpin> WebSocketIo<IO> {
    /// Writes the Close frame of a client that was sent one and has not answered. Ready when it is
    /// written, or not to be.
    pub(super) fn poll_speak_for_client(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let was_sent = matches!(self.stage, Stage::Awaiting { .. } | Stage::Ended);
        if self.spoken_for.is_none() {
            if !was_sent || self.up.is_closed() || !self.up.at_boundary() {
                return Poll::Ready(());
            }
            self.spoken_for = Some((0, self.code.masked_frame()));
        }
        while let Some((said, frame)) = &mut self.spoken_for {
            let Some(rest) = frame
                .get(usize::from(*said)..)
                .filter(|rest| !rest.is_empty())
            else {
                break;
            };
            match ready!(Pin::new(&mut self.upstream).poll_write(cx, rest)) {
                Ok(written @ 1..) => *said += written as u8,
                // The server is gone.
                Ok(_) | Err(_) => *said = frame.len() as u8,
            }
        }
        Pin::new(&mut self.upstream).poll_flush(cx).map(drop)
    }

    /// A server that went away once its client was sent a Close has missed nothing.
    fn wrote(&self, written: io::Result<usize>, all: usize) -> io::Result<usize> {
        match (&self.stage, written) {
            (Stage::Awaiting { .. } | Stage::Ended, Err(_)) => Ok(all),
            (_, written) => written,
        }
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for WebSocketIo<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.spoken_for.is_some() {
            // Too late: nothing may follow a Close.
            return Poll::Ready(Ok(buf.len()));
        }
        let written = ready!(Pin::new(&mut self.upstream).poll_write(cx, buf));
        let written = self.wrote(written, buf.len())?;
        self.heard_client(buf.get(..written).unwrap_or_default());
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all = bufs.iter().map(|buf| buf.len()).sum();
        if self.spoken_for.is_some() {
            return Poll::Ready(Ok(all));
        }
        let written = ready!(Pin::new(&mut self.upstream).poll_write_vectored(cx, bufs));
        let written = self.wrote(written, all)?;
        let mut left = written;
        for buf in bufs {
            let now = left.min(buf.len());
            self.heard_client(buf.get(..now).unwrap_or_default());
            left -= now;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.upstream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.upstream).poll_flush(cx));
        Poll::Ready(self.wrote(flushed.map(|()| 0), 0).map(drop))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.client_ended = true;
        self.heard_client(&[]);
        ready!(self.poll_speak_for_client(cx));
        let shut = ready!(Pin::new(&mut self.upstream).poll_shutdown(cx));
        Poll::Ready(self.wrote(shut.map(|()| 0), 0).map(drop))
    }
}
