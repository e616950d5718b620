//! A program with listeners of its own for each runtime is shut down as one.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use conn_tracker::ConnTracker;
use drain_tree::{DrainManager, DrainSettings, DrainStrategy};
use listener_versions::{
    Accepted, ListenAddress, ListenerConfig, Listeners, ListenersOptions, SocketOptions, Update,
};
use orion_drain_shutdown::{ShutdownEnding, ShutdownSettings, shut_down_all};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Config {
    name: &'static str,
    address: ListenAddress,
}

impl ListenerConfig for Config {
    type Chain = ();

    fn name(&self) -> &str {
        self.name
    }

    fn address(&self) -> &ListenAddress {
        &self.address
    }

    fn same_content(&self, other: &Self) -> bool {
        self.name == other.name
    }

    fn socket_options(&self, _: &ListenAddress) -> SocketOptions {
        SocketOptions::default().with_reuse_port(true)
    }
}

/// Says `a` at first, and `z` when the connection is asked to leave.
async fn serve(accepted: Accepted<Config>) {
    let (mut stream, connection) = accepted.split();
    drop(stream.write_all(b"a").await);
    let mut byte = [0];
    let asked = connection
        .watch
        .run_until_signaled(stream.read(&mut byte))
        .await;
    if asked.is_none() {
        drop(stream.write_all(b"z").await);
        drop(stream.shutdown().await);
        drop(stream.read(&mut byte).await);
    }
}

/// Listeners whose driver and worker run in a thread of their own.
fn core(name: &'static str) -> (Listeners<Config>, SocketAddr, thread::JoinHandle<()>) {
    let settings = DrainSettings::default().with_strategy(DrainStrategy::Immediate);
    let settings = settings.with_shutdown_minimum(Duration::ZERO);
    let (listeners, driver) = Listeners::new(
        DrainManager::root(settings),
        ConnTracker::new(),
        ListenersOptions::default(),
        (),
    );
    let worker = listeners.worker();
    let thread = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(async {
            let worker = tokio::spawn(worker.run_each(serve));
            driver.await;
            worker.await.expect("no panic");
        });
    });
    let address = "127.0.0.1:0".parse().expect("an address");
    let update = Update::put(Config { name, address });
    let report = listeners.apply_now(update).expect("no handover");
    report.into_result().expect("it is taken");
    let local = listeners.local_address(name).expect("it listens");
    let local = local.as_socket().expect("TCP");
    (listeners, local, thread)
}

async fn next(client: &mut TcpStream) -> u8 {
    let byte = tokio::time::timeout(Duration::from_secs(60), client.read_u8());
    byte.await.expect("it does not hang").expect("it is served")
}

#[tokio::test]
async fn every_runtime_drains_at_once_and_the_last_one_ends_it() {
    let (first, at_first, first_thread) = core("first");
    let (second, at_second, second_thread) = core("second");
    let mut clients = Vec::new();
    for address in [at_first, at_first, at_second] {
        let mut client = TcpStream::connect(address).await.expect("it listens");
        assert_eq!(next(&mut client).await, b'a');
        clients.push(client);
    }
    let all = [first, second];
    let ended = tokio::spawn(async move {
        let settings = ShutdownSettings::default();
        let outcomes = shut_down_all(&all, settings).await;
        (all, outcomes)
    });
    for client in &mut clients {
        assert_eq!(next(client).await, b'z', "also those of the second runtime");
    }
    for address in [at_first, at_second] {
        assert!(TcpStream::connect(address).await.is_err());
    }
    // The first runtime is empty, the second one is not.
    clients.drain(..2);
    assert!(!ended.is_finished());
    clients.clear();
    let (all, outcomes) = ended.await.expect("no panic");
    assert_eq!(outcomes.len(), 2);
    for outcome in outcomes {
        assert_eq!((outcome.ending, outcome.left), (ShutdownEnding::Drained, 0));
    }
    drop(all);
    first_thread.join().expect("no panic");
    second_thread.join().expect("no panic");
}
