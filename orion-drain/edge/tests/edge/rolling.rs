//! A rolling restart as Kubernetes does it, in seconds: three edges behind a balancer that learns
//! late who is going.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::support::{Edge, H1, Http, discovery, within};

/// When a balancer sends nobody to an edge any more.
#[derive(Debug, Clone, Copy)]
enum Notices {
    /// So long after the pod was deleted: an endpoint is removed everywhere.
    Removal(Duration),
    /// After so many failed probes of `/ready`, one each period.
    Probes(u32, Duration),
}

/// Passes connections on, to one edge after the other.
struct Balancer {
    address: SocketAddr,
    edges: Arc<Mutex<Vec<SocketAddr>>>,
    passing: JoinHandle<()>,
}

impl Balancer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let edges = Arc::<Mutex<Vec<SocketAddr>>>::default();
        let to = Arc::clone(&edges);
        let passing = tokio::spawn(async move {
            let turn = AtomicUsize::new(0);
            loop {
                let (mut client, _) = listener.accept().await.expect("a client");
                let edge = {
                    let edges = to.lock().unwrap_or_else(PoisonError::into_inner);
                    edges[turn.fetch_add(1, Ordering::Relaxed) % edges.len()]
                };
                tokio::spawn(async move {
                    // Who is refused there loses its connection here.
                    if let Ok(mut edge) = TcpStream::connect(edge).await {
                        tokio::io::copy_bidirectional(&mut client, &mut edge)
                            .await
                            .ok();
                    }
                });
            }
        });
        Self {
            address,
            edges,
            passing,
        }
    }

    fn add(&self, edge: SocketAddr) {
        let mut edges = self.edges.lock().unwrap_or_else(PoisonError::into_inner);
        edges.push(edge);
    }

    /// Takes an edge out that is going, when that is noticed.
    fn remove(&self, edge: SocketAddr, admin: SocketAddr, notices: Notices) -> JoinHandle<()> {
        let edges = Arc::clone(&self.edges);
        tokio::spawn(async move {
            match notices {
                // The cluster's clock is what is simulated: its first tick is the deletion.
                Notices::Removal(delay) => {
                    let mut clock = tokio::time::interval(delay);
                    clock.tick().await;
                    clock.tick().await;
                }
                Notices::Probes(threshold, period) => {
                    let mut probes = tokio::time::interval(period);
                    let mut failed = 0;
                    while failed < threshold {
                        probes.tick().await;
                        failed = if is_ready(admin).await { 0 } else { failed + 1 };
                    }
                }
            }
            let mut edges = edges.lock().unwrap_or_else(PoisonError::into_inner);
            edges.retain(|other| *other != edge);
        })
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.passing.abort();
    }
}

async fn is_ready(admin: SocketAddr) -> bool {
    let Ok(mut client) = H1::try_connect(admin).await else {
        return false;
    };
    client.ask("/ready").await;
    client
        .try_response()
        .await
        .is_ok_and(|response| response.status == 200)
}

/// What the clients saw.
#[derive(Debug, Default)]
struct Seen {
    served: AtomicU32,
    lost: AtomicU32,
    is_over: AtomicBool,
}

/// One client: keeps its connections as long as it may, or makes a new one for each request.
async fn client(balancer: SocketAddr, keeps: bool, seen: Arc<Seen>) {
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    let mut kept = None;
    while !seen.is_over.load(Ordering::Relaxed) {
        pace.tick().await;
        let Some(mut connection) = kept.take().or(H1::try_connect(balancer).await.ok()) else {
            seen.lost.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let asked = connection
            .try_send("GET /version HTTP/1.1\r\nhost: a\r\n\r\n")
            .await;
        let answer = match asked {
            Ok(()) => connection.try_response().await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(response) if response.status == 200 => {
                seen.served.fetch_add(1, Ordering::Relaxed);
                kept = (keeps && !response.says_close()).then_some(connection);
            }
            _ => {
                seen.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

async fn edge(version: u32, flags: &str) -> (Edge, SocketAddr) {
    let edge = Edge::start(flags, &discovery("1", &[Http::new("http", version).yaml()])).await;
    let address = edge.address("http").await;
    (edge, address)
}

/// Replaces three edges one after the other; what the clients saw.
async fn roll(flags: &str, notices: Notices) -> (u32, u32) {
    let balancer = Balancer::start().await;
    let mut old = Vec::new();
    for _ in 0..3 {
        let (edge, address) = edge(1, flags).await;
        balancer.add(address);
        old.push((edge, address));
    }
    let seen = Arc::<Seen>::default();
    let clients: Vec<_> = (0..12)
        .map(|number| tokio::spawn(client(balancer.address, number % 2 == 0, Arc::clone(&seen))))
        .collect();
    let mut new = Vec::new();
    for (mut edge, address) in old {
        // maxSurge: 1, maxUnavailable: 0
        let (surge, ready) = self::edge(2, flags).await;
        assert!(is_ready(surge.admin).await);
        balancer.add(ready);
        new.push(surge);
        // A request of this edge takes longer than it has left to serve.
        let mut slow = H1::connect(address).await;
        slow.ask("/held").await;
        let held = edge.upstream.held().await;
        let removed = balancer.remove(address, edge.admin, notices);
        edge.signal("TERM").await;
        edge.until("draining ").await;
        held.answer("done");
        assert_eq!(slow.response().await.ok(), "done");
        drop(slow);
        assert_eq!(edge.exit().await.code(), Some(0));
        within("the removal", removed).await.expect("it ends");
    }
    seen.is_over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("it ends");
    }
    let (served, lost) = (
        seen.served.load(Ordering::Relaxed),
        seen.lost.load(Ordering::Relaxed),
    );
    assert!(served > 100, "{served} requests are no crowd");
    (served, lost)
}

/// An endpoint is out everywhere after a second.
const LATE: Notices = Notices::Removal(Duration::from_secs(1));

#[tokio::test]
async fn a_rolling_restart_loses_nothing_if_the_lead_time_is_longer_than_the_removal_takes() {
    let flags =
        "--shutdown-lead-time-s 3 --shutdown-accepting-s 0 --shutdown-minimum-s 0 --drain-time-s 4";
    assert_eq!(roll(flags, LATE).await.1, 0);
}

#[tokio::test]
async fn a_rolling_restart_loses_nothing_if_the_lead_time_is_longer_than_probes_take() {
    let probes = Notices::Probes(3, Duration::from_millis(300));
    let flags =
        "--shutdown-lead-time-s 3 --shutdown-accepting-s 0 --shutdown-minimum-s 0 --drain-time-s 4";
    assert_eq!(roll(flags, probes).await.1, 0);
}

#[tokio::test]
async fn a_rolling_restart_loses_nothing_with_nothing_but_a_deadline() {
    // Two seconds of lead time, and the drain accepts for two more.
    assert_eq!(
        roll("--shutdown-deadline-s 12 --shutdown-minimum-s 2", LATE)
            .await
            .1,
        0
    );
}

#[tokio::test]
async fn without_lead_time_a_drain_that_goes_on_accepting_loses_nothing_either() {
    let flags = "--shutdown-accepting-s 2 --shutdown-minimum-s 2 --drain-time-s 6";
    assert_eq!(roll(flags, LATE).await.1, 0);
}

/// What the others prove is not the balancer's doing.
#[tokio::test]
async fn a_rolling_restart_that_waits_for_nobody_loses_requests() {
    let flags = "--shutdown-accepting-s 0 --shutdown-minimum-s 0 --drain-time-s 4";
    let (served, lost) = roll(flags, LATE).await;
    assert!(lost > 0, "{served} served, none lost");
}
