//! A listener's configuration as versions need it, and what its connections are served with.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use orion_drain::config::{
    FilterChain, HttpConnectionManager, Listener, NetworkFilter, TcpProxy, choose_chain,
};
use orion_drain::conn_tracker::CloseReason;
use orion_drain::drain_tree::{DrainType, TrafficDirection};
use orion_drain::listener_versions::{
    Accepted, ChainConnection, ChainId, ListenAddress, ListenerConfig, Stream,
};
use orion_drain::proto_drain_tcp::{CopyOptions, TcpDrainPolicy};
use orion_drain::serve::{Connection, HttpServer, serve_http, serve_tcp};
use orion_drain::stats::{ListenerStats, Stats, TcpStats};

use crate::proxy::Proxy;
use crate::upstream::Clusters;

/// One configuration of a listener, made ready once: connections only look things up.
#[derive(Debug)]
pub(crate) struct EdgeListener {
    listener: Listener,
    address: ListenAddress,
    /// One per filter chain, in the order of [`Listener::all_chains`].
    services: Vec<Arc<ChainService>>,
    stats: Arc<ListenerStats>,
}

/// What serves the connections of a filter chain.
#[derive(Debug)]
enum ChainService {
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

impl EdgeListener {
    pub(crate) fn new(listener: Listener, clusters: &Clusters, stats: &Stats) -> Self {
        let buffer = listener.per_connection_buffer_limit_bytes;
        let service = |chain: &FilterChain| match chain.terminal() {
            Some(NetworkFilter::HttpConnectionManager(manager)) => http(manager, buffer, clusters, stats),
            Some(NetworkFilter::TcpProxy(proxy)) => tcp(proxy, buffer, clusters, stats),
            _ => ChainService::Nothing,
        };
        Self {
            address: ListenAddress::from(&listener.address),
            services: listener.all_chains().map(service).map(Arc::new).collect(),
            stats: stats.listener(&listener.address.to_string()),
            listener,
        }
    }

    /// Serves one accepted connection to its end.
    pub(crate) async fn serve(accepted: Accepted<Self>) {
        if let Stream::Tcp(tcp) = &accepted.stream {
            // Small frames (HTTP/2 HEADERS, then DATA) must not wait for each other's acknowledgements.
            tcp.set_nodelay(true).ok();
        }
        let _counted = accepted.version.config().stats.connection();
        let source = accepted.peer.as_socket().map(|peer| peer.ip());
        let port = accepted.local.as_socket().map(|local| local.port());
        // A connection that no chain takes is closed without an answer.
        let Ok(entered) = accepted.enter_chain(|listener| listener.choose(source, port)) else {
            return;
        };
        let ChainConnection {
            stream,
            version,
            chain,
            index,
            watch,
            conn,
            ..
        } = entered;
        let connection = Connection::new(chain.drain(), watch, conn);
        // It holds what serves its chain, and nothing of the listener's other chains: they may be changed or gone long before it ends.
        let service = version.config().services.get(index).cloned();
        drop((version, chain));
        match service.as_deref() {
            Some(ChainService::Http(server, proxy)) => {
                let proxy = proxy.clone();
                let service = service_fn(move |request| proxy.clone().answer(request));
                // How a client broke off is its own affair; how we closed is in the statistics.
                let _ = serve_http(stream, service, connection, server).await;
            }
            Some(ChainService::Tcp {
                cluster,
                options,
                clusters,
                stats,
            }) => match clusters.connect(cluster).await {
                Ok(upstream) => {
                    let _ = serve_tcp(stream, upstream, connection, *options, stats).await;
                }
                Err(_) => connection.guard().set_close_reason(CloseReason::Error),
            },
            Some(ChainService::Nothing) | None => {}
        }
    }

    fn choose(&self, source: Option<IpAddr>, port: Option<u16>) -> Option<usize> {
        let chosen = choose_chain(&self.listener, source, port)?;
        self.listener
            .all_chains()
            .position(|chain| std::ptr::eq(chain, chosen))
    }

    /// Whether this chain takes what no other takes.
    fn is_default(&self, chain: usize) -> bool {
        chain >= self.listener.filter_chains.len()
    }
}

impl ListenerConfig for EdgeListener {
    fn name(&self) -> &str {
        &self.listener.name
    }

    fn address(&self) -> &ListenAddress {
        &self.address
    }

    fn same_content(&self, other: &Self) -> bool {
        self.listener.same_content(&other.listener)
    }

    fn chains(&self) -> Vec<ChainId> {
        let chains = self.listener.all_chains().enumerate();
        chains
            .map(|(index, chain)| identity(chain, self.is_default(index)))
            .collect()
    }

    fn same_chain(&self, index: usize, other: &Self, other_index: usize) -> bool {
        let chain = self.listener.all_chains().nth(index);
        self.is_default(index) == other.is_default(other_index)
            && chain == other.listener.all_chains().nth(other_index)
    }

    fn differs_only_in_chains(&self, other: &Self) -> bool {
        self.listener.differs_only_in_chains(&other.listener)
    }

    fn drain_type(&self) -> DrainType {
        self.listener.drain_type
    }

    fn drain_timeout(&self) -> Duration {
        let managers = self
            .listener
            .all_chains()
            .filter_map(|chain| match chain.terminal() {
                Some(NetworkFilter::HttpConnectionManager(manager)) => Some(manager.timeouts().drain),
                _ => None,
            });
        managers.max().unwrap_or_default()
    }

    fn traffic_direction(&self) -> TrafficDirection {
        self.listener.traffic_direction
    }
}

/// A chain's name; without one, the connections that it takes: no two chains of a listener take the same.
fn identity(chain: &FilterChain, is_default: bool) -> ChainId {
    if !chain.name.is_empty() {
        return ChainId::from(&*chain.name);
    }
    let rule = chain.filter_chain_match.as_ref();
    let ranges = rule.into_iter().flat_map(|rule| &rule.source_prefix_ranges);
    let ranges = ranges.map(|range| format!("{}/{}", range.address_prefix, range.prefix_len));
    let port = rule.and_then(|rule| rule.destination_port);
    let parts: Vec<String> = ranges.chain(port.map(|port| format!("to port {port}"))).collect();
    match (is_default, parts.is_empty()) {
        (true, _) => ChainId::from("default"),
        (false, true) => ChainId::from("all"),
        (false, false) => ChainId::from(parts.join(" ")),
    }
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
