//! Where requests and bytes go: clusters, whose endpoints take turns.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
#[cfg(feature = "tls")]
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use orion_drain::config::{Cluster, EndpointAddress, FieldError, Host, Secret, UpstreamVersion};

use crate::dial::{Dial, Dialed, Place};
use crate::failure::Failure;
use crate::timed::RequestBody;
use crate::turns::turns;
use crate::upstream_h2::{CONNECTION_WINDOW, Http2, MAX_HEADER_BYTES, STREAM_WINDOW};

/// The clusters of the bootstrap, by name.
#[derive(Debug, Clone)]
pub(crate) struct Clusters {
    pub(crate) by_name: Arc<BTreeMap<String, Arc<Endpoints>>>,
}

/// The endpoints of a cluster, as far as they are known.
#[derive(Debug)]
pub(crate) struct Endpoints {
    pub(crate) cluster: Cluster,
    #[cfg(feature = "tls")]
    tls: Option<orion_drain::config::UpstreamTls>,
    /// In the order of their turns: each as often as its weight says.
    known: ArcSwap<Vec<Arc<Endpoint>>>,
    next: AtomicUsize,
}

/// Where an endpoint was found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) place: Place,
    /// The name that it was found by.
    pub(crate) hostname: Option<String>,
    /// What its share goes by.
    pub(crate) host: Host,
}

impl Found {
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (&self.place, &self.hostname) == (&other.place, &other.hostname)
    }
}

/// An endpoint. Its connections live as long as it is known.
#[derive(Debug)]
pub(crate) struct Endpoint {
    place: Place,
    /// The name that it was found by.
    pub(crate) hostname: Option<String>,
    dial: Dial,
    http: Spoken,
}

/// Which version of HTTP it is spoken to in.
#[derive(Debug)]
enum Spoken {
    One(Upstream),
    /// The client's.
    Downstream {
        http1: Upstream,
        http2: Upstream,
    },
}

/// An endpoint as a request sees it.
#[derive(Debug)]
pub(crate) enum Upstream {
    /// HTTP/1.1, by a client that pools its connections.
    Http1(Box<Client<Dial, RequestBody>>),
    /// HTTP/2.
    Http2(Http2),
    /// What is agreed on by ALPN.
    Alpn(Box<Client<Dial, RequestBody>>),
}

impl Upstream {
    /// Sends a request that is addressed as its version of HTTP wants it.
    pub(crate) async fn send(
        &self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, Failure> {
        match self {
            Self::Http1(client) | Self::Alpn(client) => {
                let response = client.request(request).await;
                response.map_err(|error| match error.is_connect() {
                    true => Failure::connecting(&error),
                    false => Failure::responding(&error),
                })
            }
            Self::Http2(endpoint) => endpoint.request(request).await,
        }
    }
}

impl Endpoint {
    /// How it is asked on behalf of a client that speaks this version.
    pub(crate) fn http(&self, version: Version) -> &Upstream {
        match &self.http {
            Spoken::One(upstream) => upstream,
            Spoken::Downstream { http2, .. } if version == Version::HTTP_2 => http2,
            Spoken::Downstream { http1, .. } => http1,
        }
    }
}

impl Clusters {
    /// The clusters, and which certificates and keys cannot be used; their clusters are left out.
    pub(crate) fn new(clusters: &[Cluster], secrets: &[Secret]) -> (Self, Vec<FieldError>) {
        #[cfg(not(feature = "tls"))]
        let _ = secrets;
        #[cfg_attr(not(feature = "tls"), expect(unused_mut, reason = "only TLS fails"))]
        let mut wrong = Vec::new();
        let mut by_name = BTreeMap::new();
        for (index, cluster) in clusters.iter().enumerate() {
            #[cfg(feature = "tls")]
            let tls = match cluster.tls(secrets) {
                Ok(tls) => tls,
                Err(field) => {
                    wrong.push(field.below(&format!("static_resources.clusters[{index}]")));
                    continue;
                }
            };
            #[cfg(not(feature = "tls"))]
            let _ = index;
            let endpoints = Endpoints {
                cluster: cluster.clone(),
                #[cfg(feature = "tls")]
                tls,
                known: ArcSwap::default(),
                next: AtomicUsize::new(0),
            };
            // Names are resolved later.
            let places = cluster.hosts().filter_map(|(host, used)| {
                let hostname = Some(used.endpoint.hostname.clone());
                Some(Found {
                    place: place(&used.endpoint.address)?,
                    hostname: hostname.filter(|name| !name.is_empty()),
                    host,
                })
            });
            endpoints.set(places.collect());
            by_name.insert(cluster.name.clone(), Arc::new(endpoints));
        }
        let clusters = Self {
            by_name: Arc::new(by_name),
        };
        (clusters, wrong)
    }

    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.by_name.keys().cloned().collect()
    }

