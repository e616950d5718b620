//! One question: what does the wrapper cost a hyper server while nothing drains? Small requests and large bodies, with
//! and without it in turns; prints the ratio of the best runs.
//!
//! `cargo bench -p proto-drain-h2 --features hyper --bench throughput`

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use proto_drain_h2::{GoawayIo, H2DrainSettings};
use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

type Failure = Box<dyn Error + Send + Sync>;

const ROUNDS: usize = 9;

fn main() -> Result<(), Failure> {
    let quick = std::env::args().any(|arg| arg == "--test");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        for (name, requests, body) in [("small requests", 20_000, 16), ("1 MiB bodies", 150, 1 << 20)] {
            let requests = if quick { 10 } else { requests };
            let (mut with, mut without) = (Duration::MAX, Duration::MAX);
            for _ in 0..if quick { 1 } else { ROUNDS } {
                without = without.min(play(false, requests, body).await?);
                with = with.min(play(true, requests, body).await?);
            }
            let ratio = without.as_secs_f64() / with.as_secs_f64();
            println!("{name}: without {without:?}, with {with:?}, throughput x{ratio:.3}");
        }
        Ok(())
    })
}

async fn play(wrapped: bool, requests: usize, body: usize) -> Result<Duration, Failure> {
    let (client, socket) = tokio::io::duplex(1 << 18);
    if wrapped {
        let (io, _handle) = GoawayIo::new(socket, &H2DrainSettings::default());
        serve(io, body);
    } else {
        serve(socket, body);
    }
    let (mut send, connection) = h2::client::Builder::new()
        .initial_window_size(8 << 20)
        .initial_connection_window_size(128 << 20)
        .handshake::<_, Bytes>(client)
        .await?;
    tokio::spawn(connection);
    let start = Instant::now();
    let mut left = requests;
    while left > 0 {
        let batch = left.min(64);
        left -= batch;
        let mut answers = Vec::with_capacity(batch);
        for _ in 0..batch {
            send = send.ready().await?;
            answers.push(
                send.send_request(http::Request::get("http://localhost/").body(())?, true)?
                    .0,
            );
        }
        for answer in answers {
            let mut body = answer.await?.into_body();
            while let Some(chunk) = body.data().await {
                body.flow_control().release_capacity(chunk?.len())?;
            }
        }
    }
    Ok(start.elapsed())
}

fn serve<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static>(io: IO, body: usize) {
    let body = Bytes::from(vec![b'x'; body]);
    let service = service_fn(move |_request| {
        let body = body.clone();
        async { Ok::<_, Infallible>(http::Response::new(Full::new(body))) }
    });
    tokio::spawn(
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(io), service),
    );
}
