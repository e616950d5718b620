//! A listener in another network namespace: its configuration opens the socket there, and the
//! worker accepts here.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use crate::common::wire::{bounded, free};
use conn_tracker::ConnTracker;
use drain_tree::{DrainManager, DrainSettings};
use listener_versions::{
    Accepted, ListenAddress, ListenerConfig, Listeners, ListenersOptions, SocketOptions, Update,
    socket2,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::io::AsyncWriteExt;

/// A network namespace with a loopback device, removed at the end.
struct Namespace(String);

impl Namespace {
    /// `None` if this user may not make one. `test` is one of this process.
    fn new(test: &str) -> Option<Self> {
        let namespace = Self(format!("listener-versions-{test}-{}", std::process::id()));
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

    /// Connections to each port `from` go to its port `to`. Whether they do: not each system has the
    /// program.
    fn redirect(&self, ports: &[(u16, u16)]) -> bool {
        let rules = ports.iter();
        let rules = rules.map(|(from, to)| format!("tcp dport {from} redirect to :{to};"));
        let chain = format!(
            "chain c {{ type nat hook output priority -100; {} }};",
            rules.collect::<String>()
        );
        let args = ["netns", "exec", &self.0, "nft"];
        let table = format!("table inet t {{ {chain} }}");
        let output = Command::new("ip").args(args).arg(table).output();
        output.is_ok_and(|output| output.status.success())
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
    namespace: Arc<Namespace>,
    address: ListenAddress,
    content: u8,
}

impl Config {
    fn new(namespace: &Arc<Namespace>, address: ListenAddress, content: u8) -> Self {
        Self {
            namespace: Arc::clone(namespace),
            address,
            content,
        }
    }
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

    fn socket_options(&self, _: &ListenAddress) -> SocketOptions {
        SocketOptions::default().with_dual_stack(true)
    }

    fn bind(&self, address: &ListenAddress) -> io::Result<socket2::Socket> {
        self.namespace
            .run(|| self.socket_options(address).bind(address, |_| Ok(())))
    }
}

/// Listeners whose connections are served by this.
fn listeners<F>(serve: fn(Accepted<Config>) -> F) -> Listeners<Config>
where
    F: Future<Output = ()> + Send + 'static,
{
    let root = DrainManager::root(DrainSettings::default());
    let (listeners, driver) =
        Listeners::new(root, ConnTracker::new(), ListenersOptions::default(), ());
    tokio::spawn(driver);
    tokio::spawn(listeners.worker().run_each(serve));
    listeners
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
    let Some(namespace) = Namespace::new("bind") else {
        eprintln!("skipped: this user may not make a network namespace");
        return;
    };
    let namespace = Arc::new(namespace);
    let listeners = listeners(serve);
    let address = free();
    let at = address.as_socket().expect("TCP");
    for content in 1..3 {
        let config = Config::new(&namespace, address.clone(), content);
        let report = listeners.apply(Update::lds("v", [config])).await;
        report.into_result().expect("it is taken");
        let client = Arc::clone(&namespace);
        let asked = tokio::task::spawn_blocking(move || client.run(|| ask(at)));
        let version = bounded(asked).await.expect("no panic");
        assert_eq!(version.expect("it is served"), content);
        let outside = ask(at).expect_err("it listens in the other namespace only");
        assert_eq!(outside.kind(), io::ErrorKind::ConnectionRefused);
    }
}

/// What the server has to say, in whole.
fn ask_all(address: &str) -> io::Result<String> {
    let mut answer = String::new();
    TcpStream::connect(address)?.read_to_string(&mut answer)?;
    Ok(answer)
}

async fn tell_original(mut accepted: Accepted<Config>) {
    let original = accepted.original_destination();
    let answer = original.map_or_else(|| "straight".to_owned(), |address| address.to_string());
    drop(accepted.stream.write_all(answer.as_bytes()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirected_connection_tells_where_its_client_wanted_to_go() {
    let namespace = Namespace::new("redirect");
    let Some(namespace) = namespace.filter(|it| it.redirect(&[(9, 1001), (10, 1002)])) else {
        eprintln!("skipped: this user may not redirect connections, or there is no nft");
        return;
    };
    let namespace = Arc::new(namespace);
    let listeners = listeners(tell_original);
    let both = [
        // Where it listens, what is redirected there, and what comes straight.
        (
            "127.0.0.1:1001",
            &["127.0.0.9:9"][..],
            &["127.0.0.1:1001"][..],
        ),
        (
            "[::]:1002", // and IPv4, as mapped addresses
            &["127.0.0.9:10", "[::1]:10"],
            &["127.0.0.1:1002", "[::1]:1002"],
        ),
    ];
    for (content, (listening, redirected, straight)) in (1..).zip(both) {
        let address: SocketAddr = listening.parse().expect("an address");
        let config = Config::new(&namespace, address.into(), content);
        let report = listeners.apply(Update::lds("v", [config])).await;
        report.into_result().expect("it is taken");
        let answers = redirected.iter().map(|&address| (address, address));
        let answers = answers.chain(straight.iter().map(|&address| (address, "straight")));
        for (address, answer) in answers {
            let client = Arc::clone(&namespace);
            let asked = tokio::task::spawn_blocking(move || client.run(|| ask_all(address)));
            let told = bounded(asked).await.expect("no panic");
            let told = told.unwrap_or_else(|error| panic!("{address}: {error}"));
            assert_eq!(told, answer, "{address}");
        }
    }
}
