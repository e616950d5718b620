//! More than there is room for: what was accepted is served, what waits is served in the end, and
//! what is refused is refused in the documented order and counted.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::at;
use crate::common::wire::{answer, bounded, connect, free, lds, listeners_with, port};
use drain_tree::{DrainOutcome, DrainReason};
use listener_versions::{
    Accepted, ListenAddress, ListenerObserver, ListenersOptions, Refusal, VersionView,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, line: String) {
        self.0.lock().expect("no panic").push(line);
    }

    fn lines(&self, what: &str) -> Vec<String> {
        let log = self.0.lock().expect("no panic");
        log.iter()
            .filter(|line| line.starts_with(what))
            .cloned()
            .collect()
    }
}

impl ListenerObserver for Log {
    fn refused(&self, _: &ListenAddress, version: u64, refusal: Refusal) {
        self.add(format!("refused {version} {refusal:?}"));
    }
    fn drain_started(&self, version: &VersionView, _: DrainReason) {
        self.add(format!("drains {}", version.number));
    }
    fn drain_hurried(&self, version: &VersionView, _: std::time::Instant) {
        self.add(format!("hurried {}", version.number));
    }
    fn drained(&self, version: &VersionView, outcome: &DrainOutcome) {
        self.add(format!("drained {} {:?}", version.number, outcome.ending));
    }
}

/// The queue is as short as can be, and no worker accepts: clients try again until there is room.
/// Updates meanwhile change who serves.
///
/// Clients speak first: Linux takes a handshake whose last packet found the queue full for done
/// once the client sends something.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn clients_that_find_the_queue_full_are_served_when_somebody_accepts() {
    let (listeners, driver) = listeners_with(ListenersOptions::default(), ());
    tokio::spawn(driver);
    let address = free();
    let config = |content| {
        let mut config = at("a", address.clone(), content);
        config.socket.backlog = 1;
        config
    };
    lds(&listeners, [config(0)]).await;
    let at_a = port(&listeners, "a");
    let clients: Vec<_> = (0..6)
        .map(|_| {
            tokio::spawn(async move {
                let mut client = TcpStream::connect(at_a).await?;
                client.write_u8(0).await?;
                client.read_u64().await
            })
        })
        .collect();
    // Two are in the queue, the others wait for room.
    for content in 1..4 {
        lds(&listeners, [config(content)]).await;
        tokio::task::yield_now().await;
    }
    assert!(clients.iter().all(|client| !client.is_finished()));
    tokio::spawn(listeners.worker().run(answer));
    for client in clients {
        let version = bounded(client)
            .await
            .expect("no panic")
            .expect("it is served");
        assert_eq!(version, 4);
    }
}

/// The soft cap is reached again and again while versions drain: the oldest are hurried, and no
/// client is cut before the floor.
#[tokio::test]
async fn the_soft_cap_hurries_the_oldest_and_cuts_nobody() {
    let log = Log::default();
    let options = ListenersOptions::default()
        .with_max_versions(2)
        .with_floor(Duration::from_secs(60));
    let (listeners, driver) = listeners_with(options, log.clone());
    tokio::spawn(driver);
    // An echo until the client ends.
    tokio::spawn(listeners.worker().run_each(|mut accepted| async move {
        let stream = &mut accepted.stream;
        while let Ok(byte) = stream.read_u8().await {
            if stream.write_u8(byte).await.is_err() {
                return;
            }
        }
    }));
    let address = free();
    let mut clients = Vec::new();
    for content in 0..5 {
        lds(&listeners, [at("a", address.clone(), content)]).await;
        let mut client = connect(port(&listeners, "a")).await;
        client.write_u8(1).await.expect("it is open");
        assert_eq!(bounded(client.read_u8()).await.expect("it is served"), 1);
        clients.push(client);
        for client in &mut clients {
            client.write_u8(2).await.expect("it is open");
            assert_eq!(bounded(client.read_u8()).await.expect("it is served on"), 2);
        }
    }
    assert_eq!(listeners.snapshot().len(), 5, "none is forgotten");
    assert_eq!(
        log.lines("hurried"),
        ["hurried 1", "hurried 2", "hurried 3"]
    );
    drop(clients);
    while log.lines("drained").len() < 4 {
        tokio::task::yield_now().await;
    }
    assert!(
        log.lines("drained")
            .iter()
            .all(|line| line.ends_with("Empty")),
        "{log:?}",
        log = log.lines("")
    );
}

/// The limits in their order: in all, of the listener, of the version; and during a drain.
#[tokio::test]
async fn what_is_too_much_is_refused_in_the_documented_order() {
    let cases = [
        (
            ListenersOptions::default()
                .with_max_connections(1)
                .with_max_connections_per_listener(1)
                .with_max_connections_per_version(1),
            "TotalLimit",
        ),
        (
            ListenersOptions::default()
                .with_max_connections(2)
                .with_max_connections_per_listener(1)
                .with_max_connections_per_version(1),
            "ListenerLimit",
        ),
        (
            ListenersOptions::default()
                .with_max_connections(2)
                .with_max_connections_per_listener(2)
                .with_max_connections_per_version(1),
            "VersionLimit",
        ),
    ];
    for (options, refusal) in cases {
        let log = Log::default();
        let (listeners, driver) = listeners_with(options, log.clone());
        tokio::spawn(driver);
        let (sender, mut accepted) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(
            listeners
                .worker()
                .run(move |connection: Accepted<_>| drop(sender.send(connection))),
        );
        lds(&listeners, [at("a", free(), 0)]).await;
        let at_a = port(&listeners, "a");
        let _first = connect(at_a).await;
        let held = bounded(accepted.recv()).await.expect("it is accepted");
        let mut second = connect(at_a).await;
        let end = bounded(second.read_u8()).await.expect_err("it is closed");
        assert_eq!(end.kind(), std::io::ErrorKind::UnexpectedEof);
        assert_eq!(log.lines("refused"), [format!("refused 1 {refusal}")]);
        assert_eq!(listeners.tracker().len(), 1, "it is counted no more");
        // There is room again, so the next one is served.
        drop(held);
        let _third = connect(at_a).await;
        drop(bounded(accepted.recv()).await.expect("it is accepted"));
    }
}
