//! What serves the connections of a listener's filter chains.

use std::sync::Arc;

use hyper::service::service_fn;
use orion_drain::config::{FilterChain, HttpConnectionManager, Listener, NetworkFilter, TcpProxy};
use orion_drain::conn_tracker::CloseReason;
use orion_drain::listener::{Entered, ServedListener};
use orion_drain::listener_versions::Accepted;
use orion_drain::proto_drain_tcp::{CopyOptions, TcpDrainPolicy};
use orion_drain::serve::{HttpServer, serve_http, serve_tcp};
use orion_drain::stats::{Stats, TcpStats};

use crate::proxy::Proxy;
use crate::upstream::Clusters;

/// One configuration of a listener, made ready once: connections only look things up.
pub(crate) type EdgeListener = ServedListener<ChainService>;

/// What serves the connections of a filter chain.
#[derive(Debug)]
pub(crate) enum ChainService {
    Http(Box<HttpServer>, Proxy),
    Tcp {
        cluster: String,
        options: CopyOptions,
        clusters: Clusters,
        stats: Arc<TcpStats>,
    },
    /// A chain without a filter that serves: connections are closed.
    Nothing,
}

/// A listener with what serves its chains.
pub(crate) fn edge_listener(listener: Listener, clusters: &Clusters, stats: &Stats) -> EdgeListener {
    ServedListener::new(listener, stats, |listener, chain: &FilterChain| {
        let buffer = listener.per_connection_buffer_limit_bytes;
        match chain.terminal() {
            Some(NetworkFilter::HttpConnectionManager(manager)) => http(manager, buffer, clusters, stats),
            Some(NetworkFilter::TcpProxy(proxy)) => tcp(proxy, buffer, clusters, stats),
            _ => ChainService::Nothing,
        }
    })
}

/// Serves one accepted connection to its end.
pub(crate) async fn serve(accepted: Accepted<EdgeListener>) {
    // A connection that no chain takes is closed without an answer.
    let Some(Entered {
        stream,
        connection,
        service,
        counted,
        ..
    }) = Entered::new(accepted)
    else {
        return;
    };
    match &*service {
        ChainService::Http(server, proxy) => {
            let proxy = proxy.clone();
            let service = service_fn(move |request| proxy.clone().answer(request));
            // How a client broke off is its own affair; how we closed is in the statistics.
            let _ = serve_http(stream, service, connection, server).await;
        }
        ChainService::Tcp {
            cluster,
            options,
            clusters,
            stats,
        } => match clusters.connect(cluster).await {
            Ok(upstream) => {
                let _ = serve_tcp(stream, upstream, connection, *options, stats).await;
            }
            Err(_) => connection.guard().set_close_reason(CloseReason::Error),
        },
        ChainService::Nothing => {}
    }
    drop(counted);
}

fn http(
    manager: &HttpConnectionManager,
    buffer: Option<u32>,
    clusters: &Clusters,
    stats: &Stats,
) -> ChainService {
    let stats = stats.http(&manager.stat_prefix);
    let mut server = HttpServer::new(manager.codec_type, &manager.timeouts(), stats);
    if let Some(bytes) = buffer {
        server = server.with_buffer_limit(bytes);
    }
    ChainService::Http(
        Box::new(server),
        Proxy {
            manager: Arc::new(manager.clone()),
            clusters: clusters.clone(),
        },
    )
}

fn tcp(proxy: &TcpProxy, buffer: Option<u32>, clusters: &Clusters, stats: &Stats) -> ChainService {
    let mut options = CopyOptions::new();
    if proxy.check_drain_close {
        options = options.with_policy(TcpDrainPolicy::CheckOnData);
    }
    if let Some(bytes) = buffer {
        options = options.with_chunk(bytes as usize);
    }
    let stats = stats.tcp(&proxy.stat_prefix);
    ChainService::Tcp {
        cluster: proxy.cluster.clone(),
        options,
        clusters: clusters.clone(),
        stats,
    }
}
