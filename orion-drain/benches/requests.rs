//! What serving under a drain costs per request, in instructions: the same requests with hyper-util alone and with
//! `serve_http`. Run it under callgrind with two counts and take the difference:
//!
//! ```console
//! $ cargo bench -p orion-drain --bench requests --no-run
//! $ valgrind --tool=callgrind target/release/deps/requests-* serve http1 2000
//! ```

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use orion_drain::conn_tracker::{ConnTracker, Peer};
use orion_drain::drain_tree::{DrainManager, DrainSettings};
use orion_drain::serve::{
    CodecType, Connection, ConnectionShown, HttpServer, HttpTimeouts, serve_http,
};
use orion_drain::stats::Stats;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

async fn answer(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(b"hello"))))
}

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    let said = |word: &str| arguments.iter().any(|argument| argument == word);
    let count = arguments.iter().find_map(|argument| argument.parse().ok());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(run(
        !said("plain"),
        said("http2"),
        count.unwrap_or(1_000),
    ));
}

async fn run(under_drain: bool, http2: bool, count: u32) {
    let (client, accepted) = duplex(64 * 1024);
    let root = DrainManager::root(DrainSettings::default());
    let tracker = ConnTracker::new();
    let http = Stats::new().http("in");
    let server = HttpServer::new(CodecType::Auto, &HttpTimeouts::default(), http)
        .with_connection_shown(ConnectionShown::Upgrades);
    let guard = tracker.group("in", 1).open(Peer::Unknown);
    let connection = Connection::new(&root, root.watch().expect("nothing drains"), guard);
    let serving = tokio::spawn(async move {
        if under_drain {
            drop(serve_http(accepted, service_fn(answer), connection, &server).await);
        } else {
            let builder = auto::Builder::new(TokioExecutor::new());
            let io = TokioIo::new(accepted);
            drop(
                builder
                    .serve_connection_with_upgrades(io, service_fn(answer))
                    .await,
            );
        }
    });
    if http2 {
        ask_http2(client, count).await;
    } else {
        ask_http1(client, count).await;
    }
    serving.await.expect("it runs");
}

async fn ask_http1(mut client: DuplexStream, count: u32) {
    let mut answer = vec![0; 4096];
    for _ in 0..count {
        let request = b"GET / HTTP/1.1\r\nhost: example\r\n\r\n";
        client.write_all(request).await.expect("it is open");
        let mut read = 0;
        while !answer[..read].ends_with(b"hello") {
            read += client.read(&mut answer[read..]).await.expect("it is open");
        }
    }
}

async fn ask_http2(client: DuplexStream, count: u32) {
    let io = TokioIo::new(client);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .expect("h2");
    let connection = tokio::spawn(connection);
    for _ in 0..count {
        let request = Request::get("http://example/").body(Empty::<Bytes>::new());
        let response = sender.send_request(request.expect("a request")).await;
        let body = response.expect("an answer").into_body().collect().await;
        assert_eq!(body.expect("a body").to_bytes(), "hello");
    }
    drop(sender);
    connection.await.expect("it runs").expect("a clean end");
}
