//! What axum and tonic applications find when they are served: tunnels that are waited for, peers
//! that are known, every service type; over real sockets.
#![allow(
    clippy::unwrap_used,
    reason = "in a test's helpers too a panic is a failure"
)]

mod incoming;
mod peers;
mod resets;
mod websockets;

use std::net::SocketAddr;
use std::time::Duration;

use conn_tracker::{ConnSnapshot, ConnTracker};
use drain_tree::{
    DrainManager, DrainOutcome, DrainReason, DrainSettings, DrainStart, DrainStrategy,
};
use listener_versions::{ListenerConfig, Listeners, ListenersOptions, Update};
use orion_drain_serve::{Handler, ListenOn, serve};
use tokio::task::JoinHandle;

/// One listener on a port of the loopback.
struct Host {
    root: DrainManager,
    tracker: ConnTracker,
    _listeners: Listeners<ListenOn>,
    address: SocketAddr,
}

/// How long anything may take before its test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// The drain time of a host's drains.
const DRAIN_TIME: Duration = Duration::from_secs(4);

async fn host(handler: impl Handler<ListenOn>) -> Host {
    let settings = DrainSettings::default().with_drain_time(DRAIN_TIME);
    let (root, tracker, listeners) = listeners(settings);
    tokio::spawn(serve(&listeners, handler));
    let address = "127.0.0.1:0".parse().expect("an address");
    let update = Update::bootstrap([ListenOn::new("in", address)]);
    assert!(listeners.apply(update).await.is_success());
    let address = address_of(&listeners);
    Host {
        root,
        tracker,
        _listeners: listeners,
        address,
    }
}

/// Listeners, of which none is there yet, under a root whose drains begin at once.
fn listeners<C: ListenerConfig>(
    settings: DrainSettings,
) -> (DrainManager, ConnTracker, Listeners<C>) {
    let root = DrainManager::root(settings.with_strategy(DrainStrategy::Immediate));
    let tracker = ConnTracker::new();
    let options = ListenersOptions::default();
    let (listeners, driver) = Listeners::new(root.clone(), tracker.clone(), options, ());
    tokio::spawn(driver);
    (root, tracker, listeners)
}

/// Where the listener "in" listens.
fn address_of<C: ListenerConfig>(listeners: &Listeners<C>) -> SocketAddr {
    let local = listeners.local_address("in");
    local
        .and_then(|local| local.as_socket())
        .expect("it listens")
}

impl Host {
    fn drain(&self) -> JoinHandle<DrainOutcome> {
        let start = DrainStart::new(DrainReason::ListenerModify);
        tokio::spawn(self.root.start_drain_sequence(start))
    }

    /// The only connection, once it is as it should be.
    async fn only(&self, is: impl Fn(&ConnSnapshot) -> bool) -> ConnSnapshot {
        // The registry has no event for a change of one entry.
        for _ in 0..2_000 {
            if let [only] = &self.tracker.snapshot()[..] {
                if is(only) {
                    return only.clone();
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{:?}", self.tracker.snapshot());
    }

    async fn is_empty(&self) {
        let emptied = tokio::time::timeout(PATIENCE, self.tracker.wait_empty()).await;
        assert!(emptied.is_ok(), "{:?}", self.tracker.snapshot());
    }
}
