//! `serve` on sockets: an axum router and a TCP handler, accepted, tracked, drained and closed.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use orion_drain::conn_tracker::{CloseReason, ConnProtocol, ConnTracker};
use orion_drain::drain_tree::{DrainEnding, DrainManager, DrainSettings, DrainStrategy};
use orion_drain::lifecycle::{ShutdownOutcome, ShutdownSettings, shut_down};
use orion_drain::listener_versions::{Listeners, ListenersOptions, Stream, Update};
use orion_drain::serve::{Connection, Handler, Http, ListenOn, Tcp, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

struct Server {
    root: DrainManager,
    tracker: ConnTracker,
    listeners: Listeners<ListenOn>,
    to: SocketAddr,
    serving: JoinHandle<()>,
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .unwrap_or_else(|_| panic!("{what} did not happen"))
}

async fn server(handler: impl Handler<ListenOn>) -> Server {
    let settings = DrainSettings::default()
        .with_drain_time(Duration::from_secs(40))
        .with_shutdown_minimum(Duration::ZERO)
        .with_strategy(DrainStrategy::Immediate);
    let root = DrainManager::root(settings);
    let tracker = ConnTracker::new();
    let (listeners, driver) = Listeners::new(
        root.clone(),
        tracker.clone(),
        ListenersOptions::default(),
        (),
    );
    tokio::spawn(driver);
    let serving = tokio::spawn(serve(&listeners, handler));
    let address = "127.0.0.1:0".parse().expect("an address");
    let report = listeners
        .apply(Update::bootstrap([ListenOn::new("in", address)]))
        .await;
    assert!(report.is_success());
    let to = listeners
        .local_address("in")
        .and_then(|local| local.as_socket());
    Server {
        root,
        tracker,
        listeners,
        to: to.expect("it listens"),
        serving,
    }
}

fn ending(outcome: &ShutdownOutcome) -> Option<DrainEnding> {
    outcome.drain.map(|drain| drain.ending)
}

/// Whether the response says that the connection is closed.
async fn is_told(client: &mut TcpStream) -> bool {
    let answer = within("an answer", rig::h1::get(client, "/word")).await;
    let (head, body) = answer.expect("a whole response");
    assert_eq!(body, "hello");
    head.close()
}

#[tokio::test]
async fn an_axum_router_is_drained_with_its_process() {
    let router = Router::new().route("/word", get(|| async { "hello" }));
    let server = server(Http::tower(router)).await;
    let mut client = TcpStream::connect(server.to).await.expect("it listens");
    assert!(!is_told(&mut client).await);
    assert_eq!(server.tracker.snapshot()[0].protocol, ConnProtocol::Http1);
    let listeners = server.listeners.clone();
    let drain =
        tokio::spawn(async move { shut_down(&listeners, ShutdownSettings::default()).await });
    within("the drain", async {
        while !server.root.is_draining() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(is_told(&mut client).await);
    let mut rest = Vec::new();
    within("the end", client.read_to_end(&mut rest))
        .await
        .expect("a FIN");
    drop(client);
    let outcome = within("the drain", drain).await.expect("it runs");
    assert_eq!(
        (ending(&outcome), outcome.left),
        (Some(DrainEnding::Empty), 0)
    );
    assert!(
        TcpStream::connect(server.to).await.is_err(),
        "it accepts no more"
    );
    assert_eq!(server.tracker.closed(CloseReason::Drained), 1);
}

#[tokio::test]
async fn a_tcp_handler_hears_of_its_slot_and_says_its_own_goodbye() {
    async fn lines(mut stream: Stream, connection: Connection) {
        connection.drain().signaled().await;
        stream.write_all(b"bye\n").await.expect("it is open");
        stream.shutdown().await.expect("it is open");
    }
    let server = server(Tcp::new(lines)).await;
    let mut client = TcpStream::connect(server.to).await.expect("it listens");
    within("the accept", async {
        while server.tracker.is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(server.tracker.snapshot()[0].protocol, ConnProtocol::Tcp);
    let outcome = within(
        "the drain",
        shut_down(&server.listeners, ShutdownSettings::default()),
    )
    .await;
    assert_eq!(
        (ending(&outcome), outcome.left),
        (Some(DrainEnding::Empty), 0)
    );
    let mut said = String::new();
    within("the end", client.read_to_string(&mut said))
        .await
        .expect("a FIN");
    assert_eq!(said, "bye\n");
}

#[tokio::test]
async fn serving_ends_with_the_last_handle_of_the_listeners() {
    let server = server(Tcp::new(|_: Stream, _: Connection| async {})).await;
    drop(server.listeners);
    within("the end", server.serving).await.expect("it runs");
}
