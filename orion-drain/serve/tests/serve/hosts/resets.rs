//! A tunnel over HTTP/2 whose one side is reset: the other side reads a reset, not an end.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};
use hyper_util::rt::TokioIo;
use orion_drain_serve::{CodecType, Connection, Http, HttpServer, HttpTimeouts, serve_tunnel};
use proto_drain_tcp::CopyOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::host;

/// CONNECT is relayed to `upstream`.
fn relay(upstream: SocketAddr) -> Router {
    Router::new().fallback(move |mut request: Request<Body>| async move {
        let connection: Connection = request.extensions().get().cloned().unwrap();
        let client = hyper::upgrade::on(&mut request);
        let upstream = TcpStream::connect(upstream).await.unwrap();
        tokio::spawn(async move {
            let client = TokioIo::new(client.await.unwrap());
            serve_tunnel(client, upstream, connection, CopyOptions::new()).await
        });
        Response::new(Body::empty())
    })
}

/// A tunnel through a host to a socket that the test has.
async fn tunnel() -> (
    super::Host,
    h2::client::SendRequest<Bytes>,
    SendStream<Bytes>,
    RecvStream,
    TcpStream,
) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let router = relay(listener.local_addr().unwrap());
    let server = HttpServer::new(CodecType::Auto, &HttpTimeouts::default(), Arc::new(()));
    let host = host(Http::tower(router).with_server(server)).await;
    let socket = TcpStream::connect(host.address).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let request = Request::connect("a:1").body(()).unwrap();
    let (response, mut send) = client.send_request(request, false).unwrap();
    let (mut upstream, _) = listener.accept().await.unwrap();
    let mut receive = response.await.unwrap().into_body();
    // Bytes go both ways.
    send.send_data(Bytes::from_static(b"ping"), false).unwrap();
    let mut got = [0; 4];
    upstream.read_exact(&mut got).await.unwrap();
    upstream.write_all(b"pong").await.unwrap();
    assert_eq!(receive.data().await.unwrap().unwrap(), "pong");
    (host, client, send, receive, upstream)
}

/// Dropping it sends RST.
fn reset(socket: TcpStream) {
    proto_drain_tcp::reset_on_drop(&socket).unwrap();
    drop(socket);
}

#[tokio::test]
async fn a_reset_of_the_upstream_reaches_an_http2_client_as_a_reset() {
    let (_host, _client, _send, mut receive, upstream) = tunnel().await;
    reset(upstream);
    let end = receive.data().await;
    let reason = end
        .and_then(|end| end.err())
        .and_then(|error| error.reason());
    assert_eq!(reason, Some(Reason::CANCEL));
}

#[tokio::test]
async fn a_reset_of_an_http2_client_reaches_the_upstream_as_a_reset() {
    let (host, _client, mut send, _receive, mut upstream) = tunnel().await;
    send.send_reset(Reason::CANCEL);
    let end = upstream.read(&mut [0; 8]).await;
    assert!(end.is_err(), "{end:?}");
    host.only(|only| only.kind == conn_tracker::ConnKind::Idle)
        .await;
}

#[tokio::test]
async fn the_end_of_either_side_reaches_the_other_as_an_end() {
    let (_host, _client, mut send, mut receive, mut upstream) = tunnel().await;
    send.send_data(Bytes::from_static(b"last"), true).unwrap();
    let mut last = Vec::new();
    upstream.read_to_end(&mut last).await.unwrap();
    assert_eq!(last, b"last");
    upstream.write_all(b"more").await.unwrap();
    drop(upstream);
    assert_eq!(receive.data().await.unwrap().unwrap(), "more");
    assert!(
        receive
            .data()
            .await
            .is_none_or(|end| end.unwrap().is_empty())
    );
}
