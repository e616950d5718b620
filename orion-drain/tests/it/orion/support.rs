//! Listeners that answer with a word, and a client that reads one response.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use orion_drain::config::{Action, Listener, ListenerUpdate, NetworkFilter, RouteConfiguration};
use orion_drain::drain_tree::DrainManager;
use orion_drain::listener::{Entered, ServedListener};
use orion_drain::listener_versions::{Accepted, ListenerVersion, RouteWatch, Routes};
use orion_drain::orion::{
    ListenerConfigurationChange, ListenerManagerConfig, ListenerServices, ListenersManager,
    ManagerParts, Registration, RouteConfigurationChange,
};
use orion_drain::proto_drain_tcp::CopyOptions;
use orion_drain::serve::{HttpServer, ReceivedBody, TcpServer, serve_http, serve_tcp};
use orion_drain::stats::Stats;
use rig::h1::Head;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// Waits for something that must happen soon; a machine under load has all the time it can need.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .unwrap_or_else(|_| panic!("{what} did not happen"))
}

/// HTTP chains answer with the body of their first direct response, TCP chains echo.
pub(crate) struct Words {
    pub(crate) stats: Stats,
    routes: Routes<RouteConfiguration>,
}

pub(crate) enum Word {
    Http(Box<HttpServer>, WordRoutes),
    Echo,
}

/// Those that a route change brought, or else those of the listener.
#[derive(Clone)]
pub(crate) struct WordRoutes(RouteWatch<RouteConfiguration>, Arc<RouteConfiguration>);

pub(crate) type WordListener = ServedListener<Word>;

impl ListenerServices<WordListener> for Words {
    type Routes = RouteConfiguration;

    fn routes(&self) -> &Routes<RouteConfiguration> {
        &self.routes
    }

    fn http_chains(&self, version: &ListenerVersion<WordListener>) -> Vec<DrainManager> {
        ServedListener::http_chains(version)
    }

    fn version_info<'a>(&self, config: &'a WordListener) -> &'a str {
        config.listener().version_info.as_deref().unwrap_or("")
    }

    fn serve(&self, accepted: Accepted<WordListener>, registration: Registration) {
        let Some(entered) = Entered::new(accepted) else {
            return;
        };
        let connection = registration.register(entered.connection);
        let (stream, service) = (entered.stream, entered.service);
        let stats = self.stats.tcp("echo");
        tokio::spawn(async move {
            match &*service {
                Word::Http(server, routes) => {
                    let routes = routes.clone();
                    let answer = service_fn(move |_: Request<ReceivedBody>| {
                        let word = word(&routes);
                        async { Ok::<_, Infallible>(Response::new(Full::new(word))) }
                    });
                    serve_http(stream, answer, connection, server).await;
                }
                Word::Echo => {
                    let (near, mut far) = tokio::io::duplex(1024);
                    tokio::spawn(async move {
                        let (mut read, mut write) = tokio::io::split(&mut far);
                        tokio::io::copy(&mut read, &mut write).await
                    });
                    let server = TcpServer::new(CopyOptions::new(), stats);
                    serve_tcp(stream, near, connection, &server).await;
                }
            }
        });
    }
}

fn word(routes: &WordRoutes) -> Bytes {
    let routes = routes.0.load().unwrap_or_else(|| Arc::clone(&routes.1));
    match &routes.virtual_hosts[0].routes[0].action {
        Action::DirectResponse(response) => {
            let body = response.body.as_ref().expect("it has a body");
            Bytes::from(body.inline_string.clone().unwrap_or_default())
        }
        _ => panic!("every route here answers directly"),
    }
}

/// A manager under test, with its channels.
pub(crate) struct Managed {
    pub(crate) manager: ListenersManager<WordListener, Words>,
    pub(crate) listeners: mpsc::Sender<ListenerConfigurationChange<WordListener>>,
    pub(crate) routes: mpsc::Sender<RouteConfigurationChange<RouteConfiguration>>,
    stats: Stats,
    by_name: Routes<RouteConfiguration>,
}

impl Managed {
    pub(crate) fn new(config: ListenerManagerConfig) -> Self {
        let parts = ManagerParts::new(&config);
        Self::with_parts(config, parts)
    }

