//! Where requests and bytes go: static clusters, whose endpoints take turns.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use orion_drain::config::Cluster;
use tokio::net::TcpStream;

use crate::timeout::RequestBody;
use crate::upstream_h2::Http2;

/// The clusters of the bootstrap, by name.
#[derive(Debug, Clone)]
pub(crate) struct Clusters {
    by_name: Arc<BTreeMap<String, Endpoints>>,
}

#[derive(Debug)]
struct Endpoints {
    endpoints: Vec<Endpoint>,
    connect_timeout: Duration,
    next: AtomicUsize,
}

#[derive(Debug)]
struct Endpoint {
    address: SocketAddr,
    http: Upstream,
}

/// An endpoint as a request sees it.
#[derive(Debug)]
pub(crate) enum Upstream {
    /// HTTP/1.1, by a client that pools its connections by address.
    Http1(SocketAddr, Box<Client<HttpConnector, RequestBody>>),
    /// HTTP/2.
    Http2(Http2),
}

impl Upstream {
    /// Sends a request that is addressed as its version of HTTP wants it.
    pub(crate) async fn send(
        &self,
        request: Request<RequestBody>,
    ) -> io::Result<Response<Incoming>> {
        match self {
            Self::Http1(_, client) => client.request(request).await.map_err(io::Error::other),
            Self::Http2(endpoint) => endpoint.request(request).await,
        }
    }
}

impl Clusters {
    pub(crate) fn new(clusters: &[Cluster]) -> Self {
        let by_name = clusters
            .iter()
            .map(|cluster| (cluster.name.clone(), Endpoints::new(cluster)));
        Self {
            by_name: Arc::new(by_name.collect()),
        }
    }

    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.by_name.keys().cloned().collect()
    }

    /// The endpoint of a cluster whose turn it is.
    pub(crate) fn next(&self, cluster: &str) -> Option<&Upstream> {
        self.by_name
            .get(cluster)?
            .next()
            .map(|endpoint| &endpoint.http)
    }

    /// A TCP connection to the endpoint of a cluster whose turn it is.
    pub(crate) async fn connect(&self, cluster: &str) -> io::Result<TcpStream> {
        let not_found = || {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("cluster `{cluster}` has no endpoint"),
            )
        };
        let endpoints = self.by_name.get(cluster).ok_or_else(not_found)?;
        let address = endpoints.next().ok_or_else(not_found)?.address;
        let stream =
            tokio::time::timeout(endpoints.connect_timeout, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Endpoints {
    fn new(cluster: &Cluster) -> Self {
        let connect_timeout = cluster.connect_limit();
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(connect_timeout));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(60))
            .build(connector);
        let addresses = cluster
            .addresses()
            .filter_map(|address| address.socket_addr());
        let endpoints = addresses.map(|address| Endpoint {
            address,
            http: match cluster.speaks_http2() {
                true => Upstream::Http2(Http2::new(address, connect_timeout)),
                false => Upstream::Http1(address, Box::new(client.clone())),
            },
        });
        Self {
            endpoints: endpoints.collect(),
            connect_timeout,
            next: AtomicUsize::new(0),
        }
    }

    fn next(&self) -> Option<&Endpoint> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.endpoints.get(turn.checked_rem(self.endpoints.len())?)
    }
}
