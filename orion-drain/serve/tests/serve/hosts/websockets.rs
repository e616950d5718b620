//! WebSockets of axum, whose task knows nothing of drains.

use axum::Router;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::routing::any;
use bytes::Bytes;
use conn_tracker::{CloseReason, ConnKind, ConnProtocol, ConnState};
use drain_tree::DrainEnding;
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use http::Request;
use orion_drain_serve::{CodecType, Http, HttpServer, HttpTimeouts};
use rig::websocket::{handshake, key};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{DRAIN_TIME, Host, host};

fn router() -> Router {
    Router::new().route(
        "/ws",
        any(async |upgrade: WebSocketUpgrade| {
            upgrade.on_upgrade(async |mut socket| {
                while let Some(Ok(message)) = socket.recv().await {
                    let is_text = matches!(message, Message::Text(_));
                    if is_text && socket.send(message).await.is_err() {
                        break;
                    }
                }
            })
        }),
    )
}

async fn websockets() -> Host {
    let server = HttpServer::new(CodecType::Auto, &HttpTimeouts::default(), Arc::new(()));
    host(Http::tower(router()).with_server(server.with_extended_connect())).await
}

/// "ping", in a masked frame with a mask of zeros, and as the server sends it.
const PING: &[u8] = b"\x81\x84\0\0\0\0ping";
const ECHO: &[u8] = b"\x81\x04ping";

/// A WebSocket to a server with [`router`]'s paths.
pub(crate) async fn upgraded(to: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(to).await.unwrap();
    let upgrade = handshake("/ws", &key(*b"sixteen bytes of"));
    client.write_all(upgrade.as_bytes()).await.unwrap();
    assert_eq!(rig::h1::head(&mut client).await.unwrap().status(), 101);
    client
}

pub(crate) async fn echo(client: &mut TcpStream) {
    client.write_all(PING).await.unwrap();
    let mut echoed = [0; ECHO.len()];
    client.read_exact(&mut echoed).await.unwrap();
    assert_eq!(echoed, ECHO);
}

#[tokio::test]
async fn a_websocket_is_listed_and_waited_for_until_its_client_ends_it() {
    let host = websockets().await;
    let mut client = upgraded(host.address).await;
    let listed = host.only(|only| only.kind == ConnKind::Tunnel).await;
    assert_eq!(listed.protocol, ConnProtocol::WebSocket);
    let drain = host.drain();
    host.only(|only| only.state == ConnState::Draining).await;
    echo(&mut client).await;
    assert!(!drain.is_finished());
    drop(client);
    let outcome = drain.await.unwrap();
    assert_eq!((outcome.ending, outcome.left), (DrainEnding::Empty, 0));
    host.is_empty().await;
    assert_eq!(host.tracker.closed(CloseReason::Drained), 1);
}

#[tokio::test]
async fn a_websocket_that_its_client_keeps_ends_with_the_drain() {
    let host = websockets().await;
    let mut client = upgraded(host.address).await;
    let start = Instant::now();
    let drain = host.drain();
    while start.elapsed() < DRAIN_TIME - Duration::from_secs(2) {
        echo(&mut client).await;
    }
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    drain.await.unwrap();
    host.is_empty().await;
    assert!(start.elapsed() < DRAIN_TIME * 3, "{:?}", start.elapsed());
}

/// A handler that takes the tunnel and never looks at it again does not keep the drain beyond its
/// deadline, and is listed for as long as it has the transport.
#[tokio::test]
async fn a_tunnel_whose_handler_never_looks_is_listed_and_not_waited_for_beyond_the_deadline() {
    let router = Router::new().route(
        "/ws",
        any(async |upgrade: WebSocketUpgrade| {
            upgrade.on_upgrade(async |socket| {
                std::future::pending::<()>().await;
                drop(socket);
            })
        }),
    );
    let host = host(Http::tower(router)).await;
    let _client = upgraded(host.address).await;
    let outcome = host.drain().await.unwrap();
    assert_eq!((outcome.ending, outcome.left), (DrainEnding::Deadline, 1));
    host.only(|only| only.state == ConnState::Closing).await;
}

async fn over_http2(
    host: &Host,
) -> (
    h2::client::SendRequest<Bytes>,
    SendStream<Bytes>,
    RecvStream,
) {
    let socket = TcpStream::connect(host.address).await.unwrap();
    let (mut client, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    while !client.is_extended_connect_protocol_enabled() {
        tokio::task::yield_now().await;
    }
    let mut request = Request::builder()
        .method("CONNECT")
        .uri("http://a/ws")
        .header("sec-websocket-version", "13")
        .body(())
        .unwrap();
    request
        .extensions_mut()
        .insert(Protocol::from_static("websocket"));
    let (response, send) = client.send_request(request, false).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), 200);
    (client, send, response.into_body())
}

async fn echo_over_http2(send: &mut SendStream<Bytes>, receive: &mut RecvStream) {
    send.send_data(Bytes::from_static(PING), false).unwrap();
    let mut echoed = Vec::new();
    while echoed.len() < ECHO.len() {
        echoed.extend_from_slice(&receive.data().await.unwrap().unwrap());
    }
    assert_eq!(echoed, ECHO);
}

#[tokio::test]
async fn a_websocket_over_http2_is_a_request_of_its_connection_until_it_ends() {
    let host = websockets().await;
    let (client, mut send, mut receive) = over_http2(&host).await;
    echo_over_http2(&mut send, &mut receive).await;
    let listed = host.only(|only| only.protocol == ConnProtocol::Http2).await;
    assert_eq!(listed.kind, ConnKind::InRequest { streams: 1 });
    let drain = host.drain();
    host.only(|only| only.state == ConnState::Draining).await;
    echo_over_http2(&mut send, &mut receive).await;
    assert!(!drain.is_finished());
    send.send_data(Bytes::new(), true).unwrap();
    while let Some(Ok(_)) = receive.data().await {}
    drop((client, send, receive));
    assert_eq!(drain.await.unwrap().left, 0);
    host.is_empty().await;
}

#[tokio::test]
async fn an_idle_timeout_does_not_count_while_a_websocket_over_http2_is_open() {
    let timeouts = HttpTimeouts::default().with_idle(Some(Duration::from_millis(300)));
    let server = HttpServer::new(CodecType::Auto, &timeouts, Arc::new(()));
    let host = host(Http::tower(router()).with_server(server.with_extended_connect())).await;
    let (client, mut send, mut receive) = over_http2(&host).await;
    // A connection without a request that is opened later: its idle timeout runs out later too.
    let mut idle = TcpStream::connect(host.address).await.unwrap();
    idle.write_all(b"GET /nowhere HTTP/1.1\r\nhost: test\r\n\r\n")
        .await
        .unwrap();
    idle.read_to_end(&mut Vec::new()).await.unwrap();
    echo_over_http2(&mut send, &mut receive).await;
    assert_eq!(host.only(|_| true).await.state, ConnState::Active);
    drop((client, send, receive));
    host.is_empty().await;
}
