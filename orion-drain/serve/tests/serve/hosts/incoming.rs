//! Servers that accept by themselves, over a listener of ours: `axum::serve`, tonic's own server.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::extract::ws::WebSocketUpgrade;
use axum::routing::{any, get};
use axum::serve::Listener;
use bytes::Bytes;
use conn_tracker::{ConnKind, ConnProtocol, ConnSnapshot, ConnTracker};
use drain_tree::{DrainEnding, DrainManager, DrainOutcome, DrainReason, DrainSettings, DrainStart};
use futures_util::{FutureExt, StreamExt as _, stream};
use http::{HeaderMap, Request, Response};
use http_body_util::StreamBody;
use hyper::body::Frame;
use listener_versions::{ListenAddress, ListenerConfig, Listeners, Update};
use orion_drain_serve::{DrainApp, HttpDrain, IncomingIo, ListenersIncoming};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tonic::service::Routes;

use super::websockets::{echo, upgraded};
use super::{PATIENCE, address_of, listeners};

/// A listener whose content changes.
#[derive(Debug)]
struct Config {
    address: ListenAddress,
    content: u8,
}

impl ListenerConfig for Config {
    type Chain = ();

    fn name(&self) -> &str {
        "in"
    }

    fn address(&self) -> &ListenAddress {
        &self.address
    }

    fn same_content(&self, other: &Self) -> bool {
        self.content == other.content
    }
}

/// Long: what a drain is expected to end without is not there at its deadline.
const LONG: Duration = Duration::from_secs(60);

struct Rig {
    root: DrainManager,
    tracker: ConnTracker,
    listeners: Listeners<Config>,
    address: SocketAddr,
}

impl Rig {
    async fn new(drain_time: Duration, serve: impl FnOnce(ListenersIncoming<Config>)) -> Self {
        let settings = DrainSettings::default()
            .with_drain_time(drain_time)
            .with_shutdown_minimum(Duration::ZERO);
        let (root, tracker, listeners) = listeners(settings);
        serve(ListenersIncoming::new(&listeners, HttpDrain::new()));
        let rig = Self {
            root,
            tracker,
            listeners,
            address: ([127, 0, 0, 1], 0).into(),
        };
        rig.update(0).await;
        let address = address_of(&rig.listeners);
        Self { address, ..rig }
    }

    async fn axum(drain_time: Duration, router: Router) -> Self {
        Self::new(drain_time, |incoming| {
            tokio::spawn(axum::serve(incoming, DrainApp::new(router)).into_future());
        })
        .await
    }

    async fn update(&self, content: u8) {
        let address = "127.0.0.1:0".parse().unwrap();
        let update = Update::put(Config { address, content });
        assert!(self.listeners.apply(update).await.is_success());
    }

    fn shut_down(&self) -> JoinHandle<DrainOutcome> {
        let start = DrainStart::new(DrainReason::ProcessShutdown);
        tokio::spawn(self.root.start_drain_sequence(start))
    }

