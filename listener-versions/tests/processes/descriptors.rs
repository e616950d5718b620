//! A process without file descriptors: accepting waits, says so, and goes on; versions change and
//! drain meanwhile.

use std::fs::File;
use std::io;
use std::process::Command;

use crate::common::{at, wire};
use conn_tracker::ConnTracker;
use drain_tree::{DrainManager, DrainOutcome, DrainSettings};
use listener_versions::{
    Accepted, ListenAddress, ListenerObserver, Listeners, ListenersOptions, Update, VersionView,
};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// Runs one of the tests below in a process of its own, with few descriptors.
fn run(test: &str) {
    let program = std::env::current_exe().expect("this program");
    let script = r#"ulimit -n 48 && exec "$0" --ignored --exact "$1""#;
    let output = Command::new("sh")
        .arg("-c")
        .arg(script)
        .arg(program)
        .arg(test)
        .output()
        .expect("a shell");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

#[test]
fn a_lack_of_descriptors_ends_neither_the_accept_loop_nor_a_connection() {
    run("descriptors::with_few_descriptors");
}

#[test]
fn a_listener_that_is_removed_without_descriptors_serves_its_queue_when_there_are_some() {
    run("descriptors::removed_without_descriptors");
}

/// Takes every descriptor that is left.
fn all_descriptors() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

#[tokio::test]
#[ignore = "run by the test above, in a process with few descriptors"]
async fn removed_without_descriptors() {
    let path =
        std::env::temp_dir().join(format!("listener-versions-removed-{}", std::process::id()));
    for address in [wire::free(), ListenAddress::Unix(path.clone())] {
        let (sender, mut reported) = mpsc::unbounded_channel();
        let root = DrainManager::root(DrainSettings::default());
        let options = ListenersOptions::default();
        let (listeners, driver) =
            Listeners::new(root, ConnTracker::new(), options, Reports(sender));
        tokio::spawn(driver);
        tokio::spawn(listeners.worker().run(wire::answer));
        wire::lds(&listeners, [at("a", address.clone(), 0)]).await;
        // The worker takes part.
        tokio::task::yield_now().await;
        let version = listeners.snapshot()[0].number;
        let mut clients: Vec<socket2::Socket> = (0..8)
            .map(|_| {
                let client = match &address {
                    ListenAddress::Socket(_) => {
                        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
                    }
                    _ => socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None),
                };
                client.expect("a descriptor")
            })
            .collect();
        let late = clients.pop().expect("one of them");
        let peer = || match &address {
            ListenAddress::Socket(address) => (*address).into(),
            _ => socket2::SockAddr::unix(&path).expect("a path"),
        };
        // No task runs between: they wait in the queue.
        for client in &clients {
            client.connect(&peer()).expect("it listens");
        }
        let files = all_descriptors();
        wire::lds(&listeners, []).await;
        late.set_nonblocking(true).expect("a socket");
        late.connect(&peer()).expect_err("it listens no more");
        let error = reported.recv().await.expect("it is reported");
        assert!(error.starts_with("1: "), "{error}");
        drop(files);
        for client in clients {
            client.set_nonblocking(true).expect("a socket");
            let mut said = Vec::new();
            let mut stream: Box<dyn tokio::io::AsyncRead + Unpin> = match &address {
                ListenAddress::Socket(_) => {
                    Box::new(TcpStream::from_std(client.into()).expect("a descriptor"))
                }
                _ => {
                    let client = std::os::fd::OwnedFd::from(client);
                    Box::new(tokio::net::UnixStream::from_std(client.into()).expect("a descriptor"))
                }
            };
            wire::bounded(stream.read_to_end(&mut said))
                .await
                .expect("it is served");
            assert_eq!(said, version.to_be_bytes());
        }
        // Nothing is left of it.
        drop(late);
        while wire::bounded(reported.recv())
            .await
            .expect("it is reported")
            != format!("drained {version}")
        {}
        let again = socket2::Socket::new(peer().domain(), socket2::Type::STREAM, None)
            .expect("a descriptor");
        again
            .connect(&peer())
            .expect_err("no process listens there");
    }
}

struct Reports(mpsc::UnboundedSender<String>);

impl ListenerObserver for Reports {
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
        Reports(sender),
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

    // One connection shows that the loop runs, then nothing is left but one descriptor for the next
    // client.
    let first = TcpStream::connect(address).await.expect("it listens");
    drop((accepted.recv().await.expect("it is accepted"), first));
    let mut files = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }
    files.pop();
    let mut client = TcpStream::connect(address)
        .await
        .expect("the kernel takes it");
    let error = errors.recv().await.expect("it is reported");
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
    while errors.recv().await.expect("it is reported") != "drained 1" {}
    drop(files);
    let waited = accepted.recv().await.expect("it is accepted in the end");
    assert_eq!(waited.version.number(), 2);
    drop(waited);
    assert_eq!(client.read(&mut [0]).await.expect("it was served"), 0);
}
