//! A listener in another network namespace: its configuration opens the socket there, and the
//! worker accepts here.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::process::Command;
use std::thread;

use crate::common::wire::{bounded, free};
use conn_tracker::ConnTracker;
use drain_tree::{DrainManager, DrainSettings};
use listener_versions::{
    Accepted, ListenAddress, ListenerConfig, Listeners, ListenersOptions, Update, socket2,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::io::AsyncWriteExt;

/// A network namespace with a loopback device, removed at the end.
struct Namespace(String);

impl Namespace {
    /// `None` if this user may not make one.
    fn new() -> Option<Self> {
        let namespace = Self(format!("listener-versions-{}", std::process::id()));
        let name = &*namespace.0;
        let commands = [
            vec!["netns", "add", name],
            vec!["-n", name, "link", "set", "lo", "up"],
        ];
        let succeeds = |args: &Vec<&str>| {
            let output = Command::new("ip").args(args).output();
            output.is_ok_and(|output| output.status.success())
        };
        commands.iter().all(succeeds).then_some(namespace)
    }

    /// Runs this in a thread that is in the namespace: a socket stays where it was made.
    fn run<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        let file = File::open(format!("/run/netns/{}", self.0))?;
        let enter = || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
            work()
        };
        thread::scope(|scope| scope.spawn(enter).join().expect("no panic"))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(Command::new("ip").args(["netns", "del", &self.0]).output());
    }
}

struct Config {
    namespace: std::sync::Arc<Namespace>,
    address: ListenAddress,
    content: u8,
}

impl ListenerConfig for Config {
    type Chain = ();

    fn name(&self) -> &str {
        "inside"
    }

    fn address(&self) -> &ListenAddress {
        &self.address
    }

    fn same_content(&self, other: &Self) -> bool {
        self.content == other.content
    }

    fn bind(&self, address: &ListenAddress) -> io::Result<socket2::Socket> {
        self.namespace
            .run(|| self.socket_options(address).bind(address, |_| Ok(())))
    }
}

fn ask(address: SocketAddr) -> io::Result<u8> {
    let mut byte = [0];
    TcpStream::connect(address)?.read_exact(&mut byte)?;
    Ok(byte[0])
}

async fn serve(mut accepted: Accepted<Config>) {
    let content = accepted.version.config().content;
    drop(accepted.stream.write_u8(content).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_of_another_network_namespace_is_served_by_every_version() {
    let Some(namespace) = Namespace::new() else {
        eprintln!("skipped: this user may not make a network namespace");
        return;
    };
    let namespace = std::sync::Arc::new(namespace);
    let root = DrainManager::root(DrainSettings::default());
    let (listeners, driver) =
        Listeners::new(root, ConnTracker::new(), ListenersOptions::default(), ());
    tokio::spawn(driver);
    tokio::spawn(listeners.worker().run_each(serve));
    let address = free();
    let at = address.as_socket().expect("TCP");
    for content in 1..3 {
        let config = Config {
            namespace: std::sync::Arc::clone(&namespace),
            address: address.clone(),
            content,
        };
        let report = listeners.apply(Update::lds("v", [config])).await;
        report.into_result().expect("it is taken");
        let client = std::sync::Arc::clone(&namespace);
        let asked = tokio::task::spawn_blocking(move || client.run(|| ask(at)));
        let version = bounded(asked).await.expect("no panic");
        assert_eq!(version.expect("it is served"), content);
        let outside = ask(at).expect_err("it listens in the other namespace only");
        assert_eq!(outside.kind(), io::ErrorKind::ConnectionRefused);
    }
}
