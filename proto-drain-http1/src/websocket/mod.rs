//! A WebSocket tunnel ends in a Close frame between two frames of the server, then
//! the TCP close.
//!
//! A relay that just closes a tunnel leaves its client with 1006, "abnormal closure". RFC 6455 lets
//! a relay say 1001 or 1012 in the server's direction instead, if it does so between two frames
//! (section 5.4: a control frame may stand between the fragments of a message) and sends nothing
//! behind it (section 5.5.1).

mod client;
mod code;
mod frame;
mod writing;

use std::fmt;
use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use drain_signal::{DrainHandle, Phase, PhaseWait};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

pub use client::WebSocketClientIo;
pub use code::CloseCode;
use frame::FrameWalker;

/// The upstream of a WebSocket tunnel; at the connection's slot its client reads a Close frame and
/// the end of the stream.
///
/// Put it around the upstream's side of a two-way copy (proto-drain-tcp's `DrainCopy`, or
/// [`tokio::io::copy_bidirectional`]), after the `101` was relayed, so that the first byte read
/// begins a frame. Until the slot every byte passes through. Then:
///
/// 1. what the server has begun to send is read to the end of its frame, and what it has sent
///    already, 64 KiB of it at most;
/// 2. while the client has sent more messages than it was sent since, or is inside one, the
///    server's are read on: for half of [`with_reply_timeout`](Self::with_reply_timeout) at most;
/// 3. the Close frame is read, as if the server had sent it; a server's frames have no mask;
/// 4. the client's answer is awaited, for what is left of
///    [`with_reply_timeout`](Self::with_reply_timeout); it goes to the server, which ends its own
///    side by it. A client that does not answer is spoken for: the server gets a Close frame with
///    the same code, unless the client is inside a frame;
/// 5. the end of the stream is read, which the copy passes on as FIN: the server's side closes
///    first (section 7.1.1). A client that does not close then is bounded by [`WebSocketClientIo`]
///    around its side.
///
/// Nothing may follow a Close. A client's message that crosses it still goes to the server, and
/// what the server sends from then on is dropped. Behind a Close in the client's place, what the
/// client sends is dropped as well.
///
/// If either side has closed by itself, nothing is said: the handshake is already on its way. A
/// frame that does not end before the deadline is cut there by the copy, without a Close: in the
/// middle of a frame there is no place for one.
///
/// For a server that is no relay the same is one line: send the Close when
/// [`DrainHandle::signaled`] resolves. Over HTTP/2 (RFC 8441) the same frames go over a stream, and
/// the end of the stream is END_STREAM.
///
/// # Examples
///
/// ```no_run
/// use drain_signal::DrainWatch;
/// use proto_drain_http1::{CloseCode, WebSocketIo};
/// use tokio::net::TcpStream;
///
/// # async fn f(mut client: TcpStream, upstream: TcpStream, watch: DrainWatch) -> std::io::Result<()> {
/// let mut upstream = WebSocketIo::new(upstream, watch.handle(), CloseCode::ServiceRestart);
/// tokio::io::copy_bidirectional(&mut client, &mut upstream).await?;
/// # Ok(()) }
/// ```
pub struct WebSocketIo<IO> {
    upstream: IO,
    drain: PhaseWait<DrainHandle>,
    code: CloseCode,
    reply_timeout: Duration,
    /// The phase after which it closes.
    after: Phase,
    /// The server's frames: what is read.
    down: FrameWalker,
    /// The client's frames: what is written.
    up: FrameWalker,
    /// How many messages the client has sent that the server has sent none for.
    unanswered: usize,
    client_ended: bool,
    stage: Stage,
    /// Bytes read since the Close could have been said for the first time.
    cleared: usize,
    /// How long the Close still waits for the server; set when it waits.
    answer: Option<Pin<Box<Sleep>>>,
    /// The Close frame to the server in place of a client that has not answered, and how much of it
    /// is written.
    spoken_for: Option<(u8, [u8; 8])>,
}

enum Stage {
    Relaying,
    /// So many bytes of the Close frame were read.
    Saying(usize),
    Awaiting {
        timeout: Pin<Box<Sleep>>,
        reader: Waker,
        upstream_ended: bool,
    },
    Ended,
}

impl<IO> WebSocketIo<IO> {
    /// Wraps the upstream of a tunnel; `drain` is the tunnel's own handle.
    #[must_use]
    pub fn new(upstream: IO, drain: DrainHandle, code: CloseCode) -> Self {
        Self {
            upstream,
            drain: PhaseWait::new(drain),
            code,
            reply_timeout: Duration::from_secs(1),
            after: Phase::Open,
            down: FrameWalker::default(),
            up: FrameWalker::default(),
            unanswered: 0,
            client_ended: false,
            stage: Stage::Relaying,
            cleared: 0,
            answer: None,
            spoken_for: None,
        }
    }

    /// The upstream.
    #[must_use]
    pub const fn get_ref(&self) -> &IO {
        &self.upstream
    }

    /// How long the client may take to answer the Close frame; half as long if the Close has waited
    /// for the server. Default 1 s, as Envoy's `delayed_close_timeout`.
    #[must_use]
    pub fn with_reply_timeout(mut self, timeout: Duration) -> Self {
        self.reply_timeout = timeout;
        self
    }

    /// Closes shortly before the deadline instead, when the last word is said
    /// (`CloseSteps::finish_before`): until then the tunnel is left alone. Let the reply timeout be
    /// no longer than what is left then.
    #[must_use]
    pub fn at_last_word(mut self) -> Self {
        self.after = Phase::Signaled;
        self
    }

