//! The server: hyper-util's auto connection alone, or all of this project around it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use orion_drain::conn_tracker::ConnTracker;
use orion_drain::drain_tree::{DrainManager, DrainSettings};
use orion_drain::listener_versions::{Listeners, ListenersOptions, Update};
use orion_drain::serve::{CodecType, Http, HttpServer, HttpTimeouts, ListenOn, serve};
use orion_drain::stats::Stats;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

async fn answer<B>(_: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(b"hello"))))
}

/// Serves on this thread until the client, a process of its own, has done its work; then prints
/// how long this thread has had a processor, in nanoseconds.
pub(crate) fn run(under_drain: bool, load: &str, times: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listeners = match under_drain {
            true => Some(with_drain().await),
            false => None,
        };
        let address = match &listeners {
            Some(listeners) => listeners.local_address("in").unwrap().as_socket().unwrap(),
            None => plain().await,
        };
        let before = on_cpu();
        client(address, load, times).await;
        println!("{}", (on_cpu() - before).as_nanos());
        // Without taking anything down.
        std::process::exit(0);
    });
}

/// As every host of hyper-util does it.
async fn plain() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let builder = auto::Builder::new(TokioExecutor::new());
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let builder = builder.clone();
            tokio::spawn(async move {
                let service = service_fn(answer);
                let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
                drop(served.await);
            });
        }
    });
    address
}

/// With listeners and their versions, the drain tree, the registry and the statistics; with the
/// default settings.
async fn with_drain() -> Listeners<ListenOn> {
    let root = DrainManager::root(DrainSettings::default());
    let options = ListenersOptions::default();
    let (listeners, driver) = Listeners::new(root, ConnTracker::new(), options, ());
    tokio::spawn(driver);
    let stats = Stats::new().http("in");
    let server = HttpServer::new(CodecType::Auto, &HttpTimeouts::default(), stats);
    let http = Http::new(service_fn(answer)).with_server(server);
    tokio::spawn(serve(&listeners, http));
    let listener = ListenOn::new("in", "127.0.0.1:0".parse().unwrap());
    let report = listeners.apply(Update::bootstrap([listener])).await;
    assert!(report.is_success());
    listeners
}

/// Starts the client and waits for its end, which wakes this thread once.
async fn client(address: SocketAddr, load: &str, times: &str) {
    let mut client = Command::new(std::env::current_exe().unwrap())
        .args(["ask", load, &address.to_string(), times])
        .spawn()
        .unwrap();
    let (ended, end) = oneshot::channel();
    std::thread::spawn(move || ended.send(client.wait()));
    assert!(end.await.unwrap().unwrap().success());
}

/// The time that this thread has had a processor.
fn on_cpu() -> Duration {
    // The account is closed when the thread makes way.
    std::thread::yield_now();
    let account = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(account.split(' ').next().unwrap().parse().unwrap())
}
