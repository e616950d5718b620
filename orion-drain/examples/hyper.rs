//! A hyper service over HTTP/1.1 and HTTP/2. On SIGTERM responses say `connection: close`, HTTP/2
//! sends both GOAWAYs, and requests that are open are answered.
//!
//! `cargo run -p orion-drain --example hyper -- 127.0.0.1:8080`
use std::convert::Infallible;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use orion_drain::drain_tree::{DrainManager, DrainSettings};
use orion_drain::lifecycle::{Signals, shut_down};
use orion_drain::listener_versions::{Listeners, Update};
use orion_drain::serve::{Http, ListenOn, ReceivedBody, serve};

async fn answer(_: Request<ReceivedBody>) -> Result<Response<Full<Bytes>>, Infallible> {
    // Slow enough to be open when the drain starts.
    tokio::time::sleep(Duration::from_millis(20)).await;
    Ok(Response::new(Full::new(Bytes::from_static(b"hello"))))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).context("usage: hyper ADDRESS")?;
    let mut signals = Signals::new()?;
    let settings = DrainSettings::default().with_drain_time(Duration::from_secs(8));
    let root = DrainManager::root(settings.with_shutdown_minimum(Duration::from_secs(1)));
    let (listeners, driver) = Listeners::new(root, Default::default(), Default::default(), ());
    tokio::spawn(driver);
    tokio::spawn(serve(&listeners, Http::new(service_fn(answer))));
    let on = ListenOn::new("web", address.parse()?);
    listeners.apply(Update::put(on)).await.into_result()?;
    let local = listeners.local_address("web").context("no address")?;
    println!("listening on {local}");

    signals.next().await;
    let outcome = shut_down(&listeners, Default::default()).await;
    println!("drained, {} left", outcome.left);
    Ok(())
}
