//! Connections of the `h2` crate, without hyper. On SIGTERM each connection sends both GOAWAYs, and
//! streams that are open are answered.
//!
//! `cargo run -p orion-drain --example h2 -- 127.0.0.1:8080`
use std::time::Duration;

use anyhow::Context as _;
use http::Response;
use orion_drain::drain_signal::drive_held;
use orion_drain::drain_tree::{DrainManager, DrainSettings};
use orion_drain::lifecycle::{Signals, shut_down};
use orion_drain::listener_versions::{Accepted, Listeners, Update};
use orion_drain::proto_drain_h2::{H2Drain, H2DrainSettings, ServeStreams};
use orion_drain::serve::{Connection, ListenOn, serve};

async fn connection(accepted: Accepted<ListenOn>, drain: H2Drain) {
    let peer = Connection::of(&accepted.version, accepted.watch, accepted.conn);
    let connection = drain.connection(accepted.stream, |io, _| {
        ServeStreams::new(io, &h2::server::Builder::new(), |_request, mut respond| {
            tokio::spawn(async move {
                // Slow enough to be open when the drain starts.
                tokio::time::sleep(Duration::from_millis(20)).await;
                // A client whose stream has failed sees that on its stream.
                respond.send_response(Response::new(()), true).ok();
            });
        })
    });
    drive_held(connection, peer.drain().clone()).await;
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).context("usage: h2 ADDRESS")?;
    let mut signals = Signals::new()?;
    let drain = H2Drain::new(H2DrainSettings::default());
    let handler = move |accepted| connection(accepted, drain.clone());
    let settings = DrainSettings::default().with_drain_time(Duration::from_secs(8));
    let root = DrainManager::root(settings.with_shutdown_minimum(Duration::from_secs(1)));
    let (listeners, driver) = Listeners::new(root, Default::default(), Default::default(), ());
    tokio::spawn(driver);
    tokio::spawn(serve(&listeners, handler));
    let on = ListenOn::new("h2", address.parse()?);
    listeners.apply(Update::put(on)).await.into_result()?;
    let local = listeners.local_address("h2").context("no address")?;
    println!("listening on {local}");

    signals.next().await;
    let outcome = shut_down(&listeners, Default::default()).await;
    println!("drained, {} left", outcome.left);
    Ok(())
}
