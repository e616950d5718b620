//! Clients that speak rarely: each hears of the drain before the deadline, and loses no request to
//! it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(feature = "hyper")]

mod rig;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use drain_signal::{DrainEvent, DrainReason, DrainSignal, DrainTrigger, drive};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proto_drain_http1::{
    CloseCounters, DrainService, Http1Connection, Http1Settings, LingerIo, LingerSettings,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

/// A server whose listener is updated: new connections belong to the newest version, those of older
/// ones drain.
struct Server {
    address: SocketAddr,
    newest: Arc<Mutex<(DrainTrigger, DrainSignal)>>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let newest = Arc::new(Mutex::new(drain_signal::channel()));
        let accepted = Arc::clone(&newest);
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                socket.set_nodelay(true).unwrap();
                let watch = accepted.lock().unwrap().1.watch().unwrap();
                tokio::spawn(async move {
                    let io = LingerIo::new(socket, LingerSettings::default(), CloseCounters::new())
                        .with_spawner(|lingering| {
                            tokio::spawn(lingering);
                        });
                    let exchanges = io.exchanges().clone();
                    let service =
                        DrainService::new(service_fn(rig::ok), watch.handle(), exchanges.clone());
                    let hyper = http1::Builder::new().serve_connection(TokioIo::new(io), service);
                    drive(
                        Http1Connection::new(hyper, exchanges, Http1Settings::default()),
                        watch,
                    )
                    .await
                });
            }
        });
        Self { address, newest }
    }

    /// Drains what is there, to its deadline.
    async fn update(&self, drain_time: Duration) {
        let (trigger, _) =
            std::mem::replace(&mut *self.newest.lock().unwrap(), drain_signal::channel());
        let start = Instant::now();
        let event = DrainEvent::new(start.into_std(), drain_time, DrainReason::ListenerModify);
        let draining = trigger.start(event);
        while start.elapsed() < drain_time * 5 / 4 {
            let advance = draining.advance(Instant::now().into_std());
            match advance.next {
                _ if advance.more => tokio::task::yield_now().await,
                Some(next) => sleep_until(next.into()).await,
                None => break,
            }
        }
        drop(draining);
    }
}

/// A link to `address` that takes this long each way.
async fn link(address: SocketAddr, delay: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let Ok(server) = TcpStream::connect(address).await else {
                    return;
                };
                client.set_nodelay(true).unwrap();
                server.set_nodelay(true).unwrap();
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::join!(
                    delayed(from_client, to_server, delay),
                    delayed(from_server, to_client, delay)
                );
            });
        }
    });
    near
}

async fn delayed(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    delay: Duration,
) {
    let (give, mut come) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let read = async move {
        let mut buf = vec![0; 4096];
        while let Ok(bytes @ 1..) = from.read(&mut buf).await {
            let Ok(()) = give.send((Instant::now() + delay, buf[..bytes].to_vec())) else {
                return;
            };
        }
        give.send((Instant::now() + delay, Vec::new())).ok();
    };
    let write = async move {
        while let Some((at, bytes)) = come.recv().await {
            sleep_until(at).await;
            if bytes.is_empty() || to.write_all(&bytes).await.is_err() {
                break;
            }
        }
        to.shutdown().await.ok();
    };
    tokio::join!(read, write);
}

/// What became of the requests.
#[derive(Default)]
struct Counts {
    served: AtomicU64,
    told: AtomicU64,
    lost: AtomicU64,
}

/// A keep-alive client that pauses for 0.3 to 0.9 of the drain time between its requests, until
/// `end`.
async fn client(address: SocketAddr, drain_time: Duration, end: Instant, counts: Arc<Counts>) {
    let mut kept: Option<(TcpStream, Instant)> = None;
    sleep(drain_time.mul_f64(fastrand(0.9))).await;
    while Instant::now() < end {
        let fresh = kept.is_none();
        let (mut stream, spoke) = match kept.take() {
            Some(kept) => kept,
            None => {
                let stream = TcpStream::connect(address).await.unwrap();
                stream.set_nodelay(true).unwrap();
                (stream, Instant::now())
            }
        };
        // A machine that was late by a tenth of the drain time has not paused as this client does.
        let late = spoke.elapsed() > drain_time.mul_f64(0.95);
        match exchange(&mut stream).await {
            Some(response) => {
                counts.served.fetch_add(1, Ordering::Relaxed);
                if response.contains("connection: close\r\n") {
                    counts.told.fetch_add(1, Ordering::Relaxed);
                } else {
                    kept = Some((stream, Instant::now()));
                }
            }
            None if late && !fresh => {}
            None => {
                counts.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
        sleep(drain_time.mul_f64(0.3 + fastrand(0.6))).await;
    }
}

/// Random, below `most`.
fn fastrand(most: f64) -> f64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(()) as u32 as f64 / f64::from(u32::MAX) * most
}

async fn exchange(stream: &mut TcpStream) -> Option<String> {
    stream.write_all(rig::GET.as_bytes()).await.ok()?;
    let mut got = Vec::new();
    while !got.ends_with(b"\r\n\r\nok") {
        if stream.read_buf(&mut got).await.ok()? == 0 {
            return None;
        }
    }
    Some(String::from_utf8(got).unwrap())
}

async fn race(clients: usize, updates: u32, drain_time: Duration, delay: Duration) {
    let server = Server::start().await;
    let address = match delay {
        Duration::ZERO => server.address,
        _ => link(server.address, delay).await,
    };
    let counts = Arc::new(Counts::default());
    let end = Instant::now() + drain_time * 5 / 4 * (updates + 1);
    let mut running = JoinSet::new();
    for _ in 0..clients {
        running.spawn(client(address, drain_time, end, Arc::clone(&counts)));
    }
    sleep(drain_time).await;
    for _ in 0..updates {
        server.update(drain_time).await;
    }
    running.join_all().await;
    let [served, told, lost] =
        [&counts.served, &counts.told, &counts.lost].map(|count| count.load(Ordering::Relaxed));
    println!(
        "{clients} clients {delay:?} away, {updates} updates: {served} served, {told} told, {lost} lost"
    );
    assert!(told > 0);
    assert_eq!(lost, 0, "of {}", served + lost);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_speak_rarely_lose_nothing() {
    race(60, 3, Duration::from_secs(2), Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "some minutes: run by `cargo xtask ci --full rarely`"]
async fn many_clients_that_speak_rarely_lose_nothing_near_and_far() {
    for delay in [Duration::ZERO, Duration::from_millis(50)] {
        race(600, 20, Duration::from_secs(5), delay).await;
    }
}
