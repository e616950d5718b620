//! Orion in miniature, with the crates taken in: its shapes (a `HashMap` of filter chains, a boxed
//! stream, a service that borrows its handler, routes over a channel) and the lines of
//! `docs/orion.md`, which a test compares with this file.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::{self, Cursor};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use orion_drain::StatsObserver;
use orion_drain::conn_tracker::{CloseReason, ConnTracker};
use orion_drain::drain_tree::{DrainManager, DrainSettings};
use orion_drain::lifecycle::{ShutdownOutcome, ShutdownSettings, shut_down_all};
use orion_drain::listener_versions::{
    Accepted, ListenAddress, ListenerConfig, Listeners, ListenersOptions, RouteWatch, Routes,
    SocketOptions, Update, UpdateError, UpdateReport, socket2,
};
use orion_drain::proto_drain_tcp::CopyOptions;
use orion_drain::serve::{
    CodecType, Connection, HttpServer, HttpTimeouts, ReceivedBody, TcpServer, serve_codec,
    serve_tcp,
};
use orion_drain::stats::Stats;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, DuplexStream, split};

// === Orion's shapes. ===

pub(crate) trait AsyncReadWrite: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> AsyncReadWrite for T {}
type AsyncStream = Box<dyn AsyncReadWrite>;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct FilterChainMatch(pub(crate) &'static str);

/// What a chain's configuration says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FilterChainConfig {
    Http { drain_timeout: Duration },
    Tcp,
}

pub(crate) struct FilterchainType {
    config: FilterChainConfig,
    handler: ConnectionHandler,
}

enum ConnectionHandler {
    Http(Box<HttpServer>),
    Tcp(TcpServer),
}

pub(crate) struct Listener {
    name: &'static str,
    address: ListenAddress,
    bind_device: Option<String>,
    filter_chains: HashMap<FilterChainMatch, FilterchainType>,
    routes: RouteWatch<String>,
}

/// Answers with the routes that are there now.
struct RequestHandler(RouteWatch<String>);

impl RequestHandler {
    async fn call(&self, _: Request<ReceivedBody>) -> Result<Response<Full<Bytes>>, Infallible> {
        let routes = self.0.load().map(|routes| Bytes::from((*routes).clone()));
        Ok(Response::new(Full::new(routes.unwrap_or_default())))
    }
}

/// Reads what decides the chain, and gives the stream back as it was: one byte here.
async fn inspect_client_hello(mut stream: AsyncStream) -> io::Result<(u8, AsyncStream)> {
    let byte = stream.read_u8().await?;
    let (read, write) = split(stream);
    let rewound = Cursor::new(vec![byte]).chain(read);
    Ok((byte, Box::new(tokio::io::join(rewound, write))))
}

/// An upstream that echoes.
fn connect() -> DuplexStream {
    let (near, far) = tokio::io::duplex(1024);
    tokio::spawn(async move {
        let (mut read, mut write) = split(far);
        tokio::io::copy(&mut read, &mut write).await
    });
    near
}

// === HTTP/2's settings, once for each HTTP connection manager. ===

impl FilterchainType {
    pub(crate) fn new(config: FilterChainConfig, stats: &Stats) -> Self {
        let handler = match config {
            FilterChainConfig::Http { drain_timeout } => {
                let mut timeouts = HttpTimeouts::default();
                timeouts.drain = drain_timeout;
                timeouts.idle = None;
                let server = HttpServer::new(CodecType::Auto, &timeouts, stats.http("ingress"));
                let server = server.with_hyper(|builder| {
                    builder
                        .http2()
                        .max_frame_size(1024 * 1024)
                        .max_concurrent_streams(1024)
                        .keep_alive_interval(Duration::from_secs(2));
                });
                ConnectionHandler::Http(Box::new(server))
            }
            FilterChainConfig::Tcp => {
                ConnectionHandler::Tcp(TcpServer::new(CopyOptions::new(), stats.tcp("tcp")))
            }
        };
        Self { config, handler }
    }
}

// === What versions must know of a listener. ===

impl Listener {
    pub(crate) fn new(
        address: SocketAddr,
        filter_chains: HashMap<FilterChainMatch, FilterchainType>,
        routes: RouteWatch<String>,
    ) -> Self {
        Self {
            name: "ingress",
            address: address.into(),
            bind_device: None,
            filter_chains,
            routes,
        }
    }

    fn select_filterchain(&self, first: u8) -> Option<Arc<str>> {
        let wanted = if first == b'T' { "tcp" } else { "http" };
        let mut chains = self.filter_chains.keys();
        chains
            .find(|chain| chain.0 == wanted)
            .map(|chain| Arc::from(chain.0))
    }
}

impl ListenerConfig for Listener {
    type Chain = FilterChainConfig;

    fn name(&self) -> &str {
        self.name
    }

    fn address(&self) -> &ListenAddress {
        &self.address
    }

    fn same_content(&self, other: &Self) -> bool {
        self.differs_only_in_chains(other) && self.chains() == other.chains()
    }

