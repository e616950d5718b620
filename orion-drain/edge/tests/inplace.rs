//! Updates of filter chains as clients see them: edge's own listeners, in this process, on real
//! sockets. The source address of a client (127.0.0.2, 127.0.0.3, ...) chooses its chain.

// The parts of edge that serve; what only its main program uses is not used here.
#[path = "../src/addressed.rs"]
mod addressed;
#[path = "../src/admit.rs"]
mod admit;
#[path = "../src/answers.rs"]
mod answers;
#[path = "../src/dial.rs"]
mod dial;
#[path = "../src/exchange.rs"]
mod exchange;
#[allow(dead_code, reason = "edge's program uses the rest")]
#[path = "../src/extended_connect.rs"]
mod extended_connect;
#[path = "../src/failure.rs"]
mod failure;
#[path = "../src/forwarded.rs"]
mod forwarded;
#[path = "../src/health.rs"]
mod health;
#[path = "../src/hop_by_hop.rs"]
mod hop_by_hop;
#[path = "../src/lengths.rs"]
mod lengths;
#[path = "../src/listener.rs"]
mod listener;
#[path = "../src/measured.rs"]
mod measured;
#[path = "../src/proxy.rs"]
mod proxy;
#[allow(dead_code, reason = "edge's program uses the rest")]
#[path = "../src/rds.rs"]
mod rds;
#[path = "../src/response_watch.rs"]
mod response_watch;
#[path = "../src/rewrite.rs"]
mod rewrite;
#[path = "../src/timed.rs"]
mod timed;
#[path = "../src/timeout.rs"]
mod timeout;
#[path = "../src/tunnel.rs"]
mod tunnel;
#[path = "../src/turns.rs"]
mod turns;
#[path = "../src/upgrade.rs"]
mod upgrade;
#[path = "../src/upload.rs"]
mod upload;
#[allow(dead_code, reason = "edge's program uses the rest")]
#[path = "../src/upstream.rs"]
mod upstream;
#[path = "../src/upstream_h2.rs"]
mod upstream_h2;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use orion_drain::StatsObserver;
use orion_drain::admin::DrainView;
use orion_drain::config::{Cluster, ListenerUpdate};
use orion_drain::conn_tracker::ConnTracker;
use orion_drain::drain_tree::{
    DrainManager, DrainOutcome, DrainReason, DrainSettings, DrainStrategy,
};
use orion_drain::lifecycle::{Shutdown, ShutdownSettings};
use orion_drain::listener_versions::{
    Change, ListenerChain, ListenerObserver, Listeners, ListenersOptions, Update, VersionView,
};
use orion_drain::serve::SharedBehavior;
use orion_drain::stats::Stats;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;

use health::Health;
use listener::{EdgeListener, Maker};
use rds::Rds;
use upstream::Clusters;

/// Waits for something that must happen soon; a machine under load has all the time it can need.
async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(30), future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: did not happen within 30 s"),
    }
}

/// Counts as edge does, then tells the test which chain or version is over.
struct Observer(StatsObserver, mpsc::UnboundedSender<String>);

impl ListenerObserver for Observer {
    fn created(&self, version: &VersionView) {
        self.0.created(version);
    }
    fn activated(&self, version: &VersionView, replaced: Option<u64>) {
        self.0.activated(version, replaced);
    }
    fn in_place_updated(&self, version: &VersionView) {
        self.0.in_place_updated(version);
    }
    fn chain_drain_started(&self, chain: &Arc<ListenerChain>, reason: DrainReason) {
        assert_eq!(reason, DrainReason::FilterChainUpdate);
        self.0.chain_drain_started(chain, reason);
    }
    fn chain_drained(&self, chain: &Arc<ListenerChain>, outcome: &DrainOutcome) {
        self.0.chain_drained(chain, outcome);
        self.1
            .send(chain.id().to_string())
            .expect("the test listens");
    }
    fn drain_started(&self, version: &VersionView, reason: DrainReason) {
        self.0.drain_started(version, reason);
    }
    fn drained(&self, version: &VersionView, outcome: &DrainOutcome) {
        self.0.drained(version, outcome);
        self.1
            .send(version.number.to_string())
            .expect("the test listens");
    }
}

struct Edge {
    listeners: Listeners<EdgeListener>,
    maker: Maker,
    stats: Stats,
    over: mpsc::UnboundedReceiver<String>,
}

impl Edge {
    fn start(strategy: DrainStrategy, drain_time: Duration) -> Self {
        Self::with_clusters(strategy, drain_time, &[])
    }

