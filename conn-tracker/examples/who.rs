//! A server that knows who is still connected: three clients, of which an operator cuts one.
//!
//! `cargo run -p conn-tracker --example who`

use conn_tracker::{
    ConnGroup, ConnGuard, ConnInfo, ConnKind, ConnProtocol, ConnState, ConnTracker, Peer,
};
use std::{error::Error, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    sync::Notify,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let tracker = ConnTracker::new();
    tokio::spawn(tick(tracker.clone()));
    let listener = tracker.group("echo", 1);

    let mut clients: Vec<DuplexStream> = (0..3).map(|_| connect(&listener)).collect();
    for client in &mut clients {
        client.write_all(b"hello").await?;
        client.read_exact(&mut [0; 5]).await?;
    }
    print("three are here", &tracker);

    let Some(first) = tracker.snapshot().pop() else {
        return Err("no connection is open".into());
    };
    tracker.close(first.id)?; // an operator ends one of them
    tokio::task::yield_now().await;
    print("one was cut", &tracker);

    drop(clients);
    listener.wait_empty().await;
    print("all gone", &tracker);
    Ok(())
}

/// The coarse clock: ten ticks a second are plenty.
async fn tick(tracker: ConnTracker) {
    let start = tokio::time::Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    loop {
        ticks.tick().await;
        tracker.advance(start.elapsed());
    }
}

/// "Accepts" an in-memory connection and serves it in a task that owns the guard.
fn connect(listener: &ConnGroup) -> DuplexStream {
    let (client, server) = tokio::io::duplex(64);
    let cut = Arc::new(Notify::new());
    let closer = Arc::clone(&cut);
    let info = ConnInfo::new(Peer::Unknown)
        .with_protocol(ConnProtocol::Tcp)
        .with_closer(move || closer.notify_one());
    let guard = listener.open(info);
    tokio::spawn(async move {
        tokio::select! {
            () = echo(server, &guard) => {}
            () = cut.notified() => drop(guard.set_state(ConnState::Closing)),
        }
    });
    client
}

async fn echo(mut stream: DuplexStream, guard: &ConnGuard) {
    guard.set_kind(ConnKind::Tunnel);
    let mut buffer = [0; 64];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        guard.touch();
        if stream.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

fn print(title: &str, tracker: &ConnTracker) {
    println!("{title}:");
    for conn in tracker.snapshot() {
        let quiet = conn.quiet(tracker.now());
        println!(
            "  {} {} v{} {} {} quiet {quiet:?}",
            conn.id, conn.listener, conn.version, conn.state, conn.kind
        );
    }
}
