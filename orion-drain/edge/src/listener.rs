//! What serves the connections of a listener's filter chains.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use orion_drain::config::{
    FieldError, FilterChain, HttpConnectionManager, Listener, NetworkFilter, Secret, TcpProxy,
};
use orion_drain::conn_tracker::CloseReason;
use orion_drain::listener::{Entered, ServedListener};
use orion_drain::listener_versions::{Accepted, Stream};
use orion_drain::orion::{ConnectionInfo, ConnectionManager as _, DefaultConnectionManager};
use orion_drain::proto_drain_http1::CloseCode;
use orion_drain::serve::{
    CodecType, Connection, ConnectionShown, HttpServer, SetupTimeouts, SharedBehavior, TcpServer,
    serve_codec, serve_tcp,
};
#[cfg(feature = "tls")]
use orion_drain::serve::{Tls, negotiated};
use orion_drain::stats::{HttpStats, Stats};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::dial::Dialed;
use crate::forwarded::Seen;
use crate::health::{Health, HealthChecks};
use crate::measured::Measured;
use crate::proxy::Proxy;
use crate::rds::{Newest, Rds};
use crate::tunnel::Tunnels;
use crate::upstream::Clusters;

/// One configuration of a listener, made ready once: connections only look things up.
pub(crate) type EdgeListener = ServedListener<ChainService>;

/// What serves the connections of a filter chain.
#[derive(Debug)]
pub(crate) struct ChainService {
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
    filter: ChainFilter,
}

/// The filter that decides what is spoken.
#[derive(Debug)]
enum ChainFilter {
    Http(Box<HttpServer>, Proxy, Arc<HttpStats>),
    Tcp {
        proxy: Box<TcpProxy>,
        server: TcpServer,
        clusters: Clusters,
    },
    /// A chain without a filter that serves: connections are closed.
    Nothing,
}

/// What listeners are made with.
#[derive(Debug, Clone)]
pub(crate) struct Maker {
    pub(crate) clusters: Clusters,
    /// The secrets that TLS contexts may refer to by name.
    #[cfg_attr(
        not(feature = "tls"),
        expect(dead_code, reason = "only TLS contexts refer to them")
    )]
    pub(crate) secrets: Arc<[Secret]>,
    pub(crate) stats: Stats,
    /// The tables that listeners refer to by name.
    pub(crate) rds: Rds,
    /// What health checks are answered by.
    pub(crate) health: Health,
    /// How many connections each listener may have, by its name.
    pub(crate) connection_limits: Arc<BTreeMap<String, usize>>,
    /// What draining connections are told: `listener_manager.drain_config.protocol_handling`.
    pub(crate) behavior: SharedBehavior,
    /// Whether connections are let go as Envoy 1.40 does.
    pub(crate) envoy_1_40: bool,
    /// What WebSocket clients are told at last.
    pub(crate) websocket_close: Option<CloseCode>,
}

impl Maker {
    /// A listener with what serves its chains.
    ///
    /// # Errors
    ///
    /// A certificate or key that cannot be used, or the file of an answer that cannot be read.
    pub(crate) fn listener(&self, listener: Listener) -> Result<EdgeListener, FieldError> {
        let bodies = listener.bodies()?;
        let connections = self.connection_limits.get(&listener.name).copied();
        #[cfg(feature = "tls")]
        let mut tls = listener
            .tls(&self.secrets)?
            .into_iter()
            .map(|tls| match self.envoy_1_40 {
                // As every connection that has not spoken yet.
                true => tls.map(|tls| tls.with_handshake_timeout_in_drain(Duration::ZERO)),
                false => tls,
            });
        let mut awaited = Vec::new();
        let made = ServedListener::new(listener, &self.stats, |listener, chain: &FilterChain| {
            let buffer = listener.per_connection_buffer_limit_bytes;
            ChainService {
                #[cfg(feature = "tls")]
                tls: tls.next().flatten(),
                filter: match chain.terminal() {
                    Some(NetworkFilter::HttpConnectionManager(manager)) => {
                        let newest = manager.rds.as_ref().map(|rds| {
                            let (newest, routes) = self.rds.refer(&manager.stat_prefix, rds);
                            awaited.push((routes, rds.initial_fetch_limit()));
                            Arc::new(newest)
                        });
                        self.http(manager.with_bodies(&bodies), newest, buffer)
                    }
                    Some(NetworkFilter::TcpProxy(proxy)) => self.tcp(proxy, buffer),
                    _ => ChainFilter::Nothing,
                },
            }
        });
        let made = awaited.into_iter().fold(made, |made, (routes, limit)| {
            made.with_routes(routes, limit)
        });
        let made = made.with_max_connections(connections);
        Ok(made.with_behavior(self.behavior.clone()))
    }

    fn http(
        &self,
        manager: HttpConnectionManager,
        rds: Option<Arc<Newest>>,
        buffer: Option<u32>,
    ) -> ChainFilter {
        let stats = self.stats.http(&manager.stat_prefix);
        let counts = Arc::clone(&stats);
        // Only tunnels need it.
        let mut server = manager
            .server(stats)
            .with_connection_shown(ConnectionShown::Upgrades);
        if let Some(bytes) = buffer {
            server = server.with_buffer_limit(bytes);
        }
        if self.envoy_1_40 {
            server = server.with_envoy_1_40();
        }
        let own = manager.route_config.as_ref();
        let proxy = Proxy {
            domains: Arc::new(own.map(|own| own.domains()).unwrap_or_default()),
            health: HealthChecks::new(&manager, &self.health).map(Arc::new),
            manager: Arc::new(manager),
            rds,
            clusters: self.clusters.clone(),
            seen: Seen {
                peer: None,
                secure: false,
            },
            local_port: None,
            tunnels: Tunnels {
                options: server.tunnels(),
                websocket_close: self.websocket_close,
            },
        };
        ChainFilter::Http(Box::new(server), proxy, counts)
    }

