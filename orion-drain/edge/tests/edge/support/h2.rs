//! HTTP/2 by hand, as a client: frames as they are on the wire (RFC 9113).

use std::net::SocketAddr;

use bytes::BytesMut;
pub(crate) use rig::h2::NO_LIMIT;
use rig::h2::{self, Frame, flag, kind};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::within;

/// A connection of a client.
pub(crate) struct H2<S = TcpStream> {
    stream: S,
    ahead: BytesMut,
    acks_pings: bool,
}

/// What the test looks at; all else is dealt with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// GOAWAY(last stream) without an error.
    GoAway(u32),
    /// Response headers: whether the status is 200.
    Head {
        stream: u32,
        ok: bool,
    },
    /// Bytes of a body, and whether they are the last.
    Body {
        stream: u32,
        text: String,
        last: bool,
    },
    Reset {
        stream: u32,
    },
    Fin,
}

impl H2 {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(address)).await;
        let stream = stream.expect("a connection");
        stream.set_nodelay(true).expect("a TCP socket");
        Self::over(stream).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> H2<S> {
    /// Over a stream that is there already.
    pub(crate) async fn over(stream: S) -> Self {
        let mut client = Self {
            stream,
            ahead: BytesMut::new(),
            acks_pings: true,
        };
        client.write(&h2::preface(65_535)).await;
        client
    }

    /// From now on PINGs are not answered.
    pub(crate) fn without_ping_acks(mut self) -> Self {
        self.acks_pings = false;
        self
    }

    /// Opens a stream with a request.
    pub(crate) async fn ask(&mut self, stream: u32, path: &str) {
        self.write(&h2::request("GET", path, stream, true)).await;
    }

    /// Opens a stream with a POST whose body never comes.
    pub(crate) async fn begin(&mut self, stream: u32, path: &str) {
        self.write(&h2::request("POST", path, stream, false)).await;
    }

    /// Opens a stream to a WebSocket, by extended CONNECT (RFC 8441).
    pub(crate) async fn connect_websocket(&mut self, stream: u32, path: &str) {
        self.write(&h2::connect(path, stream)).await;
    }

    /// Sends frames as they are.
    pub(crate) async fn raw(&mut self, frames: &[u8]) {
        self.write(frames).await;
    }

    /// Sends bytes of a stream.
    pub(crate) async fn data(&mut self, stream: u32, bytes: &[u8]) {
        self.write(&h2::data(stream, bytes, false)).await;
    }

    /// A request and the body of its response; nothing else may come meanwhile.
    pub(crate) async fn get(&mut self, stream: u32, path: &str) -> String {
        self.ask(stream, path).await;
        self.answered(stream).await
    }

    /// The body of the response to this stream, which must be what comes next.
    pub(crate) async fn answered(&mut self, id: u32) -> String {
        let head = self.next().await;
        assert_eq!(
            head,
            Event::Head {
                stream: id,
                ok: true
            }
        );
        let mut whole = String::new();
        loop {
            match self.next().await {
                Event::Body { stream, text, last } if stream == id => {
                    whole += &text;
                    if last {
                        return whole;
                    }
                }
                other => panic!("stream {id}: {other:?} after {whole:?}"),
            }
        }
    }

    /// What comes next.
    pub(crate) async fn next(&mut self) -> Event {
        within("a frame", self.event()).await
    }

    async fn event(&mut self) -> Event {
        loop {
            let frame = Frame::read(&mut self.stream, &mut self.ahead).await;
            let Some(frame) = frame.expect("FIN, not RST") else {
                assert!(self.ahead.is_empty(), "half a frame");
                return Event::Fin;
            };
            if let Some(ack) = frame
                .ack()
                .filter(|_| self.acks_pings || frame.kind != kind::PING)
            {
                self.write(&ack).await;
            }
            let stream = frame.stream;
            match frame.kind {
                kind::GOAWAY => {
                    assert_eq!(frame.word(4), Some(0), "an error");
                    return Event::GoAway(frame.word(0).expect("a stream id") & NO_LIMIT);
                }
                kind::HEADERS => {
                    let ok = h2::status(&frame.payload) == 200;
                    return Event::Head { stream, ok };
                }
                kind::DATA => {
                    return Event::Body {
                        stream,
                        text: String::from_utf8_lossy(&frame.payload).into_owned(),
                        last: frame.has(flag::END_STREAM),
                    };
                }
                kind::RST_STREAM => return Event::Reset { stream },
                _ => {}
            }
        }
    }

    async fn write(&mut self, bytes: &[u8]) {
        let written = within("bytes are taken", self.stream.write_all(bytes)).await;
        written.expect("bytes are taken");
    }
}
