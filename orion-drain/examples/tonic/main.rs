//! A gRPC server stream of tonic. On SIGTERM it ends with a status that clients retry.
//!
//! `cargo run -p orion-drain --example tonic -- 127.0.0.1:50051`
mod ticker;

use std::pin::Pin;

use anyhow::Context as _;
use futures_util::{Stream, StreamExt as _, stream};
use orion_drain::drain_tree::{DrainManager, DrainSettings};
use orion_drain::lifecycle::{Signals, shut_down};
use orion_drain::listener_versions::{Listeners, Update};
use orion_drain::serve::{Connection, Http, ListenOn, serve};
use ticker::ticker_server::{Ticker, TickerServer};
use ticker::{CountRequest, Tick};
use tokio::time::{Duration, sleep};
use tonic::{Request, Response, Status, service::Routes};

#[derive(Debug)]
struct Counting;

type Ticks = Pin<Box<dyn Stream<Item = Result<Tick, Status>> + Send>>;

#[tonic::async_trait]
impl Ticker for Counting {
    type CountStream = Ticks;

    async fn count(&self, asked: Request<CountRequest>) -> Result<Response<Ticks>, Status> {
        let peer = asked.extensions().get::<Connection>();
        let peer = peer.ok_or_else(|| Status::internal("not served by serve"))?;
        let every = Duration::from_millis(asked.get_ref().every_ms.into());
        let ticks = stream::unfold(1, move |number| async move {
            sleep(every).await;
            Some((Ok(Tick { number }), number + 1))
        });
        let ticks = ticks.take_until(peer.drain().clone().signaled_owned());
        let bye = Err(Status::unavailable("draining: retry on another connection"));
        Ok(Response::new(Box::pin(ticks.chain(stream::iter([bye])))))
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).context("usage: tonic ADDRESS")?;
    let mut signals = Signals::new()?;
    let routes = Routes::new(TickerServer::new(Counting)).into_axum_router();
    let settings = DrainSettings::default().with_drain_time(Duration::from_secs(8));
    let root = DrainManager::root(settings.with_shutdown_minimum(Duration::from_secs(1)));
    let (listeners, driver) = Listeners::new(root, Default::default(), Default::default(), ());
    tokio::spawn(driver);
    tokio::spawn(serve(&listeners, Http::tower(routes)));
    let on = ListenOn::new("grpc", address.parse()?);
    listeners.apply(Update::put(on)).await.into_result()?;
    let local = listeners.local_address("grpc").context("no address")?;
    println!("listening on {local}");
    signals.next().await;
    let outcome = shut_down(&listeners, Default::default()).await;
    println!("drained, {} left", outcome.left);
    Ok(())
}
