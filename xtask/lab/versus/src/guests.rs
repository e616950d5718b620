//! The clients of servers that end: polite ones, and those that do not help.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use rig::h1::Wire;
use rig::h2::{self, Frame, kind};
use rig::websocket::{Message, handshake, key, opcode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::clients::{Visible, answer, look};

/// What a client does that does not help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    Idle,
    Sse,
    WebSocket,
    HalfPreface,
    NoPingAck,
    NeverReads,
}

impl Case {
    pub(crate) const ALL: [Self; 6] = [
        Self::Idle,
        Self::Sse,
        Self::WebSocket,
        Self::HalfPreface,
        Self::NoPingAck,
        Self::NeverReads,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle keep-alive connections",
            Self::Sse => "streams without an end (SSE)",
            Self::WebSocket => "WebSockets that go on",
            Self::HalfPreface => "half of an HTTP/2 preface, then silence",
            Self::NoPingAck => "HTTP/2 that acknowledges no PING",
            Self::NeverReads => "a client that never reads its answer",
        }
    }
}

/// Stays as long as it can.
pub(crate) async fn impolite(case: Case, to: SocketAddr) {
    // How such a client ends is of no interest.
    match case {
        Case::Idle => stay(to, b"GET /version HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .ok(),
        Case::Sse => stay(to, b"GET /sse HTTP/1.1\r\nhost: x\r\n\r\n").await.ok(),
        Case::WebSocket => talk(to).await.ok(),
        Case::HalfPreface => stay(to, b"PRI * HTTP/2.0\r\n").await.ok(),
        Case::NoPingAck => ignore_pings(to).await.ok(),
        Case::NeverReads => never_read(to).await.ok(),
    };
}

/// Says this, and reads until the end.
async fn stay(to: SocketAddr, what: &[u8]) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(to).await?;
    stream.write_all(what).await?;
    while stream.read(&mut [0; 4096]).await? > 0 {}
    Ok(())
}

async fn never_read(to: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(to).await?;
    stream
        .write_all(b"GET /flood HTTP/1.1\r\nhost: x\r\n\r\n")
        .await?;
    std::future::pending::<()>().await;
    drop(stream);
    Ok(())
}

async fn talk(to: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(to).await?;
    stream
        .write_all(handshake("/ws", &key([1; 16])).as_bytes())
        .await?;
    let text = Message {
        opcode: opcode::TEXT,
        payload: "on and on".into(),
    };
    let (mut read, mut write) = stream.into_split();
    let talking = async {
        while write
            .write_all(&text.frame(Some([1, 2, 3, 4])))
            .await
            .is_ok()
        {
            sleep(Duration::from_millis(100)).await;
        }
    };
    let listening = async { while read.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {} };
    tokio::join!(talking, listening);
    Ok(())
}

async fn ignore_pings(to: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(to).await?;
    let mut hello = h2::preface(65_535);
    hello.extend(h2::request("GET", "/version", 1, true));
    stream.write_all(&hello).await?;
    let mut ahead = BytesMut::new();
    while let Some(frame) = Frame::read(&mut stream, &mut ahead).await? {
        if let Some(ack) = frame.ack().filter(|_| frame.kind == kind::SETTINGS) {
            stream.write_all(&ack).await?;
        }
    }
    Ok(())
}

/// Polite clients: some with a request under way, some that ask again and again.
#[derive(Debug)]
pub(crate) struct Polite(JoinSet<u64>);

impl Polite {
    pub(crate) fn start(to: SocketAddr) -> Self {
        let mut clients = JoinSet::new();
        for _ in 0..4 {
            clients.spawn(under_way(to));
            clients.spawn(again(to));
        }
        Self(clients)
    }

    /// What they have lost in all.
    pub(crate) async fn end(mut self) -> u64 {
        let mut lost = 0;
        let all = async {
            while let Some(one) = self.0.join_next().await {
                lost += one.unwrap_or(1);
            }
        };
        let in_time = timeout(Duration::from_secs(15), all).await.is_ok();
        if in_time {
            lost
        } else {
            lost + self.0.len() as u64
        }
    }
}

/// One request, begun before SIGTERM and answered after it.
async fn under_way(to: SocketAddr) -> u64 {
    let Ok(stream) = TcpStream::connect(to).await else {
        return 1;
    };
    sleep(Duration::from_millis(300)).await;
    let mut wire = Wire::new(stream);
    // If the write fails, the read says why.
    wire.stream
        .write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .ok();
    u64::from(answer(&mut wire, "slow", false).await.is_err())
}

/// Asks on one connection until it is told to stop, or sees that it is closed.
async fn again(to: SocketAddr) -> u64 {
    let Ok(stream) = TcpStream::connect(to).await else {
        return 1;
    };
    // Small writes must not wait for acknowledgements.
    stream.set_nodelay(true).ok();
    let mut wire = Wire::new(stream);
    let mut reused = false;
    while look(&wire.stream) == Visible::Nothing {
        // On its way.
        sleep(Duration::from_millis(20)).await;
        // If the write fails, the read says why.
        wire.stream
            .write_all(b"GET /x HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .ok();
        match answer(&mut wire, "0", reused).await {
            Ok(head) if head.close() => return 0,
            Ok(_) => reused = true,
            Err(_) => return 1,
        }
        sleep(Duration::from_millis(30)).await;
    }
    0
}
