//! A guard goes with a request's extensions into the tunnel's task, and keeps the connection
//! registered there.

use conn_tracker::{ConnGuard, ConnKind, ConnProtocol, ConnTracker, Peer};
use http_body_util::Empty;
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CONNECTION, UPGRADE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

/// A handler that knows nothing of the connection but what the request has.
async fn upgrade(request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    let guard = request.extensions().get::<ConnGuard>().cloned();
    tokio::spawn(async move {
        let guard = guard.expect("the request has it");
        let upgraded = hyper::upgrade::on(request).await.expect("it is upgraded");
        guard.set_kind(ConnKind::Tunnel);
        guard.set_protocol(ConnProtocol::WebSocket);
        let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded));
        tokio::io::copy(&mut read, &mut write)
            .await
            .expect("it echoes");
    });
    let mut response = Response::new(Empty::new());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, "upgrade".parse().expect("a value"));
    headers.insert(UPGRADE, "echo".parse().expect("a value"));
    Ok(response)
}

#[tokio::test(start_paused = true)]
async fn a_guard_in_a_requests_extensions_outlives_the_connections_task() {
    let tracker = ConnTracker::new();
    let group = tracker.group("ingress", 1);
    let (mut client, server) = duplex(1024);
    let guard = group.open(Peer::Unix);
    let id = guard.id();
    let http = tokio::spawn(async move {
        let riding = guard.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(riding.clone());
            upgrade(request)
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(server), service);
        connection.with_upgrades().await.expect("it speaks HTTP");
        drop(guard);
    });
    let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    client.write_all(request).await.expect("it is there");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.expect("an answer"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    http.await
        .expect("the connection's task ends with the upgrade");

    client
        .write_all(b"still here")
        .await
        .expect("the tunnel is there");
    let mut echo = [0; 10];
    client.read_exact(&mut echo).await.expect("an echo");
    assert_eq!(&echo, b"still here");
    let here = tracker.find(id).expect("it is registered");
    assert_eq!(
        (here.kind, here.protocol),
        (ConnKind::Tunnel, ConnProtocol::WebSocket)
    );
    let mut over = tokio_test::task::spawn(group.wait_empty());
    assert!(over.poll().is_pending());

    drop(client);
    over.await;
    assert_eq!(tracker.find(id), None);
}