    fn with_clusters(strategy: DrainStrategy, drain_time: Duration, clusters: &[Cluster]) -> Self {
        let settings = DrainSettings::default()
            .with_strategy(strategy)
            .with_drain_time(drain_time);
        let stats = Stats::new();
        let (sender, over) = mpsc::unbounded_channel();
        let (root, tracker) = (DrainManager::root(settings), ConnTracker::new());
        let (shutdown, _) = Shutdown::new(&root, &tracker, ShutdownSettings::default());
        let (listeners, driver) = Listeners::new(
            root.clone(),
            tracker,
            ListenersOptions::default(),
            Observer(StatsObserver::new(stats.clone()), sender),
        );
        tokio::spawn(driver);
        let worker = listeners.worker();
        tokio::spawn(worker.run(|accepted| drop(tokio::spawn(listener::serve(accepted, None)))));
        Self {
            listeners,
            maker: Maker {
                rds: Rds::new(stats.clone()),
                clusters: Clusters::new(clusters, &[]).0,
                secrets: [].into(),
                stats: stats.clone(),
                connection_limits: Arc::default(),
                health: Health {
                    root,
                    shutdown,
                    cluster: HeaderValue::from_static("test"),
                },
                behavior: SharedBehavior::default(),
                envoy_1_40: false,
                websocket_close: None,
            },
            stats,
            over,
        }
    }

    async fn update(&self, buffer: u32, chains: &[Value]) -> Change {
        let listener = json!({
            "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
            "name": "in",
            "address": { "socket_address": { "address": "127.0.0.1", "port_value": 0 } },
            "per_connection_buffer_limit_bytes": buffer,
            "filter_chains": chains,
        });
        let update = json!({ "version_info": "v", "resources": [listener] }).to_string();
        let update = ListenerUpdate::from_json(&update).expect("an update");
        assert!(update.rejected.is_empty(), "{:?}", update.rejected);
        let configs = update.listeners.into_iter();
        let configs =
            configs.map(|listener| self.maker.listener(listener).expect("no files to read"));
        let report = self.listeners.apply(Update::lds("v", configs)).await;
        match report.outcome("in") {
            Some(Ok(change)) => *change,
            other => panic!("{other:?}"),
        }
    }

    fn address(&self) -> SocketAddr {
        let local = self.listeners.local_address("in");
        local
            .and_then(|local| local.as_socket())
            .expect("it listens")
    }

    /// A client whose address ends in this byte.
    async fn connect(&self, source: u8) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        let from = SocketAddr::from(([127, 0, 0, source], 0));
        socket.bind(from).expect("all of 127.0.0.0/8 is here");
        within("a connection", socket.connect(self.address()))
            .await
            .expect("it listens")
    }

    async fn client(&self, source: u8) -> Client {
        Client(self.connect(source).await)
    }

    fn stat(&self, name: &str) -> u64 {
        let snapshot = self.stats.snapshot();
        let found = snapshot.get(&format!("listener_manager.{name}"));
        found
            .or_else(|| snapshot.get(name))
            .unwrap_or_else(|| panic!("no statistic {name:?}"))
    }

    /// The chain or version that is over next.
    async fn over(&mut self) -> String {
        within("the end of a drain", self.over.recv())
            .await
            .expect("the driver runs")
    }
}

/// HTTP/1.1 by hand.
struct Client(TcpStream);

impl Client {
    /// The body of the answer, and whether it says that the connection is closed.
    async fn get(&mut self) -> (String, bool) {
        let response = within("a response", rig::h1::get(&mut self.0, "/")).await;
        let (head, body) = response.expect("a whole response");
        let body = String::from_utf8(body.into()).expect("text");
        (body, head.close())
    }

    /// The server has nothing more to say.
    async fn fin(mut self) {
        let end = within("the end of a connection", self.0.read(&mut [0; 64])).await;
        assert_eq!(end.expect("FIN, not RST"), 0);
    }

    /// Closed without an answer: FIN, or RST if the request was on its way.
    async fn unanswered(mut self) {
        // Whether it can still be written is chance.
        let written = self
            .0
            .write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n")
            .await;
        drop(written);
        match within("the end of a connection", self.0.read(&mut [0; 64])).await {
            Ok(0) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            other => panic!("{other:?}"),
        }
    }
}

/// A chain for clients whose address ends in `source`, answering with `body`.
fn chain(name: &str, source: u8, body: &str) -> Value {
    let mut chain = any(name, body);
    let range = json!({ "address_prefix": format!("127.0.0.{source}"), "prefix_len": 32 });
    chain["filter_chain_match"] = json!({ "source_prefix_ranges": [range] });
    chain
}

