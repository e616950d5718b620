//! Many updates in a row, under clients that never rest.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{Edge, End, H1, Http, discovery};

const UPDATES: u32 = 200;

/// What a client saw until it was stopped; it panics when anything is lost.
#[derive(Default)]
struct Seen {
    connections: u32,
    versions: BTreeSet<String>,
}

/// A connection for each request.
async fn connect_again_and_again(address: SocketAddr, over: Arc<AtomicBool>) -> Seen {
    let mut seen = Seen::default();
    while !over.load(Ordering::Relaxed) {
        let mut client = H1::connect(address).await;
        client
            .send("GET /version HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
            .await;
        seen.versions.insert(client.response().await.ok());
        assert_eq!(client.end().await, End::Fin);
        seen.connections += 1;
    }
    seen
}

/// As many requests on a connection as it is kept for.
async fn stay_as_long_as_allowed(address: SocketAddr, over: Arc<AtomicBool>) -> Seen {
    let mut seen = Seen::default();
    while !over.load(Ordering::Relaxed) {
        let mut client = H1::connect(address).await;
        seen.connections += 1;
        while !over.load(Ordering::Relaxed) {
            let response = client.get("/version").await;
            seen.versions.insert(response.ok());
            if response.says_close() {
                assert_eq!(client.end().await, End::Fin);
                break;
            }
        }
    }
    seen
}

#[tokio::test]
async fn two_hundred_updates_refuse_reset_or_forget_nobody() {
    let first = discovery("1", &[Http::new("http", 1).yaml()]);
    let mut edge = Edge::start("--drain-time-s 4", &first).await;
    let address = edge.address("http").await;
    let over = Arc::new(AtomicBool::new(false));
    let connecting =
        [(); 4].map(|()| tokio::spawn(connect_again_and_again(address, Arc::clone(&over))));
    let staying =
        [(); 2].map(|()| tokio::spawn(stay_as_long_as_allowed(address, Arc::clone(&over))));

    let mut pace = tokio::time::interval(Duration::from_millis(50));
    for version in 2..=UPDATES + 1 {
        pace.tick().await;
        let said = edge
            .update(&version.to_string(), &[Http::new("http", version).yaml()])
            .await;
        assert!(said.concat().contains("http modified"), "{said:?}");
    }
    over.store(true, Ordering::Relaxed);

    for client in connecting {
        let seen = client.await.expect("nothing is lost");
        assert!(
            seen.connections > UPDATES / 10,
            "{} connections",
            seen.connections
        );
        assert!(seen.versions.len() > 10, "{:?}", seen.versions);
    }
    for client in staying {
        let seen = client.await.expect("nothing is lost");
        assert!(seen.connections > 1, "nobody was told to leave");
    }
    assert_eq!(edge.stat("listener_modified").await, u64::from(UPDATES));
    assert_eq!(
        edge.stat("lds.update_success").await,
        u64::from(UPDATES) + 1
    );
}
