//! A server on hyper-util that changes its configuration as many do: it binds again, and lets
//! `GracefulShutdown` end the rest.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::http::HeaderValue;
use axum::middleware::map_response;
use axum::response::Response;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How old connections are ended at a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Old {
    /// `GracefulShutdown`, for so long at most.
    Graceful(Duration),
    /// Dropped at once: broken on purpose, to see that the clients notice.
    Dropped,
}

/// Serves: SIGHUP is a change, SIGTERM the end.
pub async fn serve(address: SocketAddr, first: u32, old: Old) -> std::io::Result<()> {
    let mut change = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut draining = JoinSet::new();
    for version in first.. {
        let listener = bind(address)?;
        println!("serving version {version}");
        let graceful = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        let last = accept(
            &listener,
            version,
            &graceful,
            &mut connections,
            [&mut change, &mut terminate],
        )
        .await;
        drop(listener);
        match old {
            Old::Dropped => connections.shutdown().await,
            Old::Graceful(limit) => {
                draining.spawn(async move {
                    // What is left at the limit is dropped with the set.
                    timeout(limit, graceful.shutdown()).await.ok();
                    connections.shutdown().await;
                });
            }
        }
        if last {
            break;
        }
    }
    draining.join_all().await;
    Ok(())
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    // A process that follows binds beside this one.
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    socket.listen(4096)
}

/// Serves what comes until a signal; whether it was the last one.
async fn accept(
    listener: &TcpListener,
    version: u32,
    graceful: &GracefulShutdown,
    connections: &mut JoinSet<()>,
    [change, terminate]: [&mut Signal; 2],
) -> bool {
    let router = versioned(version);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = change.recv() => return false,
            _ = terminate.recv() => return true,
        };
        let Ok((stream, _)) = accepted else { continue };
        stream.set_nodelay(true).ok();
        let service = TowerToHyperService::new(router.clone());
        let connection = auto::Builder::new(TokioExecutor::new())
            .serve_connection_with_upgrades(TokioIo::new(stream), service)
            .into_owned();
        let watched = graceful.watch(connection);
        connections.spawn(async move {
            // How a connection ends is judged by its client.
            watched.await.ok();
        });
        while connections.try_join_next().is_some() {}
    }
}

fn versioned(version: u32) -> Router {
    let value = HeaderValue::from(version);
    crate::app::router().layer(map_response(move |mut response: Response| {
        let value = value.clone();
        async move {
            response.headers_mut().insert("x-listener-version", value);
            response
        }
    }))
}