    fn tcp(&self, proxy: &TcpProxy, buffer: Option<u32>) -> ChainFilter {
        let mut server = proxy.server(self.stats.tcp(&proxy.stat_prefix));
        if let Some(bytes) = buffer {
            server = server.with_buffer_limit(bytes);
        }
        ChainFilter::Tcp {
            proxy: Box::new(proxy.clone()),
            server,
            clusters: self.clusters.clone(),
        }
    }
}

/// Serves one accepted connection to its end, and enters it where audits look for connections that
/// outlive their deadline.
///
/// The task of each connection is as large as this future, and it is kept small: what only some
/// connections come to is boxed, and nothing that has been moved on keeps room beside what it was
/// moved into. `an_idle_connection_keeps_a_small_task` keeps the size.
pub(crate) fn serve(
    accepted: Accepted<EdgeListener>,
    audited: Option<DefaultConnectionManager>,
) -> impl Future<Output = ()> + Send {
    let peer = accepted.peer.as_socket();
    async move {
        #[cfg(feature = "tls")]
        let entered = Entered::after_hello(accepted);
        #[cfg(not(feature = "tls"))]
        let entered = std::future::ready(Entered::new(accepted));
        // A connection that no chain takes is closed without an answer.
        let Some(Entered {
            stream,
            connection,
            service,
            counted: _counted,
            ..
        }) = entered.await
        else {
            return;
        };
        let filter = &service.filter;
        let local_port = filter.asks_for_port(&stream);
        if let Some(audited) = audited {
            audited.on_connection_established("", ConnectionInfo::of(&connection));
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = &service.tls {
            let handshake = async { tls.accept(stream, &connection).await.map(Box::new) };
            if let Some(stream) = Box::pin(handshake).await {
                let codec = negotiated(&stream);
                filter
                    .serve(stream, connection, (peer, local_port), codec, true)
                    .await;
            }
            return;
        }
        let codec = CodecType::Auto;
        filter
            .serve(stream, connection, (peer, local_port), codec, false)
            .await;
    }
}

impl ChainFilter {
    /// The port that the client connected to, if hosts are compared with it: the listener's own
    /// may be 0, and it may have several addresses.
    fn asks_for_port(&self, stream: &Stream) -> Option<u16> {
        match (self, stream) {
            (Self::Http(_, proxy, _), Stream::Tcp(tcp))
                if proxy.manager.strip_matching_host_port =>
            {
                tcp.local_addr().ok().map(|local| local.port())
            }
            _ => None,
        }
    }

    /// Serves what a connection says, once it is clear.
    async fn serve<IO>(
        &self,
        stream: IO,
        connection: Connection,
        (peer, local_port): (Option<SocketAddr>, Option<u16>),
        codec: CodecType,
        secure: bool,
    ) where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match self {
            Self::Http(server, proxy, stats) => {
                let _open = Measured::connection(stats);
                let stats = Arc::clone(stats);
                // Shared by the connection's requests.
                let proxy = Arc::new(Proxy {
                    seen: Seen { peer, secure },
                    local_port,
                    ..proxy.clone()
                });
                let service = service_fn(move |request| {
                    let (proxy, measured) = (Arc::clone(&proxy), Measured::request(&stats));
                    // Boxed: hyper keeps room for it as long as the connection is open.
                    Box::pin(async move {
                        let response = proxy.answer(request, measured.stats()).await?;
                        Ok::<_, Infallible>(measured.until_the_end_of(response))
                    })
                });
                // How a client broke off is its own affair; how we closed is in the statistics.
                let _ = serve_codec(stream, service, connection, server, codec).await;
            }
            Self::Tcp {
                proxy,
                server,
                clusters,
            } => {
                let cluster = proxy.choose_cluster(fastrand::u64(..));
                // `connect_timeout` bounds it, and the drain's deadline.
                let limits = SetupTimeouts::default()
                    .with_setup(Duration::MAX)
                    .with_setup_in_drain(Duration::MAX);
                let dialed = connection.within_timeouts(limits, clusters.connect(cluster));
                match Box::pin(dialed).await {
                    Some(Ok(Dialed::Clear(upstream))) => {
                        let _ = Box::pin(serve_tcp(stream, upstream, connection, server)).await;
                    }
                    #[cfg(feature = "tls")]
                    Some(Ok(Dialed::Secured(upstream))) => {
                        let _ = Box::pin(serve_tcp(stream, *upstream, connection, server)).await;
                    }
                    Some(Err(_)) => connection.guard().set_close_reason(CloseReason::Error),
                    None => {}
                }
            }
            Self::Nothing => {}
        }
    }
}

#[cfg(test)]
mod tests {
    fn size_of_future<A, B, F>(_: impl Fn(A, B) -> F) -> usize {
        size_of::<F>()
    }

    /// It took 3 000 bytes when the connection's task had room for a TLS stream too.
    #[test]
    fn an_idle_connection_keeps_a_small_task() {
        let bytes = size_of_future(super::serve);
        assert!(bytes <= 1_100, "{bytes} bytes");
    }
}