    /// Whether the time to close has come, and neither side has closed yet.
    fn is_to_close(&mut self, cx: &mut Context<'_>) -> bool {
        !self.down.is_closed()
            && !self.up.is_closed()
            && !self.client_ended
            && self.drain.poll_phase(cx, self.after).is_ready()
    }

    /// The client said something, or ended.
    fn heard_client(&mut self, bytes: &[u8]) {
        let messages = self.up.walk(bytes);
        self.unanswered = self.unanswered.saturating_add(messages);
        if let (Stage::Awaiting { reader, .. }, true) = (&self.stage, self.client_is_done()) {
            reader.wake_by_ref();
        }
    }

    fn client_is_done(&self) -> bool {
        self.up.is_closed() || self.client_ended
    }
}

impl<IO: AsyncRead + Unpin> WebSocketIo<IO> {
    /// Reads so many bytes at most; otherwise what there is.
    fn poll_relay(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        most: Option<usize>,
    ) -> Poll<io::Result<usize>> {
        let before = buf.filled().len();
        if let Some(most) = most {
            let most = most.min(buf.remaining());
            let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
            ready!(Pin::new(&mut self.upstream).poll_read(cx, &mut part))?;
            let read = part.filled().len();
            buf.advance(read);
        } else {
            ready!(Pin::new(&mut self.upstream).poll_read(cx, buf))?;
        }
        let read = buf.filled().get(before..).unwrap_or_default();
        self.unanswered = self.unanswered.saturating_sub(self.down.walk(read));
        if self.cleared > 0 {
            self.cleared = self.cleared.saturating_add(read.len());
        }
        Poll::Ready(Ok(read.len()))
    }

    /// Between two frames of the server, before the Close: whether one more has begun. Pending
    /// while the client waits for one.
    fn poll_clear(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<bool> {
        /// The shortest frame: so much is read and no boundary passed.
        const HEAD: usize = 2;
        /// A server that always has more to say does not keep the Close back.
        const MOST: usize = 64 * 1024;
        let waits = self.unanswered > 0 || self.up.in_message();
        if waits {
            let most = self.reply_timeout / 2;
            let answer = self
                .answer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(most)));
            if answer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(false);
            }
        } else if self.cleared >= MOST {
            return Poll::Ready(false);
        }
        match self.poll_relay(cx, buf, Some(HEAD)) {
            Poll::Ready(Ok(read @ 1..)) => {
                self.cleared = self.cleared.max(read);
                Poll::Ready(true)
            }
            // The server has ended: the client is sent a Close all the same.
            Poll::Ready(_) => Poll::Ready(false),
            Poll::Pending if waits => Poll::Pending,
            Poll::Pending => Poll::Ready(false),
        }
    }

    /// Ready when the client has answered or ended, or had its time. Drops what the server still
    /// sends.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        /// Reads of one poll, so that a busy server lets other tasks run.
        const ROUNDS: usize = 16;
        let done = self.client_is_done();
        let Stage::Awaiting {
            timeout,
            reader,
            upstream_ended,
        } = &mut self.stage
        else {
            return Poll::Ready(());
        };
        if done || timeout.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        reader.clone_from(cx.waker());
        let mut space = [const { MaybeUninit::uninit() }; 4096];
        for _ in 0..ROUNDS {
            if *upstream_ended {
                return Poll::Pending;
            }
            let mut dropped = ReadBuf::uninit(&mut space);
            match ready!(Pin::new(&mut self.upstream).poll_read(cx, &mut dropped)) {
                Ok(()) => *upstream_ended = dropped.filled().is_empty(),
                Err(_) => *upstream_ended = true,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocketIo<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            match this.stage {
                Stage::Relaying => {
                    let closing = this.is_to_close(cx);
                    if !(closing && this.down.at_boundary()) {
                        let most = closing.then(|| this.down.until_boundary());
                        return this.poll_relay(cx, buf, most).map_ok(drop);
                    }
                    if ready!(this.poll_clear(cx, buf)) {
                        return Poll::Ready(Ok(()));
                    }
                    this.stage = Stage::Saying(0);
                }
                Stage::Saying(said) => {
                    let frame = this.code.frame();
                    let now = buf.remaining().min(frame.len() - said);
                    buf.put_slice(&frame[said..said + now]);
                    this.stage = Stage::Saying(said + now);
                    if said + now == frame.len() {
                        let reply_timeout = match this.answer.take() {
                            Some(_) => this.reply_timeout / 2,
                            None => this.reply_timeout,
                        };
                        this.stage = Stage::Awaiting {
                            timeout: Box::pin(tokio::time::sleep(reply_timeout)),
                            reader: cx.waker().clone(),
                            upstream_ended: false,
                        };
                    }
                    return Poll::Ready(Ok(()));
                }
                Stage::Awaiting { .. } => {
                    ready!(this.poll_answer(cx));
                    this.stage = Stage::Ended;
                    // What is not written now is written before the shutdown.
                    let _is_written = this.poll_speak_for_client(cx).is_ready();
                }
                Stage::Ended => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<IO> fmt::Debug for WebSocketIo<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.stage {
            Stage::Relaying => "relaying",
            Stage::Saying(_) => "saying close",
            Stage::Awaiting { .. } => "awaiting the answer",
            Stage::Ended => "ended",
        };
        f.debug_struct("WebSocketIo")
            .field("stage", &stage)
            .field("code", &self.code)
            .finish_non_exhaustive()
    }
}
