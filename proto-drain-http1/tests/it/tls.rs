//! Over TLS on a real socket: a large response to a client that keeps sending ends in close_notify
//! and FIN, not in RST.
#![cfg(feature = "hyper")]

use crate::rig;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use drain_signal::{CloseCause, drive};
use http::Response;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proto_drain_http1::{
    CloseCounters, DrainService, Http1Connection, Http1Settings, LingerIo, LingerSettings,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const RESPONSE: usize = 1_000_000;

fn tls() -> (TlsAcceptor, TlsConnector) {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(own.cert.der().clone()).unwrap();
    let client = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (
        TlsAcceptor::from(Arc::new(server)),
        TlsConnector::from(Arc::new(client)),
    )
}

#[tokio::test]
async fn a_large_response_over_tls_arrives_whole_and_ends_in_close_notify_and_fin() {
    let (acceptor, connector) = tls();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_trigger, signal) = drain_signal::channel();
    let watch = signal.watch().unwrap();
    watch.start_now();
    let counters = CloseCounters::new();
    let counted = counters.clone();
    let served = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let stream = acceptor.accept(socket).await.unwrap();
        // Minutes, so that a slow machine does not cut it: what is tested is not the time bound.
        let linger = LingerSettings::default().with_delayed_close_timeout(Duration::from_secs(300));
        let io = LingerIo::new(stream, linger, counted);
        let exchanges = io.exchanges().clone();
        let answer = service_fn(async |_| {
            Ok::<_, std::io::Error>(Response::new(rig::full(Bytes::from(vec![b'r'; RESPONSE]))))
        });
        let service = DrainService::new(answer, watch.handle(), exchanges.clone());
        let connection = http1::Builder::new().serve_connection(TokioIo::new(io), service);
        drive(
            Http1Connection::new(connection, exchanges, Http1Settings::default()),
            watch,
        )
        .await
    });

    let name = ServerName::try_from("localhost").unwrap();
    let socket = TcpStream::connect(address).await.unwrap();
    let mut client = connector.connect(name, socket).await.unwrap();
    let head = format!(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
        100 * RESPONSE
    );
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(&[b'u'; 200_000]).await.unwrap();
    client.flush().await.unwrap();
    // It goes on sending while it reads.
    let mut response = Vec::new();
    while response.len() < RESPONSE / 2 {
        assert!(client.read_buf(&mut response).await.unwrap() > 0);
        client.write_all(&[b'u'; 100]).await.unwrap();
    }
    // An end without close_notify would be an error here, and so would RST.
    client.read_to_end(&mut response).await.unwrap();
    let head = response.len() - RESPONSE;
    assert!(String::from_utf8_lossy(&response[..head]).contains("connection: close\r\n"));
    let (mut socket, _) = client.into_inner();
    assert_eq!(socket.read(&mut [0]).await.unwrap(), 0, "FIN");
    drop(socket);
    assert_eq!(served.await.unwrap().cause, CloseCause::Drained);
    assert_eq!(counters.counts().staged, 1);
}
