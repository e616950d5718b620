//! One question: does a `DrainCopy` move bytes at least as fast as `tokio::io::copy_bidirectional`?
//!
//! `cargo bench -p proto-drain-tcp --bench copy -- [--json FILE] [--quick]`: both relay the same bytes over loopback TCP,
//! in turns, in one process; each is the first in every other round. The result is the median of the ratios of
//! neighbouring runs, which a machine's changing load moves least. As a test it runs once with little data.

use proto_drain_tcp::DrainCopy;
use std::{env, io};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    time::Instant,
};

#[derive(Debug, Clone, Copy)]
enum Relay {
    Tokio,
    Drain,
}

async fn connection() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (outer, accepted) = tokio::join!(TcpStream::connect(listener.local_addr()?), listener.accept());
    Ok((outer?, accepted?.0))
}

/// Bytes a second through one relay, in both directions at once.
async fn rate(relay: Relay, bytes: usize) -> io::Result<f64> {
    let (client, mut near) = connection().await?;
    let (mut far, upstream) = connection().await?;
    let relaying = tokio::spawn(async move {
        match relay {
            Relay::Tokio => copy_bidirectional(&mut near, &mut far).await.map(|_| ()),
            Relay::Drain => {
                let report = DrainCopy::new(near, far).await;
                assert!(report.is_lossless(), "{report:?}");
                Ok(())
            }
        }
    });
    let talk = |stream: TcpStream| async move {
        let (mut read, mut write) = stream.into_split();
        let said = tokio::spawn(async move {
            let words = vec![7; 256 * 1024];
            let mut left = bytes;
            while left > 0 {
                let now = left.min(words.len());
                write.write_all(&words[..now]).await?;
                left -= now;
            }
            write.shutdown().await
        });
        let mut heard = vec![0; 256 * 1024];
        while read.read(&mut heard).await? > 0 {}
        said.await?
    };
    let began = Instant::now();
    let (one, other) = tokio::join!(tokio::spawn(talk(client)), tokio::spawn(talk(upstream)));
    one??;
    other??;
    relaying.await??;
    Ok(2.0 * bytes as f64 / began.elapsed().as_secs_f64())
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

#[tokio::main]
async fn main() -> io::Result<()> {
    const LEAST: f64 = 1.0;
    let args: Vec<String> = env::args().skip(1).collect();
    let measuring = args.iter().any(|arg| arg == "--bench") && !args.iter().any(|arg| arg == "--quick");
    let (rounds, bytes) = if measuring { (61, 64 << 20) } else { (1, 1 << 20) };
    let (mut tokio, mut drain, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let (one, other) = if round % 2 == 0 {
            let one = rate(Relay::Tokio, bytes).await?;
            (one, rate(Relay::Drain, bytes).await?)
        } else {
            let other = rate(Relay::Drain, bytes).await?;
            (rate(Relay::Tokio, bytes).await?, other)
        };
        ratios.push(other / one);
        tokio.push(one / 1e9);
        drain.push(other / 1e9);
    }
    let (floor, value, ratio) = (median(tokio), median(drain), median(ratios));
    let holds = ratio >= LEAST;
    println!(
        "copy_bidirectional {floor:.2} GB/s, DrainCopy {value:.2} GB/s: {ratio:.3} times; target >= {LEAST}x, holds: {holds}"
    );
    if let Some(at) = args.iter().position(|arg| arg == "--json") {
        let row = format!(
            "[\n{{\"row\": \"two-way copy over loopback TCP\", \"value\": {value:.3}, \"unit\": \"GB/s\", \"floor\": {floor:.3}, \
             \"floor_name\": \"tokio copy_bidirectional\", \"ratio\": {ratio:.3}, \"best_peer\": null, \"peers\": {{}}, \
             \"target\": \">= {LEAST}x\", \"holds\": {holds}}}\n]\n"
        );
        std::fs::write(&args[at + 1], row)?;
    }
    Ok(())
}