/// A chain for every client.
fn any(name: &str, body: &str) -> Value {
    let router =
        json!({ "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" });
    let route = json!({ "match": { "prefix": "/" }, "direct_response": { "status": 200, "body": { "inline_string": body } } });
    json!({ "name": name, "filters": [{ "name": "http", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": if name.is_empty() { "all" } else { name },
        "codec_type": "AUTO",
        "drain_timeout": "0.25s",
        "http_filters": [{ "name": "router", "typed_config": router }],
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [route] }] },
    } }] })
}

fn before() -> [Value; 3] {
    [
        chain("changed", 2, "v1"),
        chain("kept", 3, "v1"),
        chain("removed", 4, "v1"),
    ]
}

fn after() -> [Value; 3] {
    [
        chain("added", 5, "v2"),
        chain("kept", 3, "v1"),
        chain("changed", 2, "v2"),
    ]
}

fn body(text: &str, close: bool) -> (String, bool) {
    (text.to_owned(), close)
}

#[tokio::test]
async fn changed_and_removed_chains_are_told_and_closed_and_a_kept_one_sees_nothing() {
    let mut edge = Edge::start(DrainStrategy::Immediate, Duration::from_secs(600));
    edge.update(1, &before()).await;
    let mut changed = edge.client(2).await;
    let mut kept = edge.client(3).await;
    let mut removed = edge.client(4).await;
    for client in [&mut changed, &mut kept, &mut removed] {
        assert_eq!(client.get().await, body("v1", false));
    }
    edge.client(5).await.unanswered().await;

    let change = edge.update(1, &after()).await;
    assert!(
        matches!(
            change,
            Change::UpdatedInPlace {
                version: 1,
                kept: 1,
                added: 2,
                draining: 2,
                ..
            }
        ),
        "{change:?}"
    );
    assert_eq!(edge.stat("listener_in_place_updated"), 1);
    assert_eq!(edge.stat("listener_modified"), 1);
    assert_eq!(edge.stat("total_listeners_active"), 1);
    assert_eq!(edge.stat("total_listeners_draining"), 0);
    assert_eq!(edge.stat("total_filter_chains_draining"), 2);

    // They are served by what they had, told, and closed.
    assert_eq!(changed.get().await, body("v1", true));
    changed.fin().await;
    assert_eq!(edge.over().await, "changed");
    assert_eq!(edge.stat("total_filter_chains_draining"), 1);
    let now = tokio::time::Instant::now().into_std();
    let drains = DrainView::draining_chains(&edge.listeners.draining_chains(), now);
    assert_eq!(drains.len(), 1, "{drains:?}");
    assert_eq!(drains[0].filter_chain.as_deref(), Some("removed"));
    assert_eq!(drains[0].reason, "filter_chain_update");
    assert!(drains[0].connections > 0 && drains[0].deadline_in.is_some());
    assert_eq!(removed.get().await, body("v1", true));
    removed.fin().await;
    assert_eq!(edge.over().await, "removed");
    assert_eq!(edge.stat("total_filter_chains_draining"), 0);

    assert_eq!(kept.get().await, body("v1", false));
    assert_eq!(edge.client(2).await.get().await, body("v2", false));
    assert_eq!(edge.client(3).await.get().await, body("v1", false));
    assert_eq!(edge.client(5).await.get().await, body("v2", false));
    edge.client(4).await.unanswered().await;
    assert_eq!(kept.get().await, body("v1", false));
    // The kept chain counts on where it was; nothing is left of the one that is gone.
    assert_eq!(edge.stat("http.kept.downstream_cx_total"), 2);
    assert_eq!(edge.stat("http.kept.downstream_rq_total"), 4);
    assert_eq!(
        edge.stats
            .snapshot()
            .get("http.removed.downstream_cx_total"),
        None
    );
}

#[tokio::test]
async fn silent_connections_of_a_changed_chain_are_closed_at_its_deadline() {
    let mut edge = Edge::start(DrainStrategy::Gradual, Duration::from_secs(1));
    edge.update(1, &before()).await;
    let (mut silent, mut kept) = (edge.client(2).await, edge.client(3).await);
    for client in [&mut silent, &mut kept] {
        // Served once, so that it is in its chain before the update.
        assert_eq!(client.get().await, body("v1", false));
    }
    edge.update(1, &after()).await;
    silent.fin().await;
    let mut over = [edge.over().await, edge.over().await];
    over.sort_unstable();
    assert_eq!(over, ["changed", "removed"]);
    assert_eq!(kept.get().await, body("v1", false));
}

