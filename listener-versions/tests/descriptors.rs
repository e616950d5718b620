//! A process without file descriptors: accepting waits, says so, and goes on; versions change and drain meanwhile.
#![cfg(unix)]

mod common;

use std::fs::File;
use std::io;
use std::process::Command;

use common::at;
use conn_tracker::ConnTracker;
use drain_tree::{DrainManager, DrainOutcome, DrainSettings};
use listener_versions::{
    Accepted, ListenAddress, ListenerObserver, Listeners, ListenersOptions, Update, VersionView,
};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// Runs the test below in a process of its own, with few descriptors.
#[test]
fn a_lack_of_descriptors_ends_neither_the_accept_loop_nor_a_connection() {
    let test = std::env::current_exe().expect("this program");
    let script = r#"ulimit -n 48 && exec "$0" --ignored --exact with_few_descriptors"#;
    let output = Command::new("sh")
        .arg("-c")
        .arg(script)
        .arg(test)
        .output()
        .expect("a shell");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

struct Told(mpsc::UnboundedSender<String>);

impl ListenerObserver for Told {
    fn accept_error(&self, _: &ListenAddress, error: &io::Error, in_a_row: u32) {
        self.0
            .send(format!("{in_a_row}: {error}"))
            .expect("the test listens");
    }

    fn drained(&self, version: &VersionView, _: &DrainOutcome) {
        self.0
            .send(format!("drained {}", version.number))
            .expect("the test listens");
    }
}

#[tokio::test]
#[ignore = "run by the test above, in a process with few descriptors"]
async fn with_few_descriptors() {
    let (sender, mut errors) = mpsc::unbounded_channel();
    let root = DrainManager::root(DrainSettings::default());
    let (listeners, driver) = Listeners::new(
        root,
        ConnTracker::new(),
        ListenersOptions::default(),
        Told(sender),
    );
    tokio::spawn(driver);
    let (sender, mut accepted) = mpsc::unbounded_channel();
    tokio::spawn(
        listeners
            .worker()
            .run(move |connection: Accepted<_>| drop(sender.send(connection))),
    );
    let address: ListenAddress = "127.0.0.1:0".parse().expect("an address");
    assert!(
        listeners
            .apply(Update::lds("v", [at("a", address, 0)]))
            .await
            .is_success()
    );
    let address = listeners
        .local_address("a")
        .and_then(|address| address.as_socket())
        .expect("it listens");

    // One connection shows that the loop runs, then nothing is left but one descriptor for the next client.
    let first = TcpStream::connect(address).await.expect("it listens");
    drop((accepted.recv().await.expect("it is accepted"), first));
    let mut files = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }
    files.pop();
    let mut client = TcpStream::connect(address).await.expect("the kernel takes it");
    let error = errors.recv().await.expect("it is told");
    assert!(error.starts_with("1: "), "{error}");

    // Versions change and drain all the same; only what needs a socket more is refused.
    let b = at("b", "127.0.0.1:0".parse().expect("an address"), 0);
    let a = at("a", "127.0.0.1:0".parse().expect("an address"), 1);
    let report = listeners.apply(Update::lds("v", [a, b])).await;
    let refused: Vec<_> = report
        .errors()
        .map(|error| (error.listener(), error.field()))
        .collect();
    assert_eq!(refused, [("b", "address")]);
    while errors.recv().await.expect("it is told") != "drained 1" {}
    drop(files);
    let waited = accepted.recv().await.expect("it is accepted in the end");
    assert_eq!(waited.version.number(), 2);
    drop(waited);
    assert_eq!(client.read(&mut [0]).await.expect("it was served"), 0);
}
