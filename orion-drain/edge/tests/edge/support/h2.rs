//! HTTP/2 by hand, as a client: frames as they are on the wire (RFC 9113).

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::within;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The last stream of a GOAWAY that announces another one.
pub(crate) const NO_LIMIT: u32 = (1 << 31) - 1;

/// A connection of a client.
pub(crate) struct H2<S = TcpStream> {
    stream: S,
    ahead: Vec<u8>,
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
            ahead: Vec::new(),
            acks_pings: true,
        };
        // No dynamic table: the block of a response begins with its status, of which 200 is one byte.
        let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        put(&mut hello, SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]);
        client.write(&hello).await;
        client
    }

    /// From now on PINGs are not answered.
    pub(crate) fn without_ping_acks(mut self) -> Self {
        self.acks_pings = false;
        self
    }

    /// Opens a stream with a request.
    pub(crate) async fn ask(&mut self, stream: u32, path: &str) {
        self.head(0x82, END_STREAM, stream, path).await;
    }

    /// Opens a stream with a POST whose body never comes.
    pub(crate) async fn begin(&mut self, stream: u32, path: &str) {
        self.head(0x83, 0, stream, path).await;
    }

    /// Opens a stream to a WebSocket, by extended CONNECT (RFC 8441).
    pub(crate) async fn connect_websocket(&mut self, stream: u32, path: &str) {
        let mut block = b"\x02\x07CONNECT\x86\x00\x09:protocol\x09websocket".to_vec();
        for (name, value) in [(0x01, "test"), (0x04, path)] {
            block.extend([name, u8::try_from(value.len()).expect("a short path")]);
            block.extend(value.as_bytes());
        }
        let mut out = Vec::new();
        put(&mut out, HEADERS, END_HEADERS, stream, &block);
        self.write(&out).await;
    }

    /// Sends bytes of a stream.
    pub(crate) async fn data(&mut self, stream: u32, bytes: &[u8]) {
        let mut out = Vec::new();
        put(&mut out, DATA, 0, stream, bytes);
        self.write(&out).await;
    }

    async fn head(&mut self, method: u8, flags: u8, stream: u32, path: &str) {
        // `:method`, `:scheme http`, then `:authority` and `:path` as literals that are not indexed.
        let mut block = vec![method, 0x86];
        for (name, value) in [(0x01, "test"), (0x04, path)] {
            block.extend([name, u8::try_from(value.len()).expect("a short path")]);
            block.extend(value.as_bytes());
        }
        let mut out = Vec::new();
        put(&mut out, HEADERS, END_HEADERS | flags, stream, &block);
        self.write(&out).await;
    }

    /// A request and the body of its response; nothing else may come meanwhile.
    pub(crate) async fn get(&mut self, stream: u32, path: &str) -> String {
        self.ask(stream, path).await;
        self.answered(stream).await
    }

    /// The body of the response to this stream, which must be what comes next.
    pub(crate) async fn answered(&mut self, id: u32) -> String {
        let head = self.next().await;
        assert_eq!(head, Event::Head { stream: id, ok: true });
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
            let Some((kind, flags, stream, payload)) = self.frame().await else {
                return Event::Fin;
            };
            match kind {
                SETTINGS if flags & ACK == 0 => {
                    let mut out = Vec::new();
                    put(&mut out, SETTINGS, ACK, 0, &[]);
                    self.write(&out).await;
                }
                PING if flags & ACK == 0 && self.acks_pings => {
                    let mut out = Vec::new();
                    put(&mut out, PING, ACK, 0, &payload);
                    self.write(&out).await;
                }
                GOAWAY => {
                    assert_eq!(payload[4..8], [0; 4], "an error");
                    return Event::GoAway(word(&payload) & NO_LIMIT);
                }
                HEADERS => {
                    let ok = payload.first() == Some(&0x88) || payload.get(..2) == Some(&[0x20, 0x88]);
                    return Event::Head { stream, ok };
                }
                DATA => {
                    return Event::Body {
                        stream,
                        text: String::from_utf8_lossy(&payload).into_owned(),
                        last: flags & END_STREAM != 0,
                    };
                }
                RST_STREAM => return Event::Reset { stream },
                _ => {}
            }
        }
    }

    async fn frame(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        loop {
            if let Some(head) = self.ahead.get(..9) {
                let length = word(&[0, head[0], head[1], head[2]]) as usize;
                let (kind, flags, stream) = (head[3], head[4], word(&head[5..9]) & NO_LIMIT);
                if self.ahead.len() >= 9 + length {
                    let payload = self.ahead[9..9 + length].to_vec();
                    self.ahead.drain(..9 + length);
                    return Some((kind, flags, stream, payload));
                }
            }
            if self.stream.read_buf(&mut self.ahead).await.expect("FIN, not RST") == 0 {
                assert!(self.ahead.is_empty(), "half a frame");
                return None;
            }
        }
    }

    async fn write(&mut self, bytes: &[u8]) {
        let written = within("bytes are taken", self.stream.write_all(bytes)).await;
        written.expect("bytes are taken");
    }
}

fn put(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("a small frame").to_be_bytes();
    out.extend(&length[1..]);
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}
