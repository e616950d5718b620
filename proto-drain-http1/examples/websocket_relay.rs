//! A relay of WebSockets that drains: after SIGTERM each client reads a Close frame with 1012 at
//! its slot, between two frames of the server, and may come again.
//!
//! ```text
//! cargo run -p proto-drain-http1 --example websocket_relay -- 127.0.0.1:8080 127.0.0.1:9000 10
//! ```
//!
//! The arguments: where to listen, a WebSocket server without TLS, and the drain time in seconds.

use std::io;
use std::time::Duration;

use drain_signal::{DrainEvent, DrainReason, DrainWatch};
use proto_drain_http1::{CloseCode, WebSocketClientIo, WebSocketIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

/// The longest head of a handshake.
const HEAD: usize = 16 * 1024;

#[tokio::main]
async fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, upstream, seconds] = arguments.as_slice() else {
        return Err(io::Error::other(
            "usage: websocket_relay LISTEN UPSTREAM SECONDS",
        ));
    };
    let drain_time = Duration::from_secs(seconds.parse().map_err(io::Error::other)?);
    let mut terminate = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind(listen).await?;
    println!("listening on {listen}");
    let (trigger, signal) = drain_signal::channel();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = terminate.recv() => break,
        };
        let Ok((client, _)) = accepted else {
            // Out of file descriptors, most likely: connections that end give some back.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(watch) = signal.watch() else { continue };
        let upstream = upstream.clone();
        // How a tunnel ended concerns its two ends.
        tokio::spawn(async move { relay(client, &upstream, watch).await.ok() });
    }
    drop(listener);

    let start = Instant::now().into_std();
    let event = DrainEvent::new(start, drain_time, DrainReason::ProcessShutdown);
    trigger.start(event).pace().await;
    Ok(())
}

/// Relays a handshake and what follows it, to the deadline at most.
async fn relay(mut client: TcpStream, upstream: &str, watch: DrainWatch) -> io::Result<()> {
    let mut upstream = TcpStream::connect(upstream).await?;
    pass_head(&mut client, &mut upstream).await?;
    pass_head(&mut upstream, &mut client).await?;
    // From here on each byte belongs to a frame.
    let mut client = WebSocketClientIo::new(client);
    let mut upstream = WebSocketIo::new(upstream, watch.handle(), CloseCode::ServiceRestart);
    tokio::select! {
        copied = copy_bidirectional(&mut client, &mut upstream) => copied.map(drop),
        _ = watch.expired() => Ok(()),
    }
}

/// Passes the head of a request or a response on, and not a byte of what follows.
async fn pass_head(from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == HEAD {
            return Err(io::Error::other("the head of the handshake is too long"));
        }
        head.push(from.read_u8().await?);
    }
    to.write_all(&head).await
}
