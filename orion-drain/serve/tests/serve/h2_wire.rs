//! An HTTP/2 client that is nothing but frames: what it sees is what was on the wire.

use std::collections::HashMap;

use bytes::BytesMut;
use rig::h2::{self, Frame, flag, kind};
use tokio::io::{AsyncWriteExt, DuplexStream};

/// RFC 9113 section 7.
const CANCEL: u32 = 8;

pub(crate) struct H2Client {
    io: DuplexStream,
    ahead: BytesMut,
    next: u32,
    goaways: Vec<u32>,
    /// The type of the first frame of a stream behind the first GOAWAY.
    after_goaway: Option<u8>,
    resets: HashMap<u32, u32>,
    bodies: HashMap<u32, (Vec<u8>, bool)>,
}

impl H2Client {
    pub(crate) async fn new(io: DuplexStream) -> Self {
        let mut client = Self {
            io,
            ahead: BytesMut::new(),
            next: 1,
            goaways: vec![],
            after_goaway: None,
            resets: HashMap::new(),
            bodies: HashMap::new(),
        };
        client.send(&h2::preface(65_535)).await;
        client
    }

    async fn send(&mut self, frames: &[u8]) {
        self.io.write_all(frames).await.expect("it is open");
    }

    /// Opens a stream.
    pub(crate) async fn open(&mut self, path: &str) -> u32 {
        let stream = self.next_stream();
        self.send(&h2::request("GET", path, stream, true)).await;
        stream
    }

    fn next_stream(&mut self) -> u32 {
        self.next += 2;
        self.next - 2
    }

    /// Opens streams and resets each at once, all in one write.
    pub(crate) async fn cancelled(&mut self, streams: usize) {
        let mut frames = vec![];
        for _ in 0..streams {
            let stream = self.next_stream();
            frames.extend(h2::request("GET", "/endless", stream, true));
            h2::put(
                &mut frames,
                kind::RST_STREAM,
                0,
                stream,
                &CANCEL.to_be_bytes(),
            );
        }
        self.send(&frames).await;
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
        let read = Frame::read(&mut self.io, &mut self.ahead).await;
        let Ok(Some(frame)) = read else {
            assert!(self.ahead.is_empty(), "a frame is whole");
            return false;
        };
        let stream = frame.stream;
        if stream > 0 && self.after_goaway.is_none() && !self.goaways.is_empty() {
            self.after_goaway = Some(frame.kind);
        }
        if let Some(ack) = frame.ack() {
            self.send(&ack).await;
        }
        let word = || frame.word(0).expect("four bytes");
        match frame.kind {
            kind::GOAWAY => self.goaways.push(word()),
            kind::RST_STREAM => {
                self.resets.insert(stream, word());
            }
            kind::DATA | kind::HEADERS => {
                let (body, ended) = self.bodies.entry(stream).or_default();
                if frame.kind == kind::DATA {
                    body.extend(&frame.payload);
                }
                *ended |= frame.has(flag::END_STREAM);
            }
            _ => {}
        }
        true
    }
}
