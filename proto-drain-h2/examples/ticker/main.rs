//! A gRPC stream that would run for ever sees the drain of its connection and ends in its own
//! words; a tonic route, served over hyper-util, unmodified. Client and server in one process; it
//! ends by itself after a second.
//!
//! ```text
//! cargo run -p proto-drain-h2 --example ticker --features hyper-util
//! ```

mod ticker;

use std::error::Error;
use std::pin::Pin;
use std::time::Duration;

use drain_signal::{DrainEvent, DrainReason, DrainStrategy, DrainWatch, drive};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use proto_drain_h2::{H2Drain, H2DrainSettings, NoticeFirst, RequestDrain, WithDrain};
use ticker::ticker_client::TickerClient;
use ticker::ticker_server::{Ticker, TickerServer};
use ticker::{CountRequest, Tick};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::Stream;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

#[derive(Debug)]
struct Counting;

#[tonic::async_trait]
impl Ticker for Counting {
    type CountStream = Pin<Box<dyn Stream<Item = Result<Tick, Status>> + Send>>;

    async fn count(
        &self,
        request: Request<CountRequest>,
    ) -> Result<Response<Self::CountStream>, Status> {
        let drain = request.extensions().get::<RequestDrain>().cloned();
        let drain = drain.ok_or_else(|| Status::internal("served without WithDrain"))?;
        let every = Duration::from_millis(u64::from(request.get_ref().every_ms.max(1)));
        let (send, receive) = mpsc::channel(1);
        tokio::spawn(async move {
            let handle = drain.handle();
            for number in 1.. {
                tokio::select! {
                    () = tokio::time::sleep(every) => {}
                    _told = handle.signaled() => break,
                }
                if send.send(Ok(Tick { number })).await.is_err() {
                    return;
                }
            }
            let left = drain
                .deadline()
                .map(|deadline| deadline - Instant::now().into_std());
            println!("handler: my connection leaves, I would have {left:?} more");
            // The code that clients of gRPC retry, on the connection that they open next. If no
            // client listens any more, that is all the same.
            send.send(Err(Status::unavailable("draining, come back")))
                .await
                .ok();
        });
        Ok(Response::new(Box::pin(
            tokio_stream::wrappers::ReceiverStream::new(receive),
        )))
    }
}

/// Serves one connection under `watch`.
async fn serve(socket: TcpStream, watch: DrainWatch) {
    let settings = H2DrainSettings::default().with_drain_timeout(Duration::from_secs(1));
    let routes = Routes::new(TickerServer::new(Counting));
    let connection = H2Drain::new(settings).connection(socket, |io, parts| {
        let service = parts.service(TowerToHyperService::new(routes));
        let service = WithDrain::new(service, watch.handle()).to_long_streams();
        let service = NoticeFirst::new(
            service,
            watch.handle(),
            watch.handle(),
            parts.handle().clone(),
        );
        auto::Builder::new(TokioExecutor::new())
            .serve_connection_with_upgrades(TokioIo::new(io), service)
            .into_owned()
    });
    let closed = drive(connection, watch).await;
    println!("connection: {}", closed.cause.as_str());
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    let (trigger, signal) = drain_signal::channel();
    let watch = signal.watch()?;
    let server = tokio::spawn(async move {
        if let Ok((socket, _)) = listener.accept().await {
            serve(socket, watch).await;
        }
    });

    let client = tokio::spawn(async move {
        let mut client = TickerClient::connect(address).await?;
        let mut ticks = client
            .count(CountRequest { every_ms: 250 })
            .await?
            .into_inner();
        let ended = loop {
            match ticks.message().await {
                Ok(Some(tick)) => println!("client: tick {}", tick.number),
                Ok(None) => break Ok(()),
                Err(status) => break Err(status),
            }
        };
        println!("client: {ended:?}");
        Ok::<_, Box<dyn Error + Send + Sync>>(())
    });

    tokio::time::sleep(Duration::from_secs(1)).await;
    println!("drain: thirty seconds");
    let drain_time = Duration::from_secs(30);
    let event = DrainEvent::new(
        Instant::now().into_std(),
        drain_time,
        DrainReason::ProcessShutdown,
    )
    .with_strategy(DrainStrategy::Immediate);
    let draining = trigger.start(event);
    draining.advance(Instant::now().into_std());
    let begun = Instant::now();
    draining.drained().await;
    println!("drain: over after {:.1} s", begun.elapsed().as_secs_f64());
    server.await?;
    client.await??;
    Ok(())
}
