//! Who connects, for handlers; service types; codecs; what comes before the protocol.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::routing::get;
use conn_tracker::CloseReason;
use http::{Request, Response};
use listener_versions::Accepted;
use orion_drain_serve::{
    CodecType, Connection, Http, HttpServer, HttpTimeouts, ListenOn, ReceivedBody, SetupTimeouts,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower::ServiceExt as _;
use tower::service_fn;
use tower::util::BoxCloneService;

use super::host;

fn server(codec: CodecType) -> HttpServer {
    HttpServer::new(codec, &HttpTimeouts::default(), Arc::new(()))
}

/// What a client that sends `request` reads, and its address.
async fn exchange(to: SocketAddr, request: &[u8]) -> (String, SocketAddr) {
    let mut client = TcpStream::connect(to).await.unwrap();
    client.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // A reset is an end too.
    client.read_to_end(&mut answer).await.ok();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    (answer, client.local_addr().unwrap())
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn an_axum_handler_learns_its_peer() {
    let router = Router::new().route(
        "/",
        get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.to_string()),
    );
    let server = server(CodecType::Auto).with_axum_connect_info();
    let host = host(Http::tower(router).with_server(server)).await;
    let (answer, client) = exchange(host.address, GET).await;
    assert!(answer.ends_with(&client.to_string()), "{answer}");
}

#[tokio::test]
async fn a_tonic_handler_learns_its_peer_and_a_box_is_a_service() {
    // As tonic's generated servers do; boxed it is Clone and Send, and not Sync.
    let service = service_fn(async |request: Request<ReceivedBody>| {
        let request = tonic::Request::from_http(request);
        let peer = request.remote_addr().map(|peer| peer.to_string());
        Ok::<_, Infallible>(Response::new(Body::from(peer.unwrap_or_default())))
    });
    let service = BoxCloneService::new(service.map_response(|response: Response<Body>| response));
    let server = server(CodecType::Auto).with_tonic_connect_info();
    let host = host(Http::tower(service).with_server(server)).await;
    let (answer, client) = exchange(host.address, GET).await;
    assert!(answer.ends_with(&client.to_string()), "{answer}");
}

#[tokio::test]
async fn of_several_extensions_all_are_there() {
    #[derive(Clone)]
    struct Two(u8);
    let router = Router::new().route(
        "/",
        get(
            async |ConnectInfo(peer): ConnectInfo<SocketAddr>, request: Request<Body>| {
                let two = request.extensions().get::<Two>().map_or(0, |two| two.0);
                format!("{} {two}", peer.ip())
            },
        ),
    );
    let server = server(CodecType::Auto)
        .with_axum_connect_info()
        .with_extensions(|_, extensions| {
            extensions.insert(Two(2));
        });
    let host = host(Http::tower(router).with_server(server)).await;
    let (answer, _) = exchange(host.address, GET).await;
    assert!(answer.ends_with("127.0.0.1 2"), "{answer}");
}

#[tokio::test]
async fn a_server_of_one_codec_does_not_speak_the_other() {
    let router = || Router::new().route("/", get(async || "hello"));
    let only = async |codec| host(Http::tower(router()).with_server(server(codec))).await;
    let http1 = only(CodecType::Http1).await;
    assert!(exchange(http1.address, GET).await.0.ends_with("hello"));
    let (answer, _) = exchange(http1.address, &rig::h2::preface(65_535)).await;
    // A SETTINGS frame would be HTTP/2's answer.
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
        "{answer:?}"
    );
    let http2 = only(CodecType::Http2).await;
    let (answer, _) = exchange(http2.address, GET).await;
    assert!(
        !answer.contains("HTTP/1.1") && !answer.contains("hello"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_connection_of_any_codec_may_send_its_first_bytes_one_by_one() {
    let host = host(Http::tower(Router::new().route("/", get(async || "hello")))).await;
    for request in [
        GET,
        b"PRI / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    ] {
        let mut client = TcpStream::connect(host.address).await.unwrap();
        client.set_nodelay(true).unwrap();
        for byte in request {
            client.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
    }
}

/// A connection whose header never comes.
async fn silent(accepted: Accepted<ListenOn>, timeouts: SetupTimeouts) {
    let Accepted {
        mut stream,
        version,
        watch,
        conn,
        ..
    } = accepted;
    let connection = Connection::of(&version, watch, conn);
    let header = connection.within_timeouts(timeouts, stream.read_u8()).await;
    assert!(header.is_none());
}

#[tokio::test]
async fn what_comes_before_the_protocol_is_bounded_and_ends_by_force_and_by_the_drain() {
    let soon = SetupTimeouts::default().with_setup(Duration::from_millis(50));
    let late = SetupTimeouts::default().with_setup(Duration::MAX);
    let drained = late.with_setup_in_drain(Duration::from_millis(50));
    for (timeouts, reason) in [
        (soon, CloseReason::Error),
        (late, CloseReason::Admin),
        (drained, CloseReason::Deadline),
    ] {
        let host = host(move |accepted| silent(accepted, timeouts)).await;
        let mut client = TcpStream::connect(host.address).await.unwrap();
        match reason {
            CloseReason::Admin => {
                let id = host.only(|_| true).await.id;
                host.tracker.close(id).unwrap();
            }
            CloseReason::Deadline => {
                host.only(|_| true).await;
                drop(host.drain());
            }
            _ => {}
        }
        assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
        host.is_empty().await;
        assert_eq!(host.tracker.closed(reason), 1, "{reason}");
    }
}
