//! Clients that ask without a pause until they are refused, and panic if an answer is missing.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::BytesMut;
use rig::h1::Wire;
use rig::h2::{self, Frame, flag, kind};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::process::{until, within};

/// How many answers all clients have got.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answers(Arc<AtomicUsize>);

impl Answers {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until there are so many more.
    pub(crate) async fn reach(&self, more: usize) {
        let goal = self.0.load(Ordering::Relaxed) + more;
        within("answers", until(|| self.0.load(Ordering::Relaxed) >= goal)).await;
    }
}

/// Asks over HTTP/1.1, on each connection until a response says `close`.
pub(crate) async fn asks_http1<S, F>(connect: F, answers: Answers)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: AsyncFn() -> io::Result<S>,
{
    // It listens no more, or else it would have closed without a word.
    while let Ok(stream) = connect().await {
        let mut wire = Wire::new(stream);
        loop {
            let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
            wire.stream.write_all(request).await.expect("it is open");
            let head = wire.head().await.expect("a response");
            assert_eq!(head.status(), 200);
            wire.body(&head).await.expect("its body");
            answers.add();
            if head.close() {
                break;
            }
        }
        let mut rest = Vec::new();
        let ended = wire.stream.read_to_end(&mut rest).await;
        assert_eq!(ended.expect("it ends by FIN"), 0);
    }
}

/// Asks over HTTP/2, on each connection until a GOAWAY names the last stream.
pub(crate) async fn asks_http2(to: SocketAddr, answers: Answers) {
    while let Ok(mut stream) = TcpStream::connect(to).await {
        stream
            .write_all(&h2::preface(1 << 20))
            .await
            .expect("it is open");
        let (mut ahead, mut last) = (BytesMut::new(), u32::MAX >> 1);
        let mut id = 1;
        while id <= last {
            let request = h2::request("GET", "/", id, true);
            // After its GOAWAY the server may have closed: this stream was not taken.
            let written = stream.write_all(&request).await.is_ok();
            while id <= last {
                assert!(written, "it closes before the last stream is answered");
                let frame = Frame::read(&mut stream, &mut ahead)
                    .await
                    .expect("it is open");
                let frame = frame.expect("an answer comes before FIN");
                if let Some(ack) = frame.ack() {
                    stream.write_all(&ack).await.ok();
                }
                match frame.kind {
                    kind::GOAWAY => last = frame.word(0).expect("a stream") & (u32::MAX >> 1),
                    kind::RST_STREAM => panic!("stream {} is reset", frame.stream),
                    kind::HEADERS | kind::DATA if frame.has(flag::END_STREAM) => {
                        answers.add();
                        break;
                    }
                    _ => {}
                }
            }
            id += 2;
        }
    }
}

/// Sends a line when the one before is answered, until the server says `bye`.
pub(crate) async fn asks_lines(to: SocketAddr, answers: Answers) {
    while let Ok(stream) = TcpStream::connect(to).await {
        let (from, mut write) = stream.into_split();
        let mut lines = BufReader::new(from).lines();
        let (mut number, mut bye) = (0, false);
        while !bye {
            let line = format!("{number}\n");
            write.write_all(line.as_bytes()).await.expect("it is open");
            loop {
                let got = lines.next_line().await.expect("it is open");
                let got = got.expect("an answer comes before FIN");
                if got != "bye" {
                    assert_eq!(got, number.to_string());
                    break;
                }
                bye = true;
            }
            number += 1;
            answers.add();
        }
        write.shutdown().await.expect("it is open");
        while let Some(line) = lines.next_line().await.expect("it ends by FIN") {
            assert_eq!(line, "bye");
        }
    }
}
