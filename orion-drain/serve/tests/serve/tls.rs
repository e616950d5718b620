//! `serve` over TLS, on sockets: what ALPN chose is what is drained, and a handshake does not
//! outlast its bound.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use conn_tracker::{CloseReason, ConnProtocol, ConnTracker};
use drain_tree::{
    DrainEnding, DrainManager, DrainReason, DrainSettings, DrainStart, DrainStrategy,
};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use listener_versions::{Listeners, ListenersOptions, Update};
use orion_drain_serve::{Http, ListenOn, ReceivedBody, Tls, serve};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

struct Server {
    root: DrainManager,
    tracker: ConnTracker,
    to: SocketAddr,
    trusted: RootCertStore,
    _listeners: Listeners<ListenOn>,
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .unwrap_or_else(|_| panic!("{what} did not happen"))
}

async fn server() -> Server {
    server_with(|tls| tls.with_handshake_timeout_in_drain(Duration::from_millis(50))).await
}

async fn server_with(change: impl FnOnce(Tls) -> Tls) -> Server {
    let signed =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let certificate = signed.cert.der().clone();
    let mut trusted = RootCertStore::empty();
    trusted.add(certificate.clone()).expect("it is trusted");
    let key = PrivateKeyDer::try_from(signed.signing_key.serialize_der()).expect("a key");
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("they belong together");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];

    let root = DrainManager::root(DrainSettings::default().with_strategy(DrainStrategy::Immediate));
    let tracker = ConnTracker::new();
    let (listeners, driver) = Listeners::new(
        root.clone(),
        tracker.clone(),
        ListenersOptions::default(),
        (),
    );
    tokio::spawn(driver);
    let service = service_fn(|_: Request<ReceivedBody>| async {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello"))))
    });
    let tls = change(Tls::new(Arc::new(config)));
    tokio::spawn(serve(&listeners, Http::new(service).with_tls(tls)));
    let address = "127.0.0.1:0".parse().expect("an address");
    let report = listeners
        .apply(Update::bootstrap([ListenOn::new("in", address)]))
        .await;
    assert!(report.is_success());
    let to = listeners
        .local_address("in")
        .and_then(|local| local.as_socket());
    Server {
        root,
        tracker,
        to: to.expect("it listens"),
        trusted,
        _listeners: listeners,
    }
}

impl Server {
    async fn connect(&self, alpn: &[u8]) -> TokioIo<TlsStream<TcpStream>> {
        let mut config = ClientConfig::builder()
            .with_root_certificates(self.trusted.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        let tcp = TcpStream::connect(self.to).await.expect("it listens");
        let name = ServerName::try_from("localhost").expect("a name");
        let tls = TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await;
        TokioIo::new(tls.expect("the handshake"))
    }
}

#[tokio::test]
async fn http1_over_tls_is_told_by_its_response() {
    let server = server().await;
    let io = server.connect(b"http/1.1").await;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
        .await
        .expect("http/1.1");
    let connection = tokio::spawn(connection);
    let get = || {
        Request::get("/")
            .header("host", "a")
            .body(Empty::<Bytes>::new())
            .expect("a request")
    };
    let response = sender.send_request(get()).await.expect("an answer");
    assert!(!response.headers().contains_key("connection"));
    response.into_body().collect().await.expect("a body");
    assert_eq!(server.tracker.snapshot()[0].protocol, ConnProtocol::Http1);
    let drain = server
        .root
        .start_drain_sequence(DrainStart::new(DrainReason::ListenerModify));
    let drain = tokio::spawn(drain);
    let response = sender.send_request(get()).await.expect("an answer");
    assert_eq!(response.headers()["connection"], "close");
    response.into_body().collect().await.expect("a body");
    within("the close", connection)
        .await
        .expect("it runs")
        .expect("a clean end");
    drop(sender);
    assert_eq!(
        within("the drain", drain).await.expect("it runs").ending,
        DrainEnding::Empty
    );
}

#[tokio::test]
async fn http2_over_tls_gets_a_goaway_and_ends_cleanly() {
    let server = server().await;
    let io = server.connect(b"h2").await;
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .expect("h2");
    let connection = tokio::spawn(connection);
    let get = || {
        Request::get("https://a/")
            .body(Empty::<Bytes>::new())
            .expect("a request")
    };
    let response = sender.send_request(get()).await.expect("an answer");
    assert_eq!(
        response
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes(),
        "hello"
    );
    assert_eq!(server.tracker.snapshot()[0].protocol, ConnProtocol::Http2);
    let drain = server
        .root
        .start_drain_sequence(DrainStart::new(DrainReason::ListenerModify));
    let drain = tokio::spawn(drain);
    // hyper's client ends its connection when the GOAWAY has come and no stream is open.
    within("the GOAWAY", connection)
        .await
        .expect("it runs")
        .expect("a clean end");
    assert_eq!(
        within("the drain", drain).await.expect("it runs").ending,
        DrainEnding::Empty
    );
}

#[tokio::test]
async fn a_handshake_that_hangs_holds_up_no_drain() {
    let server = server().await;
    let mut silent = TcpStream::connect(server.to).await.expect("it listens");
    within("the accept", async {
        while server.tracker.is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let drain = server
        .root
        .start_drain_sequence(DrainStart::new(DrainReason::ListenerModify));
    assert_eq!(within("the drain", drain).await.ending, DrainEnding::Empty);
    let mut rest = Vec::new();
    within("the end", silent.read_to_end(&mut rest))
        .await
        .expect("a FIN");
    assert_eq!(server.tracker.closed(CloseReason::Deadline), 1);
}

#[tokio::test]
async fn a_handshake_has_the_time_that_is_set_also_without_a_drain() {
    let server = server_with(|tls| tls.with_handshake_timeout(Duration::from_millis(50))).await;
    let mut silent = TcpStream::connect(server.to).await.expect("it listens");
    // The default is 10 s.
    let mut rest = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(8), silent.read_to_end(&mut rest)).await;
    end.expect("it is not the default").expect("a FIN");
}
