//! h2 used directly: a future that accepts streams, with its handshake, so that it can be driven
//! like hyper's.

use crate::shutdown::H2Shutdown;
use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Builder, Connection, Handshake, SendResponse};
use http::Request;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite};

/// Serves one transport with h2: hands each stream to a function, which spawns or answers it.
///
/// Resolves when the connection has ended. Streams are accepted also after `graceful_shutdown`,
/// until the final GOAWAY.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use proto_drain_h2::{H2Drain, ServeStreams};
///
/// let (_client, server) = tokio::io::duplex(1024);
/// let connection = H2Drain::default().connection(server, |io, _parts| {
///     ServeStreams::new(io, &h2::server::Builder::new(), |_request, mut respond| {
///         // An answer at once; anything longer is spawned.
///         let _sent = respond.send_response(http::Response::new(()), true);
///     })
/// }); // for drain_signal::drive
/// # drop(connection);
/// # }
/// ```
#[must_use = "futures do nothing unless polled"]
pub struct ServeStreams<T, F> {
    state: State<T>,
    on_stream: F,
    /// Asked to shut down while the handshake ran.
    asked: bool,
}

enum State<T> {
    Handshaking(Handshake<T>),
    Serving(Connection<T, Bytes>),
}

impl<T, F> ServeStreams<T, F>
where
    T: AsyncRead + AsyncWrite + Unpin,
    F: FnMut(Request<RecvStream>, SendResponse<Bytes>),
{
    /// Begins the handshake on `io`, usually a [`GoawayIo`](crate::GoawayIo).
    pub fn new(io: T, builder: &Builder, on_stream: F) -> Self {
        Self {
            state: State::Handshaking(builder.handshake(io)),
            on_stream,
            asked: false,
        }
    }
}

impl<T, F> Future for ServeStreams<T, F>
where
    T: AsyncRead + AsyncWrite + Unpin,
    F: FnMut(Request<RecvStream>, SendResponse<Bytes>) + Unpin,
{
    type Output = Result<(), h2::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            match &mut this.state {
                State::Handshaking(handshake) => {
                    let mut connection = ready!(Pin::new(handshake).poll(cx))?;
                    if this.asked {
                        connection.graceful_shutdown();
                    }
                    this.state = State::Serving(connection);
                }
                State::Serving(connection) => match ready!(pin!(connection.accept()).poll(cx)) {
                    Some(Ok((request, respond))) => (this.on_stream)(request, respond),
                    Some(Err(error)) => return Poll::Ready(Err(error)),
                    None => return Poll::Ready(Ok(())),
                },
            }
        }
    }
}

impl<T, F> H2Shutdown for ServeStreams<T, F>
where
    T: AsyncRead + AsyncWrite + Unpin,
    F: Unpin,
{
    fn graceful_shutdown(self: Pin<&mut Self>) {
        let this = self.get_mut();
        match &mut this.state {
            State::Handshaking(_) => this.asked = true,
            State::Serving(connection) => connection.graceful_shutdown(),
        }
    }
}

impl<T, F> fmt::Debug for ServeStreams<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let serving = matches!(self.state, State::Serving(_));
        f.debug_struct("ServeStreams")
            .field("serving", &serving)
            .finish_non_exhaustive()
    }
}
