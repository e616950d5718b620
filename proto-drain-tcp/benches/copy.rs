//! One question: does a `DrainCopy` move bytes at least as fast as `tokio::io::copy_bidirectional`?
//!
//! `cargo bench -p proto-drain-tcp --bench copy -- [--json FILE] [--quick]`: both relay the same
//! bytes over loopback TCP, in turns, in one process; each is the first in every other round. The
//! result is the median of the ratios of neighbouring runs, which a machine's changing load moves
//! least. As a test it runs once with little data.

use measure::{Program, Row, Target, median};
use proto_drain_tcp::DrainCopy;
use std::io;
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
    let (outer, accepted) = tokio::join!(
        TcpStream::connect(listener.local_addr()?),
        listener.accept()
    );
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

/// Seconds for a gigabyte of each, in turns.
async fn turns(quick: bool) -> io::Result<Row> {
    let (rounds, bytes) = if quick { (1, 1 << 20) } else { (61, 64 << 20) };
    let (mut tokio, mut drain, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let (one, other) = if round % 2 == 0 {
            let one = rate(Relay::Tokio, bytes).await?;
            (one, rate(Relay::Drain, bytes).await?)
        } else {
            let other = rate(Relay::Drain, bytes).await?;
            (rate(Relay::Tokio, bytes).await?, other)
        };
        ratios.push(one / other);
        tokio.push(1e9 / one);
        drain.push(1e9 / other);
    }
    Ok(Row {
        row: "two-way copy over loopback TCP".to_owned(),
        unit: "s/GB",
        value: median(drain),
        floor_name: "tokio copy_bidirectional",
        floor: median(tokio),
        ratio: median(ratios),
        target: Target::Ratio(1.0),
        peers: vec![],
    })
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let program = Program::from_args();
    let row = turns(program.quick).await?;
    program.report([("copy", || vec![row])]);
    Ok(())
}
