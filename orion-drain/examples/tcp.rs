//! Lines over TCP, in a protocol of its own. On SIGTERM each connection ends between two lines,
//! with `bye` and a FIN.
//!
//! `cargo run -p orion-drain --example tcp -- 127.0.0.1:7000`
use std::time::Duration;

use anyhow::Context as _;
use orion_drain::drain_tree::{DrainManager, DrainSettings};
use orion_drain::lifecycle::{Signals, shut_down};
use orion_drain::listener_versions::{Listeners, Stream, Update};
use orion_drain::serve::{Connection, ListenOn, Tcp, serve};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, split};

/// Sends lines back until the connection is asked to finish.
async fn echo(stream: Stream, connection: Connection) {
    let (from, mut to) = split(stream);
    let mut lines = BufReader::new(from).lines();
    let drain = connection.drain();
    while let Some(Ok(Some(line))) = drain.run_until_signaled(lines.next_line()).await {
        to.write_all(format!("{line}\n").as_bytes()).await.ok();
    }
    // The client may have sent lines that were not read: they are answered as well, until it
    // has read `bye` and ends its side.
    to.write_all(b"bye\n").await.ok();
    while let Ok(Some(line)) = lines.next_line().await {
        to.write_all(format!("{line}\n").as_bytes()).await.ok();
    }
    to.shutdown().await.ok();
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).context("usage: tcp ADDRESS")?;
    let mut signals = Signals::new()?;
    let settings = DrainSettings::default().with_drain_time(Duration::from_secs(8));
    let root = DrainManager::root(settings.with_shutdown_minimum(Duration::from_secs(1)));
    let (listeners, driver) = Listeners::new(root, Default::default(), Default::default(), ());
    tokio::spawn(driver);
    tokio::spawn(serve(&listeners, Tcp::new(echo)));
    let on = ListenOn::new("lines", address.parse()?);
    listeners.apply(Update::put(on)).await.into_result()?;
    let local = listeners.local_address("lines").context("no address")?;
    println!("listening on {local}");

    signals.next().await;
    let outcome = shut_down(&listeners, Default::default()).await;
    println!("drained, {} left", outcome.left);
    Ok(())
}
