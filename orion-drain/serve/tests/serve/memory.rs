//! What an idle connection takes, counted by the allocator, beside hyper-util's own.
#![allow(
    clippy::unwrap_used,
    reason = "in a test's helpers too a panic is a failure"
)]

use std::convert::Infallible;
use std::sync::Arc;

use allocation_counter::measure;
use bytes::Bytes;
use conn_tracker::{ConnGroup, ConnTracker, Peer};
use drain_tree::{DrainManager, DrainSettings};
use http::{Request, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use orion_drain_serve::{
    CodecType, Connection, ConnectionShown, HttpServer, HttpTimeouts, serve_http,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Enough that what grows once for all of them does not count.
const CONNECTIONS: usize = 64;

const HTTP1: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// The preface, empty SETTINGS, GET http://a/ by the static table.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\
    \0\0\x06\x01\x05\0\0\0\x01\x82\x84\x86\x41\x01a";

async fn hello<B>(_: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(b"hello"))))
}

fn plain(builder: &Arc<auto::Builder<TokioExecutor>>, socket: TcpStream) {
    let builder = Arc::clone(builder);
    tokio::spawn(async move {
        let io = TokioIo::new(socket);
        let served = builder.serve_connection_with_upgrades(io, service_fn(hello));
        served.await.ok();
    });
}

fn ours(root: &DrainManager, group: &ConnGroup, server: &Arc<HttpServer>, socket: TcpStream) {
    let watch = root.watch().unwrap();
    let connection = Connection::new(root, watch, group.open(Peer::Unknown));
    let server = Arc::clone(server);
    tokio::spawn(serve_http(socket, service_fn(hello), connection, server));
}

/// What the allocator has given out for each connection, both sides of it, after one request.
fn bytes_each(request: &[u8], serve: impl Fn(TcpStream)) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let open = async || {
        let address = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        serve(listener.accept().await.unwrap().0);
        client.write_all(request).await.unwrap();
        let (mut answer, mut read) = (Vec::new(), [0; 1024]);
        while !answer.ends_with(b"hello") {
            let bytes = client.read(&mut read).await.unwrap();
            assert!(bytes > 0, "{:?}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&read[..bytes]);
        }
        client
    };
    // What is made for the first connection is not counted.
    let mut clients = vec![runtime.block_on(open())];
    clients.reserve(CONNECTIONS);
    let heap = measure(|| {
        runtime.block_on(async {
            for _ in 0..CONNECTIONS {
                clients.push(open().await);
            }
        });
    });
    usize::try_from(heap.bytes_current).unwrap() / CONNECTIONS
}

/// Bounds, not figures: a part that grows has to be looked at. hyper-util keeps room for both
/// codecs.
#[test]
fn an_idle_connection_takes_less_than_hyper_utils_over_http1_and_a_tenth_more_over_http2() {
    let builder = Arc::new(auto::Builder::new(TokioExecutor::new()));
    let root = DrainManager::root(DrainSettings::default());
    let group = ConnTracker::new().group("in", 1);
    let server = HttpServer::new(CodecType::Auto, &HttpTimeouts::default(), Arc::new(()))
        .with_connection_shown(ConnectionShown::Upgrades);
    let server = Arc::new(server);
    for (version, request, percent) in [("HTTP/1", HTTP1, 85), ("HTTP/2", HTTP2, 110)] {
        let plain = bytes_each(request, |socket| plain(&builder, socket));
        let ours = bytes_each(request, |socket| ours(&root, &group, &server, socket));
        println!("{version}: {ours} bytes, {plain} by hyper-util alone");
        assert!(ours * 100 <= plain * percent, "{version}: {ours}, {plain}");
    }
}
