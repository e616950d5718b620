//! An HTTP/2 client that is nothing but frames: what it sees is what was on the wire.

use std::collections::HashMap;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_BOTH: u8 = 5;

pub(crate) struct H2Client {
    io: DuplexStream,
    next: u32,
    goaways: Vec<u32>,
    /// The type of the first frame of a stream behind the first GOAWAY.
    after_goaway: Option<u8>,
    resets: HashMap<u32, u32>,
    bodies: HashMap<u32, (Vec<u8>, bool)>,
}

impl H2Client {
    pub(crate) async fn new(mut io: DuplexStream) -> Self {
        io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .expect("it is open");
        let mut client = Self {
            io,
            next: 1,
            goaways: vec![],
            after_goaway: None,
            resets: HashMap::new(),
            bodies: HashMap::new(),
        };
        client.send(SETTINGS, 0, 0, &[]).await;
        client
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len())
            .expect("tests send small frames")
            .to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.io.write_all(&frame).await.expect("it is open");
    }

    /// Opens a stream; the path goes as a literal, everything else from HPACK's static table.
    pub(crate) async fn open(&mut self, path: &str) -> u32 {
        let stream = self.next;
        self.next += 2;
        let mut block = vec![
            0x82,
            0x86,
            0x04,
            u8::try_from(path.len()).expect("tests use short paths"),
        ];
        block.extend(path.as_bytes());
        block.extend([0x01, 0x01, b'a']);
        self.send(HEADERS, END_BOTH, stream, &block).await;
        stream
    }

    /// A request and its whole answer.
    pub(crate) async fn get(&mut self, path: &str) -> Vec<u8> {
        let stream = self.open(path).await;
        loop {
            if let Some((body, true)) = self.bodies.get(&stream) {
                return body.clone();
            }
            assert!(
                self.frame().await,
                "the connection ended before stream {stream} was answered"
            );
        }
    }

    /// The last stream id of the next GOAWAY.
    pub(crate) async fn goaway(&mut self) -> u32 {
        while self.goaways.is_empty() {
            assert!(self.frame().await, "the connection ended without a GOAWAY");
        }
        self.goaways.remove(0)
    }

    /// The error code a stream was reset with.
    pub(crate) async fn reset(&mut self, stream: u32) -> u32 {
        loop {
            if let Some(code) = self.resets.get(&stream) {
                return *code;
            }
            assert!(
                self.frame().await,
                "the connection ended without a reset of stream {stream}"
            );
        }
    }

    pub(crate) fn first_after_goaway(&self) -> Option<u8> {
        self.after_goaway
    }

    /// Whether a reset of this stream has come.
    pub(crate) fn was_reset(&self, stream: u32) -> bool {
        self.resets.contains_key(&stream)
    }

    /// Reads to the end of the connection.
    pub(crate) async fn end(&mut self) {
        while self.frame().await {}
    }

    /// Takes one frame in; `false` at the end of the connection.
    async fn frame(&mut self) -> bool {
        let mut head = [0; 9];
        if self.io.read_exact(&mut head).await.is_err() {
            return false;
        }
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.io
            .read_exact(&mut payload)
            .await
            .expect("a frame is whole");
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let word =
            |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().expect("four bytes"));
        if stream > 0 && self.after_goaway.is_none() && !self.goaways.is_empty() {
            self.after_goaway = Some(kind);
        }
        match kind {
            SETTINGS if flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[]).await,
            PING if flags & ACK == 0 => self.send(PING, ACK, 0, &payload).await,
            GOAWAY => self.goaways.push(word(0)),
            RST_STREAM => {
                self.resets.insert(stream, word(0));
            }
            DATA | HEADERS => {
                let (body, ended) = self.bodies.entry(stream).or_default();
                if kind == DATA {
                    body.extend(&payload);
                }
                *ended |= flags & END_STREAM != 0;
            }
            _ => {}
        }
        true
    }
}
