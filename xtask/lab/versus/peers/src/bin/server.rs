//! `server KIND ADDRESS SECONDS LEAD`: the application behind one server, which SIGTERM ends by the
//! server's own means.
//!
//! `SECONDS` is the drain time where the server knows one. `LEAD` is ours alone: how long all is
//! served as ever before the drain begins.

use std::net::SocketAddr;
use std::time::Duration;

use axum_server::Handle;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use orion_drain::conn_tracker::ConnTracker;
use orion_drain::drain_tree::{DrainManager, DrainSettings};
use orion_drain::lifecycle::{ShutdownSettings, shut_down};
use orion_drain::listener_versions::{Listeners, ListenersOptions, Update};
use orion_drain::serve::{Http, ListenOn, serve};
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::Routes;
use versus_peers::{app, terminated};

type Outcome = Result<(), Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, address, seconds, lead] = arguments.as_slice() else {
        return Err("KIND ADDRESS SECONDS LEAD".into());
    };
    let (address, limit) = (address.parse()?, Duration::from_secs(seconds.parse()?));
    match kind.as_str() {
        "ours-axum" => {
            ours(
                address,
                limit,
                Duration::from_secs(lead.parse()?),
                app::router(),
            )
            .await
        }
        "ours-tonic" => {
            let routes = Routes::from(app::router());
            ours(
                address,
                limit,
                Duration::from_secs(lead.parse()?),
                routes.into_axum_router(),
            )
            .await
        }
        "axum" => by_axum(address).await,
        "axum-server" => by_axum_server(address, limit).await,
        "tonic" => by_tonic(address).await,
        "hyper-util" => by_hyper_util(address, limit).await,
        "tokio-graceful" => by_tokio_graceful(address, limit).await,
        other => Err(format!("no server {other}").into()),
    }
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

async fn ours(
    address: SocketAddr,
    limit: Duration,
    lead: Duration,
    router: axum::Router,
) -> Outcome {
    let settings = DrainSettings::default()
        .with_drain_time(limit)
        .with_shutdown_minimum(Duration::ZERO);
    let root = DrainManager::root(settings);
    let (listeners, driver) =
        Listeners::new(root, ConnTracker::new(), ListenersOptions::default(), ());
    tokio::spawn(driver);
    tokio::spawn(serve(&listeners, Http::tower(router)));
    let report = listeners
        .apply(Update::bootstrap([ListenOn::new("http", address.into())]))
        .await;
    if let Some(error) = report.errors().next() {
        return Err(error.to_string().into());
    }
    terminated().await;
    shut_down(&listeners, ShutdownSettings::default().with_lead_time(lead)).await;
    Ok(())
}

/// `axum::serve` has no deadline.
async fn by_axum(address: SocketAddr) -> Outcome {
    let serving = axum::serve(bind(address)?, app::router());
    Ok(serving.with_graceful_shutdown(terminated()).await?)
}

async fn by_axum_server(address: SocketAddr, limit: Duration) -> Outcome {
    let handle = Handle::new();
    let asked = handle.clone();
    tokio::spawn(async move {
        terminated().await;
        asked.graceful_shutdown(Some(limit));
    });
    let server = axum_server::bind(address).handle(handle);
    Ok(server.serve(app::router().into_make_service()).await?)
}

/// tonic's server has no deadline.
async fn by_tonic(address: SocketAddr) -> Outcome {
    let incoming = TcpListenerStream::new(bind(address)?);
    let server = tonic::transport::Server::builder()
        .accept_http1(true)
        .add_routes(Routes::from(app::router()));
    Ok(server
        .serve_with_incoming_shutdown(incoming, terminated())
        .await?)
}

/// As the documentation of `GracefulShutdown` shows it, with the timer of its example.
async fn by_hyper_util(address: SocketAddr, limit: Duration) -> Outcome {
    let listener = bind(address)?;
    let graceful = GracefulShutdown::new();
    let mut end = std::pin::pin!(terminated());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut end => break,
        };
        let Ok((stream, _)) = accepted else { continue };
        let service = TowerToHyperService::new(app::router());
        let connection = auto::Builder::new(TokioExecutor::new())
            .serve_connection_with_upgrades(TokioIo::new(stream), service)
            .into_owned();
        let watched = graceful.watch(connection);
        tokio::spawn(async move { watched.await.ok() });
    }
    drop(listener);
    tokio::select! {
        () = graceful.shutdown() => {}
        () = sleep(limit) => {}
    }
    Ok(())
}

/// As its example for hyper: each connection is asked to end when the guard is cancelled.
async fn by_tokio_graceful(address: SocketAddr, limit: Duration) -> Outcome {
    let listener = bind(address)?;
    let shutdown = tokio_graceful::Shutdown::new(terminated());
    shutdown.spawn_task_fn(async move |guard| {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = guard.cancelled() => return,
            };
            let Ok((stream, _)) = accepted else { continue };
            guard.spawn_task_fn(async move |guard| {
                let service = TowerToHyperService::new(app::router());
                let builder = auto::Builder::new(TokioExecutor::new());
                let connection =
                    builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
                let mut connection = std::pin::pin!(connection);
                tokio::select! {
                    _ = connection.as_mut() => return,
                    () = guard.cancelled() => connection.as_mut().graceful_shutdown(),
                }
                connection.await.ok();
            });
        }
    });
    // A limit that passes is how it ends, and nothing that went wrong.
    timeout(limit * 2, shutdown.shutdown_with_limit(limit))
        .await
        .ok();
    Ok(())
}