    /// Whether there is such a cluster.
    pub(crate) fn has(&self, cluster: &str) -> bool {
        self.by_name.contains_key(cluster)
    }

    /// The endpoint of a cluster whose turn it is.
    pub(crate) fn next(&self, cluster: &str) -> Option<Arc<Endpoint>> {
        self.by_name.get(cluster)?.next()
    }

    /// A connection to the endpoint of a cluster whose turn it is.
    pub(crate) async fn connect(&self, cluster: &str) -> io::Result<Dialed> {
        let endpoint = self.next(cluster).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("cluster `{cluster}` has no endpoint"),
            )
        })?;
        endpoint.dial.connect().await
    }
}

/// Where an endpoint is that has no host name.
pub(crate) fn place(address: &EndpointAddress) -> Option<Place> {
    match (address.socket_addr(), address) {
        (Some(address), _) => Some(Place::Tcp(vec![address])),
        (None, EndpointAddress::Pipe(pipe)) => Some(Place::Unix(pipe.path.clone())),
        (None, _) => None,
    }
}

impl Endpoints {
    fn next(&self) -> Option<Arc<Endpoint>> {
        let known = self.known.load();
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        known.get(turn.checked_rem(known.len())?).cloned()
    }

    /// These are the endpoints from now on. One that was known already keeps its connections.
    pub(crate) fn set(&self, mut places: Vec<Found>) {
        let known = self.known.load_full();
        let hosts: Vec<Host> = places.iter().map(|found| found.host).collect();
        let mut shares = self.cluster.shares(&hosts);
        let mut each = shares.iter();
        places.retain(|_| each.next().is_some_and(|share| *share > 0));
        shares.retain(|share| *share > 0);
        let endpoints = places.into_iter().map(|found| {
            let same = |endpoint: &&Arc<Endpoint>| {
                endpoint.place == found.place && endpoint.hostname == found.hostname
            };
            match known.iter().find(same) {
                Some(endpoint) => Arc::clone(endpoint),
                None => Arc::new(self.endpoint(found.place, found.hostname)),
            }
        });
        let endpoints: Vec<_> = endpoints.collect();
        let turns = turns(&shares).into_iter();
        let turns = turns.filter_map(|index| endpoints.get(index).cloned());
        self.known.store(Arc::new(turns.collect()));
    }

    fn endpoint(&self, place: Place, hostname: Option<String>) -> Endpoint {
        let dial = |protocols: &[&str]| self.dial(&place, protocols);
        let client = |dial: Dial| {
            let client = Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(Duration::from_secs(60))
                .http2_initial_stream_window_size(STREAM_WINDOW)
                .http2_initial_connection_window_size(CONNECTION_WINDOW)
                .http2_max_header_list_size(MAX_HEADER_BYTES)
                .http1_allow_obsolete_multiline_headers_in_responses(true)
                .build(dial);
            Box::new(client)
        };
        let http1 = || Upstream::Http1(client(dial(&["http/1.1"])));
        let http2 = || Upstream::Http2(Http2::new(dial(&["h2"])));
        let http = match self.cluster.version() {
            UpstreamVersion::Http2 => Spoken::One(http2()),
            UpstreamVersion::Downstream => Spoken::Downstream {
                http1: http1(),
                http2: http2(),
            },
            UpstreamVersion::Alpn => Spoken::One(Upstream::Alpn(client(dial(&["h2", "http/1.1"])))),
            _ => Spoken::One(http1()),
        };
        Endpoint {
            dial: dial(&[]),
            place,
            hostname,
            http,
        }
    }

    /// How connections are made that offer these protocols, or else what the configuration says.
    fn dial(&self, place: &Place, protocols: &[&str]) -> Dial {
        #[cfg(not(feature = "tls"))]
        let _ = protocols;
        Dial {
            place: place.clone(),
            timeout: self.cluster.connect_limit(),
            #[cfg(feature = "tls")]
            secured: self.tls.as_ref().map(|tls| {
                use tokio_rustls::rustls::pki_types::ServerName;
                // An address is no name that is asked for; no server looks at it.
                let ip = match place {
                    Place::Tcp(addresses) => addresses.first().map(SocketAddr::ip),
                    Place::Unix(_) => None,
                };
                let ip = ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
                crate::dial::Secured {
                    config: match protocols {
                        [] => tls.as_configured(),
                        protocols => tls.offering(protocols),
                    },
                    name: tls.server_name().cloned().unwrap_or(ServerName::from(ip)),
                }
            }),
        }
    }
}
