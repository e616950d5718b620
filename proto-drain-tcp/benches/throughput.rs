//! One question: does a `DrainCopy` move bytes at least as fast as `tokio::io::copy_bidirectional`?
//!
//! `cargo bench -p proto-drain-tcp`: both relay the same bytes over loopback TCP, in turns, in one process. Prints the
//! median rate of each and the median of the ratios of neighbouring rounds, which a machine's changing load moves least.
//! `cargo test --benches` runs it once with little data.

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
    let measuring = env::args().any(|arg| arg == "--bench");
    let (rounds, bytes) = if measuring { (31, 64 << 20) } else { (1, 1 << 20) };
    let (mut tokio, mut drain) = (Vec::new(), Vec::new());
    let mut ratios = Vec::new();
    for _ in 0..rounds {
        let (one, other) = (rate(Relay::Tokio, bytes).await?, rate(Relay::Drain, bytes).await?);
        ratios.push(other / one);
        tokio.push(one);
        drain.push(other);
    }
    let (tokio, drain, ratio) = (median(tokio), median(drain), median(ratios));
    println!(
        "copy_bidirectional {:.2} GB/s, DrainCopy {:.2} GB/s: {:.2} times",
        tokio / 1e9,
        drain / 1e9,
        ratio
    );
    Ok(())
}
