//! What somebody with listeners of his own brings along: how a socket is opened, what is built for
//! a version, how a connection is served.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::common::wire::{bounded, free};
use conn_tracker::ConnTracker;
use drain_tree::{DrainManager, DrainSettings};
use listener_versions::{
    Accepted, FieldError, ListenAddress, ListenerConfig, Listeners, ListenersOptions,
    SocketOptions, Update,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What happened to the configurations of a test.
#[derive(Default)]
struct Log {
    bound: AtomicUsize,
    built: Mutex<Vec<(u32, CancellationToken)>>,
}

impl Log {
    fn built(&self) -> Vec<u32> {
        let built = self.built.lock().expect("no panic");
        built.iter().map(|(content, _)| *content).collect()
    }

    fn token(&self, content: u32) -> CancellationToken {
        let built = self.built.lock().expect("no panic");
        let token = built.iter().rev().find(|(built, _)| *built == content);
        token.expect("it was built").1.clone()
    }
}

#[derive(Clone)]
struct Config {
    address: ListenAddress,
    content: u32,
    chains: Vec<(&'static str, u32)>,
    options: SocketOptions,
    device: Option<&'static str>,
    error: Option<&'static str>,
    warms: bool,
    log: Arc<Log>,
}

impl Config {
    fn new(address: &ListenAddress, content: u32, log: &Arc<Log>) -> Self {
        Self {
            address: address.clone(),
            content,
            chains: Vec::new(),
            options: SocketOptions::default(),
            device: None,
            error: None,
            warms: false,
            log: Arc::clone(log),
        }
    }
}

impl ListenerConfig for Config {
    type Chain = u32;

    fn name(&self) -> &str {
        "a"
    }
    fn address(&self) -> &ListenAddress {
        &self.address
    }
    fn same_content(&self, other: &Self) -> bool {
        (self.content, &self.chains) == (other.content, &other.chains)
    }
    fn chains(&self) -> Vec<(Arc<str>, &u32)> {
        let chains = self.chains.iter();
        chains
            .map(|(id, content)| (Arc::from(*id), content))
            .collect()
    }
    fn differs_only_in_chains(&self, other: &Self) -> bool {
        self.content == other.content
    }
    fn socket_options(&self, _: &ListenAddress) -> SocketOptions {
        self.options.clone()
    }
    fn warms(&self) -> bool {
        self.warms
    }
    fn bind(&self, address: &ListenAddress) -> io::Result<socket2::Socket> {
        self.log.bound.fetch_add(1, Ordering::Relaxed);
        self.options.bind(address, |socket| {
            #[cfg(target_os = "linux")]
            socket.bind_device(self.device.map(str::as_bytes))?;
            let _ = socket;
            Ok(())
        })
    }
    fn build(&self, token: &CancellationToken) -> Result<(), FieldError> {
        if let Some(field) = self.error {
            return Err(FieldError::new(field, "cannot be made"));
        }
        let mut built = self.log.built.lock().expect("no panic");
        built.push((self.content, token.clone()));
        Ok(())
    }
}

fn process() -> Listeners<Config> {
    let root = DrainManager::root(DrainSettings::default());
    let (listeners, driver) =
        Listeners::new(root, ConnTracker::new(), ListenersOptions::default(), ());
    tokio::spawn(driver);
    listeners
}

fn put(
    listeners: &Listeners<Config>,
    config: Config,
) -> Result<(), listener_versions::UpdateError> {
    let report = listeners
        .apply_now(Update::put(config))
        .expect("no version takes over");
    report.into_result().map(drop)
}

fn local(listeners: &Listeners<Config>) -> std::net::SocketAddr {
    let local = listeners.local_address("a").expect("it listens");
    local.as_socket().expect("TCP")
}

/// Accepts, and gives every connection to the test.
fn accept(listeners: &Listeners<Config>) -> mpsc::UnboundedReceiver<Accepted<Config>> {
    let (sender, accepted) = mpsc::unbounded_channel();
    let worker = listeners.worker();
    tokio::spawn(worker.run(move |connection| drop(sender.send(connection))));
    accepted
}

/// `SO_BINDTODEVICE`: clients reach the listener through this device only.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_socket_is_opened_by_the_configuration() {
    let (listeners, log) = (process(), Arc::new(Log::default()));
    let mut accepted = accept(&listeners);
    let any: ListenAddress = "0.0.0.0:0".parse().expect("an address");
    let config = |content, device| Config {
        device: Some(device),
        ..Config::new(&any, content, &log)
    };
    if let Err(error) = put(&listeners, config(1, "lo")) {
        let said = error.to_string();
        assert!(said.contains("ermitted"), "{said}");
        eprintln!("skipped: this user may not bind to a device");
        return;
    }
    let port = local(&listeners).port();
    let mut client = TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("through lo");
    let mut connection = bounded(accepted.recv()).await.expect("it is accepted");
    connection.stream.write_u8(7).await.expect("it is open");
    assert_eq!(client.read_u8().await.expect("it is served"), 7);
    // A later version takes the socket as it is.
    put(&listeners, config(2, "lo")).expect("it is taken");
    assert_eq!(
        (log.bound.load(Ordering::Relaxed), local(&listeners).port()),
        (1, port)
    );
    // What cannot be opened is refused by its field, and the version goes on.
    put(&listeners, config(3, "lo")).expect("it is taken");
    let elsewhere = Config {
        address: "0.0.0.0:1".parse().expect("an address"),
        ..config(4, "no-such-device")
    };
    let error = put(&listeners, elsewhere).expect_err("there is no such device");
    assert_eq!((error.listener(), error.field()), ("a", "address"));
    assert_eq!(
        listeners.active("a").expect("it goes on").config().content,
        3
    );
    TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("it listens");
}

/// Every worker's socket is opened by the configuration, in the version that is active when the
/// worker comes.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_socket_for_each_worker_is_opened_once() {
    let (listeners, log) = (process(), Arc::new(Log::default()));
    let address = free();
    let options = SocketOptions::default().with_reuse_port(true);
    let config = |content| Config {
        options: options.clone(),
        ..Config::new(&address, content, &log)
    };
    put(&listeners, config(1)).expect("it is taken");
    let (sender, mut accepted) = mpsc::unbounded_channel();
    for _ in 0..3 {
        let sender = sender.clone();
        tokio::spawn(
            listeners
                .worker()
                .run(move |connection| drop(sender.send(connection))),
        );
    }
    put(&listeners, config(2)).expect("it is taken");
    let mut workers = std::collections::HashSet::new();
    while workers.len() < 3 {
        let _client = TcpStream::connect(local(&listeners))
            .await
            .expect("it listens");
        workers.insert(
            bounded(accepted.recv())
                .await
                .expect("it is accepted")
                .worker,
        );
    }
    assert_eq!(log.bound.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn only_what_comes_to_be_is_built_and_an_error_refuses_it_with_its_field() {
    let (listeners, log) = (process(), Arc::new(Log::default()));
    let address = free();
    let config = |content| Config::new(&address, content, &log);
    put(&listeners, config(1)).expect("it is taken");
    put(&listeners, config(1)).expect("nothing changes");
    let broken = Config {
        error: Some("tls.certificate"),
        ..config(2)
    };
    let error = put(&listeners, broken).expect_err("it cannot be made");
    assert_eq!((error.listener(), error.field()), ("a", "tls.certificate"));
    // Refused before: another listener of the same name.
    let twice = listeners
        .apply(Update::lds("v", [config(3), config(4)]))
        .await;
    assert_eq!(twice.errors().count(), 1);
    assert_eq!(log.built(), [1, 3]);
    assert_eq!(
        listeners
            .active("a")
            .expect("it is active")
            .config()
            .content,
        3
    );
    // In place as well.
    let chained = |chain| Config {
        chains: vec![("x", chain)],
        ..config(5)
    };
    put(&listeners, chained(1)).expect("it is taken");
    put(
        &listeners,
        Config {
            error: Some("x"),
            ..chained(2)
        },
    )
    .expect_err("it cannot be made");
    put(&listeners, chained(3)).expect("it is taken in place");
    assert_eq!(log.built(), [1, 3, 5, 5]);
}

#[tokio::test]
async fn a_token_ends_with_its_version() {
    let (listeners, log) = (process(), Arc::new(Log::default()));
    let mut accepted = accept(&listeners);
    let address = free();
    let config = |content| Config::new(&address, content, &log);
    put(&listeners, config(1)).expect("it is taken");
    let _client = TcpStream::connect(local(&listeners))
        .await
        .expect("it listens");
    let connection = bounded(accepted.recv()).await.expect("it is accepted");
    let first = log.token(1);
    let task = tokio::spawn({
        let first = first.clone();
        async move {
            first
                .run_until_cancelled(std::future::pending::<()>())
                .await
        }
    });
    put(&listeners, config(2)).expect("it is taken");
    assert!(!first.is_cancelled(), "it has a connection");
    assert!(!connection.version.token().is_cancelled());
    drop(connection);
    bounded(first.cancelled()).await;
    assert_eq!(bounded(task).await.expect("no panic"), None);
    // One that never got warm.
    put(
        &listeners,
        Config {
            warms: true,
            ..config(3)
        },
    )
    .expect("it warms");
    let third = log.token(3);
    assert!(!third.is_cancelled());
    put(&listeners, config(4)).expect("it is taken");
    assert!(third.is_cancelled() && !log.token(4).is_cancelled());
    // In place the version goes on, and what its old configuration has built ends with its last
    // connection.
    let chained = |chain| Config {
        chains: vec![("x", chain)],
        ..config(5)
    };
    put(&listeners, chained(1)).expect("it is taken");
    let before = log.token(5);
    put(&listeners, chained(2)).expect("it is taken in place");
    bounded(before.cancelled()).await;
    assert!(!log.token(5).is_cancelled());
    listeners
        .apply(Update::remove("a"))
        .await
        .into_result()
        .expect("it is removed");
    bounded(log.token(5).cancelled()).await;
}

/// The active version goes on with what the warming one has built.
#[tokio::test]
async fn a_token_outlives_the_warming_version_whose_chains_are_taken_in_place() {
    let (listeners, log) = (process(), Arc::new(Log::default()));
    let address = free();
    let config = |chain, warms| Config {
        chains: vec![("x", chain)],
        warms,
        ..Config::new(&address, 1, &log)
    };
    put(&listeners, config(1, false)).expect("it is taken");
    put(&listeners, config(2, true)).expect("it warms");
    let token = log.token(1);
    assert_eq!(log.built(), [1, 1]);
    assert!(listeners.warmed(2).expect("it listens"));
    let active = listeners.active("a").expect("it is active");
    assert_eq!((active.number(), active.config().chains[0].1), (1, 2));
    assert!(!token.is_cancelled() && !active.token().is_cancelled());
    drop(active);
    let removed = listeners.apply(Update::remove("a")).await;
    removed.into_result().expect("it is removed");
    bounded(token.cancelled()).await;
}

/// Also if connections are left behind its deadline.
#[tokio::test(start_paused = true)]
async fn a_token_of_a_replaced_configuration_ends_with_its_version_at_the_latest() {
    let (listeners, log) = (process(), Arc::new(Log::default()));
    let mut accepted = accept(&listeners);
    let address = free();
    let config = |chain| Config {
        chains: vec![("x", chain)],
        ..Config::new(&address, 1, &log)
    };
    put(&listeners, config(1)).expect("it is taken");
    let _client = TcpStream::connect(local(&listeners)).await;
    let connection = accepted.recv().await.expect("it is accepted");
    let before = log.token(1);
    put(&listeners, config(2)).expect("it is taken in place");
    assert!(!before.is_cancelled(), "it has a connection");
    let removed = listeners.apply(Update::remove("a")).await;
    removed.into_result().expect("it is removed");
    let hour = std::time::Duration::from_secs(3600);
    let ended = tokio::time::timeout(hour, before.cancelled()).await;
    ended.expect("its version has drained");
    assert!(listeners.snapshot().is_empty());
    drop(connection);
}

/// As with SNI: the first bytes say which chain it is, and the chain may change meanwhile.
#[tokio::test]
async fn a_connection_chooses_its_chain_after_bytes_were_read() {
    let (listeners, log) = (process(), Arc::new(Log::default()));
    let mut accepted = accept(&listeners);
    let address = free();
    let config = |x, y| Config {
        chains: vec![("x", x), ("y", y)],
        ..Config::new(&address, 1, &log)
    };
    put(&listeners, config(1, 1)).expect("it is taken");
    let mut client = TcpStream::connect(local(&listeners))
        .await
        .expect("it listens");
    let (mut stream, connection) = bounded(accepted.recv())
        .await
        .expect("it is accepted")
        .split();
    put(&listeners, config(1, 2)).expect("it is taken in place");
    client.write_all(b"y").await.expect("it is open");
    let mut name = [0];
    stream.read_exact(&mut name).await.expect("it is open");
    let connection = connection
        .enter_chain(|_| Some("z".into()))
        .expect_err("there is no such chain");
    let (entry, _) = connection
        .enter_chain(|_| Some("y".into()))
        .expect("there is");
    assert_eq!(entry.version.config().chains[1], ("y", 2), "the newest one");
    put(&listeners, config(1, 3)).expect("it is taken in place");
    assert!(entry.watch.is_draining() && !entry.version.drain().is_draining());
    let left = listeners.draining_chains();
    assert_eq!(
        left.iter().filter(|chain| chain.connections() == 1).count(),
        1
    );
    drop(entry);
    while !listeners.draining_chains().is_empty() {
        tokio::task::yield_now().await;
    }
}

/// A future that drops everything that it was given still counts as a connection until it ends.
#[tokio::test]
async fn the_guards_of_a_connection_are_held_until_its_future_ends() {
    let (listeners, log) = (process(), Arc::new(Log::default()));
    let address = free();
    let worker = listeners.worker();
    tokio::spawn(worker.run_each(|accepted: Accepted<Config>| async move {
        let (mut stream, rest) = accepted.split();
        drop(rest);
        stream.write_u8(1).await.ok();
        stream.read_u8().await.ok();
    }));
    put(&listeners, Config::new(&address, 1, &log)).expect("it is taken");
    let mut client = TcpStream::connect(local(&listeners))
        .await
        .expect("it listens");
    client.read_u8().await.expect("it is served");
    assert_eq!(listeners.tracker().len(), 1);
    put(&listeners, Config::new(&address, 2, &log)).expect("it is taken");
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    let draining = |listeners: &Listeners<Config>| listeners.snapshot().len() == 2;
    assert!(draining(&listeners), "the first version waits for it");
    client.write_u8(1).await.expect("it is open");
    while draining(&listeners) {
        tokio::task::yield_now().await;
    }
    assert!(listeners.tracker().is_empty());
}

#[tokio::test]
async fn two_chains_of_the_same_identity_are_refused() {
    let (listeners, log) = (process(), Arc::new(Log::default()));
    let config = Config {
        chains: vec![("x", 1), ("x", 2)],
        ..Config::new(&free(), 1, &log)
    };
    let error = put(&listeners, config).expect_err("they have the same identity");
    assert_eq!(error.field(), "filter_chains");
}
