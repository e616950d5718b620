//! An axum router. On SIGTERM responses say `close`; event streams and WebSockets send `bye`.
//!
//! `cargo run -p orion-drain --example axum -- 127.0.0.1:8080`
use anyhow::Context as _;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::response::sse::{Event, Sse};
use axum::{Extension, Router, response::Response, routing::get};
use futures_util::{Stream, StreamExt as _, stream};
use orion_drain::drain_tree::{DrainManager, DrainSettings};
use orion_drain::lifecycle::{Signals, shut_down};
use orion_drain::listener_versions::{Listeners, Update};
use orion_drain::serve::{Connection, Http, ListenOn, serve};
use tokio::time::{Duration, sleep};

type Peer = Extension<Connection>;

async fn events(Extension(peer): Peer) -> Sse<impl Stream<Item = Result<Event, axum::Error>>> {
    let numbers = stream::unfold(0, async |number: u64| {
        sleep(Duration::from_millis(100)).await;
        Some((number.to_string(), number + 1))
    });
    let numbers = numbers.take_until(peer.drain().clone().signaled_owned());
    let events = numbers.chain(stream::iter(["bye".to_owned()]));
    Sse::new(events.map(|text| Ok(Event::default().data(text))))
}

async fn web_socket(Extension(peer): Peer, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async move |mut socket| {
        while let Some(Some(Ok(got))) = peer.drain().run_until_signaled(socket.recv()).await {
            socket.send(got).await.ok();
        }
        // The client closes when it has what it asked for.
        socket.send(Message::text("bye")).await.ok();
        while let Some(Ok(got)) = socket.recv().await {
            socket.send(got).await.ok();
        }
    })
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).context("usage: axum ADDRESS")?;
    let mut signals = Signals::new()?;
    let router = Router::new().route("/", get(async || "hello"));
    let router = router.route("/events", get(events));
    let router = router.route("/ws", get(web_socket));
    let settings = DrainSettings::default().with_drain_time(Duration::from_secs(8));
    let root = DrainManager::root(settings.with_shutdown_minimum(Duration::from_secs(1)));
    let (listeners, driver) = Listeners::new(root, Default::default(), Default::default(), ());
    tokio::spawn(driver);
    tokio::spawn(serve(&listeners, Http::tower(router)));
    let on = ListenOn::new("web", address.parse()?);
    listeners.apply(Update::put(on)).await.into_result()?;
    let local = listeners.local_address("web").context("no address")?;
    println!("listening on {local}");
    signals.next().await;
    let outcome = shut_down(&listeners, Default::default()).await;
    println!("drained, {} left", outcome.left);
    Ok(())
}
