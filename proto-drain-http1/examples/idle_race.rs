//! How often does closing an idle connection lose a request? RFC 9112 section 9.5 allows the race;
//! here it is measured.
//!
//! `cargo run --release -p proto-drain-http1 --features hyper --example idle_race -- [CONNECTIONS]`
//! (5000 by default, for each line). Every connection is kept alive and idle over loopback TCP when
//! its slot comes; its client sends one more request at a moment of its own, evenly spread over the
//! two milliseconds before and after the named one. A client that has already seen the close does
//! not send: it has lost nothing. One that has sent and gets no whole response has.

use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::time::Duration;

use bytes::Bytes;
use drain_signal::drive;
use http::Response;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proto_drain_http1::{
    CloseCounters, DrainService, Http1Connection, Http1Settings, IdlePolicy, LingerIo,
    LingerSettings,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
/// At once; more would measure the machine's queue.
const AT_ONCE: usize = 50;
const SPREAD: Duration = Duration::from_millis(2);

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Served,
    SeenClosed,
    Lost,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let connections = std::env::args().nth(1).and_then(|count| count.parse().ok());
    let connections: usize = connections.unwrap_or(5000);
    let grace = Duration::from_millis(50);
    let zero = Duration::ZERO;
    let lines = [
        (
            "AfterGrace(0), sent at the slot",
            IdlePolicy::AfterGrace(zero),
            zero,
        ),
        (
            "AfterGrace(50 ms), sent at the slot",
            IdlePolicy::AfterGrace(grace),
            zero,
        ),
        (
            "AfterGrace(50 ms), sent when the grace ends",
            IdlePolicy::AfterGrace(grace),
            grace,
        ),
        (
            "WhenItSpeaks, sent at the slot",
            IdlePolicy::WhenItSpeaks,
            zero,
        ),
        (
            "WhenItSpeaks, sent 50 ms after it",
            IdlePolicy::WhenItSpeaks,
            grace,
        ),
    ];
    println!(
        "| idle policy | connections | lost | saw the close and did not send | served | lost of those sent |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    for (name, policy, distance) in lines {
        let ends = race(connections, policy, distance).await?;
        let count = |end| ends.iter().filter(|other| **other == end).count();
        let (lost, closed, served) = (count(End::Lost), count(End::SeenClosed), count(End::Served));
        let rate = 100.0 * lost as f64 / (lost + served).max(1) as f64;
        println!(
            "| {name} | {} | {lost} | {closed} | {served} | {rate:.2} % |",
            ends.len()
        );
    }
    Ok(())
}

/// So many connections, `AT_ONCE` at a time.
async fn race(connections: usize, policy: IdlePolicy, distance: Duration) -> io::Result<Vec<End>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut ends = Vec::with_capacity(connections);
    while ends.len() < connections {
        let mut running = JoinSet::new();
        for _ in 0..AT_ONCE.min(connections - ends.len()) {
            let client = TcpStream::connect(listener.local_addr()?).await?;
            let (server, _) = listener.accept().await?;
            running.spawn(one(client, server, policy, distance));
        }
        while let Some(end) = running.join_next().await {
            ends.push(end.map_err(io::Error::other)??);
        }
    }
    Ok(ends)
}

async fn one(
    mut client: TcpStream,
    server: TcpStream,
    policy: IdlePolicy,
    distance: Duration,
) -> io::Result<End> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (_trigger, signal) = drain_signal::channel();
    let watch = signal.watch().map_err(io::Error::other)?;
    let drain = watch.handle();

    let io = LingerIo::new(server, LingerSettings::default(), CloseCounters::new());
    let exchanges = io.exchanges().clone();
    let service = service_fn(async |_| {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"ok"))))
    });
    let service = DrainService::new(service, watch.handle(), exchanges.clone());
    let connection = http1::Builder::new().serve_connection(TokioIo::new(io), service);
    let settings = Http1Settings::default().with_idle(policy);
    tokio::spawn(drive(
        Http1Connection::new(connection, exchanges, settings),
        watch,
    ));

    if exchange(&mut client).await != End::Served {
        return Err(io::Error::other("the first request was not served"));
    }
    let slot = Instant::now() + Duration::from_millis(20);
    tokio::spawn(async move {
        exactly(slot).await;
        drain.start_now();
    });
    let share = RandomState::new().hash_one(()) as u32;
    let within = 2 * SPREAD.mul_f64(f64::from(share) / f64::from(u32::MAX));
    exactly(slot + distance + within - SPREAD).await;
    Ok(exchange(&mut client).await)
}

/// The timer knows whole milliseconds; the rest is waited for without one.
async fn exactly(moment: Instant) {
    sleep_until(moment - Duration::from_millis(1)).await;
    while Instant::now() < moment {
        tokio::task::yield_now().await;
    }
}

/// One request and its response.
async fn exchange(client: &mut TcpStream) -> End {
    if matches!(client.try_read(&mut [0]), Ok(0)) {
        return End::SeenClosed;
    }
    if client.write_all(REQUEST).await.is_err() {
        return End::Lost;
    }
    let mut response = Vec::new();
    let whole = async {
        while !response.ends_with(b"\r\n\r\nok") {
            match client.read_buf(&mut response).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return End::Lost,
            }
        }
        End::Served
    };
    timeout(Duration::from_secs(5), whole)
        .await
        .unwrap_or(End::Lost)
}
