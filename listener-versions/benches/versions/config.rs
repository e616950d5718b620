//! The listeners that are measured.

use std::net::SocketAddr;
use std::time::Duration;

use conn_tracker::ConnTracker;
use drain_tree::{DrainManager, DrainSettings};
use listener_versions::{ListenAddress, ListenerConfig, Listeners, ListenersOptions};

#[derive(Clone, PartialEq)]
pub(crate) struct Config {
    pub(crate) name: String,
    pub(crate) address: ListenAddress,
    pub(crate) content: u64,
}

impl Config {
    pub(crate) fn new(name: impl Into<String>, content: u64) -> Self {
        Self {
            name: name.into(),
            // Clients use many addresses of the loopback network, each with its own ports.
            address: SocketAddr::from(([0, 0, 0, 0], 0)).into(),
            content,
        }
    }
}

impl ListenerConfig for Config {
    type Chain = ();

    fn name(&self) -> &str {
        &self.name
    }

    fn address(&self) -> &ListenAddress {
        &self.address
    }

    fn same_content(&self, other: &Self) -> bool {
        self == other
    }
}

pub(crate) fn listeners(
    drain_time: Duration,
) -> (Listeners<Config>, impl Future<Output = ()> + Send + 'static) {
    let root = DrainManager::root(DrainSettings::default().with_drain_time(drain_time));
    Listeners::new(root, ConnTracker::new(), ListenersOptions::default(), ())
}

pub(crate) fn port(listeners: &Listeners<Config>, name: &str) -> u16 {
    let address = listeners
        .local_address(name)
        .and_then(|address| address.as_socket());
    address.expect("it listens").port()
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().expect("a runtime")
}
