//! Where requests and bytes go: static clusters, one pooled client for all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use orion_drain::config::Cluster;
use orion_drain::serve::ReceivedBody;
use tokio::net::TcpStream;

/// The client that all HTTP clusters share; it keeps its connections per address.
pub(crate) type HttpClient = Client<HttpConnector, ReceivedBody>;

/// The clusters of the bootstrap, by name.
#[derive(Debug, Clone)]
pub(crate) struct Clusters {
    by_name: Arc<BTreeMap<String, Endpoints>>,
    client: HttpClient,
}

#[derive(Debug)]
struct Endpoints {
    addresses: Vec<SocketAddr>,
    connect_timeout: Duration,
    next: AtomicUsize,
}

impl Clusters {
    pub(crate) fn new(clusters: &[Cluster]) -> Self {
        let by_name = clusters.iter().map(|cluster| {
            let addresses = cluster
                .addresses()
                .filter_map(|address| address.socket_addr())
                .collect();
            let endpoints = Endpoints {
                addresses,
                connect_timeout: cluster.connect_limit(),
                next: AtomicUsize::new(0),
            };
            (cluster.name.clone(), endpoints)
        });
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(60))
            .build(connector);
        Self {
            by_name: Arc::new(by_name.collect()),
            client,
        }
    }

    pub(crate) const fn client(&self) -> &HttpClient {
        &self.client
    }

    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.by_name.keys().cloned().collect()
    }

    /// The next endpoint of a cluster, in turn.
    pub(crate) fn next(&self, cluster: &str) -> Option<SocketAddr> {
        self.by_name.get(cluster)?.next()
    }

    /// A TCP connection to the next endpoint of a cluster.
    pub(crate) async fn connect(&self, cluster: &str) -> io::Result<TcpStream> {
        let not_found = || {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("cluster `{cluster}` has no endpoint"),
            )
        };
        let endpoints = self.by_name.get(cluster).ok_or_else(not_found)?;
        let address = endpoints.next().ok_or_else(not_found)?;
        let stream = tokio::time::timeout(endpoints.connect_timeout, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Endpoints {
    fn next(&self) -> Option<SocketAddr> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.addresses
            .get(turn.checked_rem(self.addresses.len())?)
            .copied()
    }
}
