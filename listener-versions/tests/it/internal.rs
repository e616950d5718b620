//! A listener without a socket: the program accepts connections itself and hands them in.

use std::net::SocketAddr;

use crate::common::wire::{answer, any_port, ask, bounded, lds, port};
use crate::common::{Config, at};
use conn_tracker::{ConnTracker, Peer};
use drain_tree::{DrainManager, DrainReason, DrainSettings, DrainStrategy};
use listener_versions::{
    Accepted, Change, ListenAddress, Listeners, ListenersOptions, Refusal, Update, VersionState,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn inner(content: u32) -> Config {
    at("inner", ListenAddress::Internal, content)
}

/// Drains ask every connection to leave at once.
fn listeners(options: ListenersOptions) -> Listeners<Config> {
    let settings = DrainSettings::default().with_strategy(DrainStrategy::Immediate);
    let root = DrainManager::root(settings);
    let (listeners, driver) = Listeners::new(root, ConnTracker::new(), options, ());
    tokio::spawn(driver);
    listeners
}

/// The program's own socket: each connection goes to the listener `inner`, or is closed if it is
/// refused.
async fn host(listeners: Listeners<Config>) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let at = socket.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, peer)) = socket.accept().await {
            if let Ok(accepted) = listeners.enter("inner", peer) {
                tokio::spawn(serve(stream, accepted));
            }
        }
    });
    at
}

/// Says which version took the connection, and `0` when it is asked to leave.
async fn serve(mut stream: TcpStream, accepted: Accepted<Config, ()>) {
    drop(stream.write_u64(accepted.version.number()).await);
    let mut byte = [0];
    let left = accepted
        .watch
        .run_until_signaled(stream.read(&mut byte))
        .await;
    if left.is_none() {
        drop(stream.write_u64(0).await);
    }
}

async fn next(client: &mut TcpStream) -> u64 {
    bounded(client.read_u64()).await.expect("it is served")
}

#[tokio::test]
async fn connections_of_the_program_have_versions_and_drains_as_others() {
    let listeners = listeners(ListenersOptions::default());
    lds(&listeners, [inner(0)]).await;
    let host = host(listeners.clone()).await;
    let mut first = TcpStream::connect(host).await.expect("it listens");
    assert_eq!(next(&mut first).await, 1);
    let listed = listeners.tracker().snapshot();
    let from = first.local_addr().expect("an address");
    assert_eq!((listed.len(), listed[0].peer), (1, Peer::Ip(from)));

    let report = listeners.apply(Update::lds("v", [inner(1)])).await;
    let change = report
        .outcome("inner")
        .and_then(|outcome| outcome.as_ref().ok().copied());
    assert_eq!(
        change,
        Some(Change::Modified {
            version: 2,
            replaced: 1
        })
    );
    assert_eq!(next(&mut first).await, 0, "it is asked to leave");
    let mut second = TcpStream::connect(host).await.expect("it listens");
    assert_eq!(next(&mut second).await, 2);

    lds(&listeners, []).await;
    assert_eq!(next(&mut second).await, 0, "it is asked to leave");
    let refused = listeners
        .enter("inner", Peer::Unknown)
        .expect_err("it is removed");
    assert_eq!(refused, Refusal::NoListener);
    assert!(ask(host).await.is_err(), "the host closes it");
    bounded(async {
        while !listeners.snapshot().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_warms_takes_connections_when_it_is_warm_and_chains_are_entered() {
    let listeners = listeners(ListenersOptions::default());
    let chains = |content| inner(0).chains([("api", content)]);
    lds(&listeners, [chains(0).warming()]).await;
    assert_eq!(
        listeners
            .enter("inner", Peer::Unknown)
            .expect_err("it warms"),
        Refusal::NoListener
    );
    listeners.warmed(1).expect("it warms");
    let accepted = listeners.enter("inner", Peer::Unknown).expect("it is warm");
    let (entry, _) = accepted
        .enter_chain(|config| config.chain("api"))
        .expect("there is one");
    // Another content of the chain: the version goes on, the chain drains.
    lds(&listeners, [chains(1)]).await;
    bounded(entry.watch.signaled()).await;
    assert_eq!(entry.version.state(), VersionState::Active);
    assert_eq!(listeners.draining_chains().len(), 1);
    let newer = listeners.enter("inner", Peer::Unknown).expect("it goes on");
    assert_eq!(newer.version.number(), 1);
}

#[tokio::test]
async fn limits_count_and_two_listeners_have_two_entrances_beside_sockets() {
    let options = ListenersOptions::default().with_max_connections_per_listener(1);
    let listeners = listeners(options);
    tokio::spawn(listeners.worker().run(answer));
    let both = at("both", any_port(), 0).and(ListenAddress::Internal);
    lds(&listeners, [inner(0), both]).await;
    let first = listeners.enter("inner", Peer::Unix).expect("there is room");
    let refused = listeners
        .enter("inner", Peer::Unix)
        .expect_err("it is full");
    assert_eq!(refused, Refusal::ListenerLimit);
    let entered = listeners
        .enter("both", Peer::Unknown)
        .expect("there is room");
    assert_eq!(entered.version.name(), "both");
    drop((first, entered));
    let address = port(&listeners, "both");
    assert_eq!(ask(address).await.expect("its socket"), 2);
    // An admin drain covers it too.
    let drained = listeners.drain(
        drain_tree::DrainDirection::All,
        listener_versions::AcceptPolicy::StopNow,
    );
    assert_eq!(drained.len(), 2);
    assert!(drained.iter().all(|version| {
        version
            .drain
            .as_ref()
            .is_some_and(|drain| drain.reason == DrainReason::Admin)
    }));
    assert!(listeners.enter("inner", Peer::Unknown).is_err());
}
