//! An upstream whose answers are slow in the way that the path says.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rig::h1::Wire;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use super::websocket;

/// Well within the limits of the tests, and together more than they are.
pub(crate) const PACE: Duration = Duration::from_millis(300);

/// How long the body is to which a client may be too slow: more than the buffers on the way take.
pub(crate) const FLOOD: usize = 64 << 20;

/// An upstream that does as the path says.
pub(crate) async fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(tokio::spawn(answers(stream)));
        }
    });
    address
}

async fn answers(stream: TcpStream) -> io::Result<()> {
    let mut wire = Wire::new(stream);
    loop {
        let head = wire.head().await?;
        let path = head.start.split(' ').nth(1).unwrap_or_default().to_owned();
        let path = path.rsplit('/').next().unwrap_or_default();
        if path == "refuses" {
            // To half of the limits of the tests for the head, and for the body.
            sleep(2 * PACE).await;
            let refused = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 6\r\n\r\n";
            wire.stream.write_all(refused).await?;
            sleep(2 * PACE).await;
            wire.stream.write_all(b"nnnnnn").await?;
            continue;
        }
        if head.header("upgrade").is_some() {
            let key = head.header("sec-websocket-key").unwrap_or_default();
            let accepted = websocket::accepted(key);
            wire.stream.write_all(accepted.as_bytes()).await?;
            return websocket::echo(wire.stream, wire.ahead).await;
        }
        wire.body(&head).await?;
        let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n";
        match path {
            "flood" => {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {FLOOD}\r\n\r\n");
                wire.stream.write_all(head.as_bytes()).await?;
                let part = vec![b'y'; 1 << 20];
                for _ in 0..FLOOD / part.len() {
                    wire.stream.write_all(&part).await?;
                }
            }
            "silent" => std::future::pending().await,
            "late" => {
                sleep(Duration::from_millis(2500)).await;
                wire.stream.write_all(whole).await?;
                wire.stream.write_all(b"yyyyyy").await?;
            }
            "stalled" => {
                wire.stream.write_all(whole).await?;
                wire.stream.write_all(b"yyy").await?;
                std::future::pending().await
            }
            _ => {
                wire.stream.write_all(whole).await?;
                for _ in 0..6 {
                    sleep(PACE).await;
                    wire.stream.write_all(b"y").await?;
                }
            }
        }
    }
}