    pub(crate) fn with_parts(config: ListenerManagerConfig, parts: ManagerParts) -> Self {
        let (listeners, listener_changes) = mpsc::channel(8);
        let (routes, route_changes) = mpsc::channel(8);
        let (stats, by_name) = (parts.stats.clone(), Routes::new());
        let words = Words {
            stats: stats.clone(),
            routes: by_name.clone(),
        };
        let (manager, run) =
            ListenersManager::new(listener_changes, route_changes, config, parts, words);
        tokio::spawn(run);
        Self {
            manager,
            listeners,
            routes,
            stats,
            by_name,
        }
    }

    /// What serves each of its chains.
    pub(crate) fn made(&self, listener: Listener) -> WordListener {
        ServedListener::new(listener, &self.stats, |_, chain| match chain.terminal() {
            Some(NetworkFilter::HttpConnectionManager(manager)) => {
                let server = manager.server(self.stats.http(&manager.stat_prefix));
                let inline = manager.route_config.clone().expect("it has routes");
                let routes = WordRoutes(self.by_name.watch(&*inline.name), Arc::new(inline));
                Word::Http(Box::new(server), routes)
            }
            _ => Word::Echo,
        })
    }

    /// Starts a listener, and says where it listens.
    pub(crate) async fn start(&self, listener: Listener) -> SocketAddr {
        let name = listener.name.clone();
        let listener = self.made(listener);
        let started = self.manager.start_listener(listener).await;
        started.expect("it is taken");
        self.address(&name)
    }

    pub(crate) fn address(&self, name: &str) -> SocketAddr {
        let local = self.manager.listeners().local_address(name);
        local
            .and_then(|local| local.as_socket())
            .expect("it listens")
    }
}

/// A manager whose drains tell everybody at once.
pub(crate) fn immediate() -> ListenerManagerConfig {
    serde_json::from_value(json!({ "drain_config": { "drain_strategy": "immediate" } }))
        .expect("it is valid")
}

/// A listener on `port` of loopback with these chains; `buffer` is there to be changed.
pub(crate) fn listener(name: &str, port: u16, buffer: u32, chains: &[Value]) -> Listener {
    let update = json!({ "resources": [{
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": name,
        "address": { "socket_address": { "address": "127.0.0.1", "port_value": port } },
        "per_connection_buffer_limit_bytes": buffer,
        "filter_chains": chains,
    }] });
    let mut update = ListenerUpdate::from_json(&update.to_string()).expect("it is an update");
    assert!(update.rejected.is_empty(), "{:?}", update.rejected);
    update.listeners.remove(0)
}

/// Answers `word` to everything.
pub(crate) fn http(word: &str) -> Value {
    json!({ "name": "http", "filters": [{ "name": "http", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http",
        "route_config": routes(word),
    } }] })
}

pub(crate) fn routes(word: &str) -> Value {
    json!({ "name": "words", "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [{
        "match": { "prefix": "/" },
        "direct_response": { "status": 200, "body": { "inline_string": word } },
    }] }] })
}

/// Echoes for clients from 127.0.0.2.
pub(crate) fn echo() -> Value {
    json!({
        "name": "echo",
        "filter_chain_match": { "source_prefix_ranges": [{ "address_prefix": "127.0.0.2", "prefix_len": 32 }] },
        "filters": [{ "name": "tcp", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "echo", "cluster": "none",
        } }],
    })
}

pub(crate) async fn connect(to: SocketAddr) -> TcpStream {
    within("a connection", TcpStream::connect(to))
        .await
        .expect("it listens")
}

/// One request, one response: its head and its body.
pub(crate) async fn get(client: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> (Head, Bytes) {
    within("a response", rig::h1::get(client, "/"))
        .await
        .expect("a whole response")
}

pub(crate) fn closes((head, _): &(Head, Bytes)) -> bool {
    head.close()
}

/// Resolves when the peer has closed.
pub(crate) async fn ends(client: &mut (impl AsyncRead + Unpin)) {
    let mut rest = Vec::new();
    // A reset is an end as well.
    within("the end", client.read_to_end(&mut rest)).await.ok();
}