    fn chains(&self) -> Vec<(Arc<str>, &FilterChainConfig)> {
        let chains = self.filter_chains.iter();
        let mut chains: Vec<_> = chains
            .map(|(rule, chain)| (Arc::<str>::from(rule.0), &chain.config))
            .collect();
        chains.sort_by(|one, other| one.0.cmp(&other.0));
        chains
    }

    fn differs_only_in_chains(&self, other: &Self) -> bool {
        self.address == other.address
            && self.bind_device == other.bind_device
            && self.routes.name() == other.routes.name()
    }

    fn socket_options(&self, _: &ListenAddress) -> SocketOptions {
        SocketOptions::default().with_reuse_port(true)
    }

    fn bind(&self, address: &ListenAddress) -> io::Result<socket2::Socket> {
        self.socket_options(address).bind(address, |socket| {
            let device = self.bind_device.as_deref();
            device.map_or(Ok(()), |name| socket.bind_device(Some(name.as_bytes())))
        })
    }

    fn warms(&self) -> bool {
        self.routes.load().is_none()
    }

    fn ready(&self) -> impl Future<Output = ()> + Send + 'static {
        self.routes.ready()
    }
}

// === The manager of one runtime. ===

pub(crate) struct ListenersManager {
    pub(crate) listeners: Listeners<Listener>,
    pub(crate) routes: Routes<String>,
}

impl ListenersManager {
    pub(crate) fn new(settings: DrainSettings, stats: &Stats) -> Self {
        let observer = StatsObserver::new(stats.clone());
        let options = ListenersOptions::default();
        let (root, tracker) = (DrainManager::root(settings), ConnTracker::new());
        let (listeners, driver) = Listeners::new(root, tracker, options, observer);
        tokio::spawn(driver);
        let worker = listeners.worker();
        tokio::spawn(worker.run(|accepted| {
            tokio::spawn(process_listener_update(accepted));
        }));
        let routes = Routes::new();
        Self { listeners, routes }
    }

    pub(crate) async fn start_listener(
        &self,
        listener: Listener,
        version_info: &str,
    ) -> Result<UpdateReport, UpdateError> {
        let update = Update::put(listener).with_version_info(version_info);
        self.listeners.apply(update).await.into_result()
    }

    pub(crate) async fn stop_listener(&self, name: &str) {
        self.listeners.apply(Update::remove(name)).await;
    }

    pub(crate) fn get_configuration(&self) -> Vec<Arc<Listener>> {
        let versions = self.listeners.versions();
        versions
            .iter()
            .map(|version| Arc::clone(version.config()))
            .collect()
    }

    pub(crate) fn process_route_update(&self, name: &str, routes: Option<String>) {
        match routes {
            Some(routes) => self.routes.set(name, routes),
            None => self.routes.remove(name),
        }
    }
}

// === A connection, from its accept to its end. ===

const INSPECTOR_TIMEOUT: Duration = Duration::from_secs(15);

async fn process_listener_update(accepted: Accepted<Listener>) {
    let original_destination_address = accepted.original_destination();
    let (stream, accepted) = accepted.split();
    let inspecting = inspect_client_hello(Box::new(stream));
    let inspecting = accepted.watch.run_until_expired(inspecting);
    assert_eq!(
        original_destination_address, None,
        "nothing redirects connections here"
    );
    let Ok(Some(Ok((first, stream)))) = tokio::time::timeout(INSPECTOR_TIMEOUT, inspecting).await
    else {
        accepted.conn.set_close_reason(CloseReason::Error);
        return;
    };
    let Ok((entered, chain)) = accepted.enter_chain(|listener| listener.select_filterchain(first))
    else {
        return;
    };
    let connection =
        Connection::of_chain(&entered.version, chain.drain(), entered.watch, entered.conn);
    let listener = Arc::clone(entered.version.config());
    let chain = listener
        .filter_chains
        .iter()
        .find(|(rule, _)| rule.0 == &**chain.id());
    if let Some((_, chain)) = chain {
        chain
            .start_filterchain(stream, connection, &listener.routes)
            .await;
    }
}

impl FilterchainType {
    async fn start_filterchain(
        &self,
        stream: AsyncStream,
        connection: Connection,
        routes: &RouteWatch<String>,
    ) {
        match &self.handler {
            ConnectionHandler::Http(server) => {
                let req_handler = Arc::new(RequestHandler(routes.clone()));
                let service = service_fn(|request: Request<ReceivedBody>| {
                    let req_handler = Arc::clone(&req_handler);
                    async move { req_handler.call(request).await }
                });
                // What ALPN has chosen.
                let codec = CodecType::Auto;
                serve_codec(stream, service, connection, server, codec).await;
            }
            ConnectionHandler::Tcp(server) => {
                serve_tcp(stream, connect(), connection, server).await;
            }
        }
    }
}

// === The end of the process, over the listeners of all runtimes. ===

pub(crate) async fn shut_down(listeners: &[Listeners<Listener>]) -> Vec<ShutdownOutcome> {
    shut_down_all(listeners, ShutdownSettings::default()).await
}
