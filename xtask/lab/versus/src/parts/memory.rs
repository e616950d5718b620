//! `memory`: what an idle connection takes, what a draining version takes, and what is left when
//! all have gone.

use std::time::Duration;

use anyhow::Context;
use rig::h1::Wire;
use rig::h2::{self, Frame, flag};
use rig::websocket::{handshake, key};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::rustls::pki_types::ServerName;

use crate::clients::PATIENCE;
use crate::figure::Figures;
use crate::load::{ask, connect, connector};
use crate::noise::Noise;
use crate::proxies::{Has, Kind, Place, Proxy};
use crate::stage::Stage;
use crate::tree;

pub(crate) const MEANING: &str = "\
Memory of all processes of a proxy together, shared pages counted once (PSS). *An idle connection*: after 100 that are not counted 800 are opened, each is
answered once and kept; what the processes have grown by is divided by 800. A WebSocket through a proxy is two connections.
*A draining version*: ten changes, each while a WebSocket of the version before goes on; with
that WebSocket. *Left*: after all connections and all replaced
versions have gone, what the processes take more than before the first one.";

/// With those before fewer than Envoy opens to one upstream by default, which are 1024.
const CONNECTIONS: usize = 800;
/// Opened before, so that what the first ones make is not counted.
const FIRST: usize = 100;
const VERSIONS: u32 = 10;

/// Long enough for ten changes.
const DRAIN_TIME: Duration = Duration::from_secs(8);
const SETTLED: Duration = Duration::from_millis(300);

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Http1,
    Http2,
    Tls,
    WebSocket,
}

const ALL: [(Speaks, &str); 4] = [
    (Speaks::Http1, "an idle HTTP/1.1 connection"),
    (Speaks::Http2, "an idle HTTP/2 connection"),
    (Speaks::Tls, "an idle HTTP/1.1 connection over TLS"),
    (Speaks::WebSocket, "an idle WebSocket"),
];

/// Whatever keeps a connection open.
type Kept = Box<dyn std::any::Any + Send>;

pub(crate) async fn play(stage: &Stage) -> anyhow::Result<Figures> {
    const TABLE: &str = "Memory, in KiB";
    let mut figures = Figures::default();
    for round in 1..=stage.rounds {
        for kind in stage.kinds.iter().copied() {
            println!("memory, round {round}: {}", kind.name());
            for (speaks, row) in ALL {
                if speaks == Speaks::Tls && !kind.has(Has::Tls) {
                    continue;
                }
                let noise = Noise::since_now();
                let grown = connections(stage, kind, speaks).await;
                if let Some(grown) = stage.or_say(kind.name(), row, grown) {
                    figures
                        .at(TABLE, row, kind.name(), "KiB")
                        .add(grown, noise.others());
                }
            }
            let noise = Noise::since_now();
            let grown = versions(stage, kind).await;
            let Some([version, left]) = stage.or_say(kind.name(), "versions", grown) else {
                continue;
            };
            let others = noise.others();
            figures
                .at(TABLE, "a draining version", kind.name(), "KiB")
                .add(version, others);
            figures
                .at(TABLE, "left when all have gone", kind.name(), "KiB")
                .add(left, others);
        }
    }
    Ok(figures)
}

async fn start(stage: &Stage, kind: Kind, folder: &std::path::Path) -> anyhow::Result<Proxy> {
    let behind = stage.upstreams.behind();
    let proxy = Proxy::start(kind, &stage.programs, folder, behind, DRAIN_TIME).await?;
    Ok(proxy)
}

/// KiB for each of many.
async fn connections(stage: &Stage, kind: Kind, speaks: Speaks) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    let proxy = start(stage, kind, folder.path()).await?;
    let mut kept = Vec::new();
    let mut before = 0;
    for nth in 0..FIRST + CONNECTIONS {
        if nth == FIRST {
            sleep(SETTLED).await;
            before = tree::memory();
        }
        kept.push(open(&proxy.place, speaks).await?);
    }
    sleep(SETTLED).await;
    let grown = tree::memory().saturating_sub(before);
    drop(kept);
    proxy.stop().await;
    Ok(grown as f64 / 1024.0 / CONNECTIONS as f64)
}

/// KiB for each draining version, and what is left in the end.
async fn versions(stage: &Stage, kind: Kind) -> anyhow::Result<[f64; 2]> {
    let folder = tempfile::tempdir()?;
    let mut proxy = start(stage, kind, folder.path()).await?;
    // What the first connections make is not the versions'.
    let mut first = Vec::new();
    for _ in 0..FIRST {
        first.push(open(&proxy.place, Speaks::Http1).await?);
    }
    drop(first);
    sleep(SETTLED).await;
    let before = tree::memory();
    let mut kept = Vec::new();
    for _ in 0..VERSIONS {
        // An idle HTTP connection would be closed at once by those who can, and hold no version.
        kept.push(open(&proxy.place, Speaks::WebSocket).await?);
        let version = proxy.change().await?;
        proxy.until_version(version).await?;
        // HAProxy's master overhears the next request while it is busy with this one.
        sleep(SETTLED).await;
    }
    sleep(SETTLED).await;
    let grown = tree::memory().saturating_sub(before);
    drop(kept);
    sleep(DRAIN_TIME + SETTLED).await;
    let left = tree::memory().saturating_sub(before);
    proxy.stop().await;
    Ok([
        grown as f64 / 1024.0 / f64::from(VERSIONS),
        left as f64 / 1024.0,
    ])
}

/// A connection that has been answered once.
async fn open(place: &Place, speaks: Speaks) -> anyhow::Result<Kept> {
    let opened = timeout(PATIENCE, answered(place, speaks)).await;
    opened.context("a connection was not answered")?
}

async fn answered(place: &Place, speaks: Speaks) -> anyhow::Result<Kept> {
    let mut buffer = [0; 4096];
    Ok(match speaks {
        Speaks::Http1 => {
            let mut stream = connect(place.http1).await?;
            stream.write_all(ask::DIRECT).await?;
            ask::answer(&mut stream, &mut buffer).await?;
            Box::new(stream)
        }
        Speaks::Tls => {
            let name = ServerName::try_from("localhost")?;
            let mut stream = connector(place)?
                .connect(name, connect(place.tls).await?)
                .await?;
            stream.write_all(ask::DIRECT).await?;
            stream.flush().await?;
            ask::answer(&mut stream, &mut buffer).await?;
            Box::new(stream)
        }
        Speaks::Http2 => Box::new(http2(connect(place.http2).await?).await?),
        Speaks::WebSocket => {
            let mut wire = Wire::new(connect(place.http1).await?);
            wire.stream
                .write_all(handshake("/ws", &key([3; 16])).as_bytes())
                .await?;
            let head = wire.head().await.map_err(std::io::Error::from)?;
            anyhow::ensure!(head.status() == 101, "{}", head.start);
            Box::new(wire)
        }
    })
}

async fn http2(mut stream: TcpStream) -> anyhow::Result<TcpStream> {
    let mut hello = h2::preface(65_535);
    hello.extend(h2::request("GET", "/version", 1, true));
    stream.write_all(&hello).await?;
    let mut ahead = bytes::BytesMut::new();
    while let Some(frame) = Frame::read(&mut stream, &mut ahead).await? {
        if let Some(ack) = frame.ack() {
            stream.write_all(&ack).await?;
        }
        if frame.stream == 1 && frame.has(flag::END_STREAM) {
            return Ok(stream);
        }
    }
    anyhow::bail!("closed before the answer")
}