#[tokio::test]
async fn http2_connections_of_a_changed_chain_end_by_goaway_and_kept_ones_stay() {
    let mut edge = Edge::start(DrainStrategy::Immediate, Duration::from_secs(600));
    edge.update(1, &before()).await;
    let mut senders = Vec::new();
    let mut connections = Vec::new();
    for source in [2, 3] {
        let stream = TokioIo::new(edge.connect(source).await);
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
        let (sender, connection) = handshake.await.expect("HTTP/2");
        senders.push(sender);
        connections.push(tokio::spawn(connection));
    }
    let request = || {
        let request = http::Request::get("http://test/");
        request.body(Empty::<Bytes>::new()).expect("a request")
    };
    for sender in &mut senders {
        within("a response", sender.send_request(request()))
            .await
            .expect("it is served");
    }
    edge.update(1, &after()).await;
    // The idle connection of the changed chain ends without having asked for anything, and without
    // an error.
    let ended = within("the end of the connection", connections.remove(0)).await;
    assert!(ended.expect("no panic").is_ok());
    while edge.over().await != "changed" {}
    assert!(!connections[0].is_finished());
    let response = within("a response", senders[1].send_request(request())).await;
    assert_eq!(response.expect("it is served").status(), 200);
}

#[tokio::test]
async fn the_only_chain_changed_drains_in_place_and_a_change_of_the_listener_drains_what_was_kept()
{
    let mut edge = Edge::start(DrainStrategy::Immediate, Duration::from_secs(600));
    edge.update(1, &[any("", "v1")]).await;
    let mut first = edge.client(1).await;
    assert_eq!(first.get().await, body("v1", false));
    let change = edge.update(1, &[any("", "v2")]).await;
    assert!(
        matches!(
            change,
            Change::UpdatedInPlace {
                version: 1,
                draining: 1,
                ..
            }
        ),
        "{change:?}"
    );
    let mut second = edge.client(1).await;
    assert_eq!(second.get().await, body("v2", false));
    assert_eq!(first.get().await, body("v1", true));
    first.fin().await;
    assert_eq!(edge.over().await, "all");

    let change = edge.update(2, &[any("", "v2")]).await;
    assert!(
        matches!(
            change,
            Change::Modified {
                version: 2,
                replaced: 1
            }
        ),
        "{change:?}"
    );
    assert_eq!(edge.stat("total_listeners_draining"), 1);
    assert_eq!(second.get().await, body("v2", true));
    second.fin().await;
    assert_eq!(edge.over().await, "1");
    assert_eq!(edge.stat("total_listeners_draining"), 0);
    assert_eq!(edge.stat("listener_in_place_updated"), 1);
    assert_eq!(edge.stat("listener_modified"), 2);
}

/// Sends back what it gets, after its name.
async fn echo(name: u8) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                stream.write_u8(name).await?;
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await?;
                to.shutdown().await
            });
        }
    });
    address
}

fn cluster(name: &str, at: SocketAddr) -> Cluster {
    let address = json!({ "socket_address": { "address": at.ip(), "port_value": at.port() } });
    let endpoints = json!([{ "lb_endpoints": [{ "endpoint": { "address": address } }] }]);
    let cluster = json!({ "name": name, "type": "STATIC", "load_assignment": { "cluster_name": name, "endpoints": endpoints } });
    serde_json::from_value(cluster).expect("a cluster")
}

#[tokio::test]
async fn another_cluster_of_a_tcp_proxy_is_in_place_and_old_bytes_flow_until_the_deadline() {
    let clusters = [
        cluster("a", echo(b'a').await),
        cluster("b", echo(b'b').await),
    ];
    let mut edge = Edge::with_clusters(DrainStrategy::Gradual, Duration::from_secs(2), &clusters);
    let tcp = |cluster: &str| {
        json!({ "filters": [{ "name": "tcp", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "tcp",
            "cluster": cluster,
        } }] })
    };
    edge.update(1, &[tcp("a")]).await;
    let mut old = edge.connect(1).await;
    assert_eq!(within("a byte", old.read_u8()).await.expect("a byte"), b'a');
    let change = edge.update(1, &[tcp("b")]).await;
    assert!(
        matches!(change, Change::UpdatedInPlace { .. }),
        "{change:?}"
    );
    old.write_u8(7).await.expect("it is open");
    assert_eq!(within("an echo", old.read_u8()).await.expect("an echo"), 7);
    let mut new = edge.connect(1).await;
    assert_eq!(within("a byte", new.read_u8()).await.expect("a byte"), b'b');
    Client(old).fin().await;
    assert_eq!(edge.over().await, "all");
    new.write_u8(8).await.expect("it is open");
    assert_eq!(within("an echo", new.read_u8()).await.expect("an echo"), 8);
}
