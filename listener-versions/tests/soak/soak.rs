//! 100 000 short connections over 2 000 updates: memory returns to where it was, and no descriptor,
//! task or version is left behind.
//!
//! `cargo xtask ci --full soak` runs it, or `cargo test --release -p listener-versions --test soak
//! soak:: -- --ignored --nocapture`. It takes a minute or less. Linux only: it looks into `/proc`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::wire::{answer, ask, lds, port};
use crate::common::{Config, at};
use conn_tracker::ConnTracker;
use drain_tree::{DrainManager, DrainOutcome, DrainSettings};
use listener_versions::{ListenerObserver, Listeners, ListenersOptions, VersionView};
use tokio::sync::watch;

const CONNECTIONS: usize = 100_000;
const UPDATES: usize = 2_000;
const CLIENTS: usize = 8;

/// The soak itself is ten times as long as what is done before the first look.
const WARM_UP: usize = 10;

/// A version that is forgotten costs more than 2 KiB, a connection 100 bytes: 2 000 or 100 000 of
/// them are more than this.
const NEAR: usize = 4 << 20;

/// The tasks that stay: the driver and two workers.
const STAY: usize = 3;

/// A hang fails the test; nothing is measured by it.
const HANG: Duration = Duration::from_secs(600);

#[derive(Clone, Default)]
struct Reaped(Arc<AtomicUsize>);

impl ListenerObserver for Reaped {
    fn drained(&self, _: &VersionView, outcome: &DrainOutcome) {
        assert_eq!(outcome.left, 0, "every connection ends by itself");
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// What must not grow.
#[derive(Debug)]
struct Held {
    memory: usize,
    descriptors: usize,
    tasks: usize,
}

fn held() -> Held {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = memory.and_then(|memory| memory.trim().strip_suffix(" kB"));
    Held {
        memory: kibibytes
            .and_then(|memory| memory.parse::<usize>().ok())
            .expect("kB")
            << 10,
        descriptors: std::fs::read_dir("/proc/self/fd").expect("Linux").count(),
        tasks: tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks(),
    }
}

/// One listener with a socket for all workers, one with a socket for each.
async fn update(listeners: &Listeners<Config>, content: u32) {
    let any: SocketAddr = ([0, 0, 0, 0], 0).into();
    let config = |name, reuse_port| at(name, any.into(), content).reuse_port(reuse_port);
    let configs = [config("shared", false), config("own", true)];
    lds(listeners, configs).await;
}

/// Connects so many times, to one listener and the other, over enough addresses that no port is
/// wanted twice.
async fn connections(ports: [u16; 2], client: usize, count: usize, made: &watch::Sender<usize>) {
    for index in 0..count {
        let host = 1 + (client * 31 + index) % 250;
        let address = SocketAddr::from(([127, 0, 2, host as u8], ports[index % 2]));
        ask(address)
            .await
            .expect("neither refused nor reset nor unanswered");
        made.send_modify(|made| *made += 1);
    }
}

/// `updates` updates, spread over `count` connections of all clients.
async fn storm(listeners: &Listeners<Config>, first: u32, updates: usize, count: usize) {
    let ports = ["shared", "own"].map(|name| port(listeners, name).port());
    let (made, mut progress) = watch::channel(0);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let made = made.clone();
            tokio::spawn(async move { connections(ports, client, count / CLIENTS, &made).await })
        })
        .collect();
    for (done, content) in (0..updates).zip(first..) {
        let due = count / CLIENTS * CLIENTS * done / updates;
        progress
            .wait_for(|made| *made >= due)
            .await
            .expect("clients live");
        update(listeners, content).await;
    }
    for client in clients {
        client.await.expect("no connection was lost");
    }
}

/// Nothing is in flight; what is held then. A task goes on for a moment after its connection is
/// gone.
async fn quiet(listeners: &Listeners<Config>, tracker: &ConnTracker) -> Held {
    tracker.wait_empty().await;
    for _ in 0..100_000 {
        if listeners.snapshot().len() == 2 && held().tasks == STAY {
            break;
        }
        tokio::task::yield_now().await;
    }
    held()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a minute of work, and memory that no other test uses: run by `cargo xtask ci --full soak`"]
async fn nothing_is_left_behind_by_a_hundred_thousand_connections_and_two_thousand_updates() {
    let soak = async {
        let before = held();
        let (tracker, reaped) = (ConnTracker::new(), Reaped::default());
        let root = DrainManager::root(DrainSettings::default());
        let options = ListenersOptions::default();
        let (listeners, driver) = Listeners::new(root, tracker.clone(), options, reaped.clone());
        let driver = tokio::spawn(driver);
        let workers = [(); 2].map(|()| tokio::spawn(listeners.worker().run(answer)));
        update(&listeners, 0).await;

        storm(&listeners, 1, UPDATES / WARM_UP, CONNECTIONS / WARM_UP).await;
        let start = quiet(&listeners, &tracker).await;
        storm(&listeners, 1 + UPDATES as u32, UPDATES, CONNECTIONS).await;
        let end = quiet(&listeners, &tracker).await;
        println!("{start:?} at the start, {end:?} at the end");

        assert!(end.memory <= start.memory + NEAR, "{start:?} {end:?}");
        assert_eq!((end.descriptors, end.tasks), (start.descriptors, STAY));
        // Both listeners change with every update.
        let versions = 2 * (UPDATES + UPDATES / WARM_UP);
        assert_eq!(
            reaped.0.load(Ordering::Relaxed),
            versions,
            "each version once"
        );
        assert_eq!(
            tracker.groups().len(),
            2,
            "the books of those that are active"
        );

        drop(listeners);
        for worker in workers {
            worker.await.expect("it ends");
        }
        driver.await.expect("it ends");
        let after = held();
        assert_eq!(
            (after.descriptors, after.tasks),
            (before.descriptors, before.tasks)
        );
    };
    tokio::time::timeout(HANG, soak).await.expect("it hangs");
}