    /// Until a connection is listed like this.
    async fn listed(&self, protocol: ConnProtocol, kind: ConnKind) {
        // The registry has no event for a change of one entry.
        soon(async {
            let is_it = |one: &ConnSnapshot| (one.protocol, one.kind) == (protocol, kind);
            while !self.tracker.snapshot().iter().any(is_it) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(PATIENCE, what).await;
    waited.expect("it takes too long")
}

/// Sends requests, one after another, over a connection until its server says close, then over a
/// new one, until it is to end and a server says close. Every request must be answered.
async fn client(address: SocketAddr, ends: Arc<AtomicBool>) -> u32 {
    let mut closes = 0;
    loop {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.set_nodelay(true).unwrap();
        let own = client.local_addr().unwrap().to_string();
        loop {
            let request = b"POST /peer HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody";
            client.write_all(request).await.unwrap();
            let (head, body) = rig::h1::response(&mut client).await.unwrap();
            assert_eq!(body, own.as_bytes());
            if head.close() {
                break;
            }
            assert_eq!(head.status(), 200, "{head:?}");
            tokio::task::yield_now().await;
        }
        closes += 1;
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
        if ends.load(Ordering::Relaxed) {
            return closes;
        }
    }
}

fn router() -> Router {
    Router::new()
        .route(
            "/peer",
            any(
                async |ConnectInfo(peer): ConnectInfo<SocketAddr>, body: Bytes| {
                    assert_eq!(body, "body");
                    peer.to_string()
                },
            ),
        )
        .route(
            "/ws",
            any(async |upgrade: WebSocketUpgrade| {
                upgrade.on_upgrade(async |mut socket| {
                    while let Some(Ok(message)) = socket.recv().await {
                        if socket.send(message).await.is_err() {
                            break;
                        }
                    }
                })
            }),
        )
}

#[tokio::test]
async fn clients_of_axum_serve_lose_no_request_by_updates_and_by_the_shut_down() {
    let rig = Rig::axum(LONG, router()).await;
    let ends = Arc::<AtomicBool>::default();
    let clients: Vec<_> = (0..8)
        .map(|_| tokio::spawn(client(rig.address, Arc::clone(&ends))))
        .collect();
    for content in 1..=4 {
        // Every client has a connection of this version.
        soon(async {
            while rig.tracker.snapshot().len() < 8 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        rig.update(content).await;
    }
    ends.store(true, Ordering::Relaxed);
    let outcome = soon(rig.shut_down()).await.unwrap();
    assert_eq!((outcome.ending, outcome.left), (DrainEnding::Empty, 0));
    for client in clients {
        assert!(soon(client).await.unwrap() > 0);
    }
    soon(rig.tracker.wait_empty()).await;
}

#[tokio::test]
async fn a_response_of_axum_serve_before_the_end_of_its_request_says_close_unless_the_end_has_come()
{
    let router = Router::new()
        .route("/read", any(async |body: Bytes| body))
        .route(
            "/some",
            any(async |body: Body| {
                let first = body.into_data_stream().next().await;
                first.expect("a part").expect("a part")
            }),
        )
        .route("/", any(async || "hello"));
    let rig = Rig::axum(LONG, router).await;
    let post = |path: &str, more: &str, body: &str| {
        format!("POST {path} HTTP/1.1\r\nhost: a\r\n{more}\r\n\r\n{body}")
    };
    let much = "y".repeat(12 << 20);
    let length = format!("content-length: {}", much.len());
    let chunked = "transfer-encoding: chunked";
    let trailers = "3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n";
    for (request, closes) in [
        (post("/", "content-length: 3", "abc"), false),
        (
            post("/some", chunked, "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
            false,
        ),
        (post("/read", "content-length: 3", "abc"), false),
        // The rest never comes.
        (post("/", "content-length: 9", "abc"), true),
        (
            post("/", "content-length: 9\r\nexpect: 100-continue", ""),
            true,
        ),
        (post("/some", "content-length: 9", "abc"), true),
        // The client sends all of it before it reads.
        (post("/", &length, &much), true),
        (post("/read", chunked, trailers), true),
        (post("/", chunked, trailers), true),
    ] {
        let mut client = TcpStream::connect(rig.address).await.unwrap();
        let shown = &request[..request.len().min(100)];
        soon(client.write_all(request.as_bytes())).await.unwrap();
        let (head, _) = soon(rig::h1::response(&mut client)).await.unwrap();
        assert_eq!((head.status(), head.close()), (200, closes), "{shown}");
        if closes {
            assert_eq!(soon(client.read(&mut [0; 1])).await.unwrap(), 0, "{shown}");
            continue;
        }
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        let (head, body) = soon(rig::h1::response(&mut client)).await.unwrap();
        assert_eq!((head.status(), &body[..]), (200, &b"hello"[..]), "{shown}");
    }
}

async fn websocket(rig: &Rig) -> TcpStream {
    let client = upgraded(rig.address).await;
    rig.listed(ConnProtocol::Http1, ConnKind::Tunnel).await;
    client
}

#[tokio::test]
async fn a_websocket_of_axum_serve_outlives_an_update_and_the_drain_waits_for_it() {
    let rig = Rig::axum(LONG, router()).await;
    let mut client = websocket(&rig).await;
    rig.update(1).await;
    echo(&mut client).await;
    let drain = rig.shut_down();
    echo(&mut client).await;
    assert!(!drain.is_finished());
    drop(client);
    let outcome = soon(drain).await.unwrap();
    assert_eq!((outcome.ending, outcome.left), (DrainEnding::Empty, 0));
}

#[tokio::test]
async fn what_a_client_of_axum_serve_keeps_open_ends_at_the_deadline() {
    let rig = Rig::axum(Duration::from_secs(2), router()).await;
    let mut idle = TcpStream::connect(rig.address).await.unwrap();
    let request = b"POST /peer HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody";
    idle.write_all(request).await.unwrap();
    let (head, _) = rig::h1::response(&mut idle).await.unwrap();
    assert!(!head.close(), "{head:?}");
    let mut websocket = websocket(&rig).await;
    let drain = rig.shut_down();
    echo(&mut websocket).await;
    for client in [&mut idle, &mut websocket] {
        let mut rest = Vec::new();
        // What axum says to a WebSocket whose reads have ended, or nothing.
        soon(client.read_to_end(&mut rest)).await.ok();
    }
    soon(drain).await.unwrap();
    soon(rig.tracker.wait_empty()).await;
}

#[tokio::test]
async fn a_request_of_axum_serve_over_http2_is_answered_after_its_goaway() {
    let go = Arc::new(Notify::new());
    let gate = Arc::clone(&go);
    let late = get(move || async move {
        gate.notified().await;
        "late"
    });
    let rig = Rig::axum(LONG, Router::new().route("/late", late)).await;
    let socket = TcpStream::connect(rig.address).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let request = Request::get("http://a/late").body(()).unwrap();
    let (answer, _) = client.send_request(request, true).unwrap();
    rig.listed(ConnProtocol::Http2, ConnKind::Handshaking).await;
    rig.update(1).await;
    // h2's client opens nothing more once it has the GOAWAY.
    let closing = soon(async {
        loop {
            if let Err(error) = poll_fn(|cx| client.poll_ready(cx)).await {
                return error;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(closing.is_go_away(), "{closing}");
    go.notify_one();
    let answer = soon(answer).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.into_body().data().await.unwrap().unwrap(), "late");
    drop(client);
    soon(connection).await.unwrap().unwrap();
    soon(rig.tracker.wait_empty()).await;
    let outcome = soon(rig.shut_down()).await.unwrap();
    assert_eq!((outcome.ending, outcome.left), (DrainEnding::Empty, 0));
}

/// Three gRPC messages, of which the last two come when they may, and the status.
async fn count(go: Arc<Notify>, request: Request<Body>) -> Response<Body> {
    let request = tonic::Request::from_http(request);
    assert!(request.remote_addr().is_some());
    let frames = stream::unfold(0, move |sent: u8| {
        let go = Arc::clone(&go);
        async move {
            let frame = match sent {
                0..=2 => Frame::data(Bytes::from(vec![0, 0, 0, 0, 2, 8, sent])),
                3 => {
                    let mut status = HeaderMap::new();
                    status.insert("grpc-status", "0".parse().unwrap());
                    Frame::trailers(status)
                }
                _ => return None,
            };
            if sent > 0 {
                go.notified().await;
            }
            Some((Ok::<_, Infallible>(frame), sent + 1))
        }
    });
    let mut response = Response::new(Body::new(StreamBody::new(frames)));
    let grpc = "application/grpc".parse().unwrap();
    response.headers_mut().insert("content-type", grpc);
    response
}

#[tokio::test]
async fn a_server_stream_of_tonics_own_server_goes_on_to_its_end_in_a_drain() {
    let go = Arc::new(Notify::new());
    let gate = Arc::clone(&go);
    let rig = Rig::new(LONG, |incoming| {
        let routes = Router::new().route(
            "/ticks.Ticks/Count",
            any(move |request| count(gate, request)),
        );
        let server = tonic::transport::Server::builder().add_routes(Routes::from(routes));
        tokio::spawn(server.serve_with_incoming(incoming));
    })
    .await;
    let socket = TcpStream::connect(rig.address).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let request = Request::post("http://a/ticks.Ticks/Count")
        .header("content-type", "application/grpc")
        .body(())
        .unwrap();
    let (answer, _) = client.send_request(request, true).unwrap();
    let mut ticks = soon(answer).await.unwrap().into_body();
    let first = soon(ticks.data()).await.unwrap().unwrap();
    assert_eq!(first[..], [0, 0, 0, 0, 2, 8, 0]);
    rig.update(1).await;
    let drain = rig.shut_down();
    for tick in 1..=2 {
        assert!(!drain.is_finished());
        go.notify_one();
        let next = soon(ticks.data()).await.unwrap().unwrap();
        assert_eq!(next[..], [0, 0, 0, 0, 2, 8, tick]);
    }
    let refused = client.ready().await.err().map(|error| error.is_go_away());
    assert_eq!(refused, Some(true));
    go.notify_one();
    assert!(soon(ticks.data()).await.is_none());
    let status = soon(ticks.trailers()).await.unwrap().unwrap();
    assert_eq!(status["grpc-status"], "0");
    soon(connection).await.unwrap().unwrap();
    let outcome = soon(drain).await.unwrap();
    assert_eq!((outcome.ending, outcome.left), (DrainEnding::Empty, 0));
}

#[tokio::test]
async fn an_accept_that_is_dropped_loses_no_connection() {
    let (sender, mut accepted) = tokio::sync::mpsc::unbounded_channel();
    let rig = Rig::new(LONG, |mut incoming| {
        tokio::spawn(async move {
            // Each is polled once, as in a `select!` whose other branch is ready.
            while !sender.is_closed() {
                if let Some(one) = incoming.accept().now_or_never() {
                    sender.send(one).unwrap();
                }
                tokio::task::yield_now().await;
            }
        });
    })
    .await;
    // Together, so that one look finds several.
    let clients = (0..8).map(|_| TcpStream::connect(rig.address));
    let clients = futures_util::future::try_join_all(clients).await.unwrap();
    let mut left: Vec<_> = clients
        .iter()
        .map(|one| one.local_addr().unwrap())
        .collect();
    while !left.is_empty() {
        let (io, _peer) = soon(accepted.recv()).await.unwrap();
        left.retain(|address| Some(*address) != io.connection().peer());
    }
}

#[tokio::test]
async fn the_transports_keep_vectored_writes() {
    let (sender, mut accepted) = tokio::sync::mpsc::unbounded_channel::<IncomingIo>();
    let rig = Rig::new(LONG, |mut incoming| {
        tokio::spawn(async move {
            while let Some(io) = poll_fn(|cx| incoming.poll_accept(cx)).await {
                sender.send(io).unwrap();
            }
        });
    })
    .await;
    let mut client = TcpStream::connect(rig.address).await.unwrap();
    let mut io = soon(accepted.recv()).await.unwrap();
    assert!(io.is_write_vectored());
    client.write_all(b"GET").await.unwrap();
    io.read_exact(&mut [0; 3]).await.unwrap();
    let bufs = [IoSlice::new(b"one"), IoSlice::new(b"two")];
    let written = poll_fn(|cx| Pin::new(&mut io).poll_write_vectored(cx, &bufs)).await;
    assert_eq!(written.unwrap(), 6);
    let mut got = [0; 6];
    client.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"onetwo");
}
