//! A control plane over TLS: trusted and trusting as configured, or else not asked.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncWriteExt, copy, copy_bidirectional, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::server::WebPkiClientVerifier;

use crate::ads::{begin, http, start_by, version_at};
use crate::support::plane::Plane;
use crate::support::tls::Secured;
use crate::support::{Edge, within};

const TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";

/// What ends TLS before a control plane. `None`: it speaks in clear.
type How = Option<TlsAcceptor>;

struct Front {
    address: SocketAddr,
    how: Arc<Mutex<How>>,
    /// The server's name and the protocol of each connection.
    seen: mpsc::UnboundedReceiver<(String, Vec<u8>)>,
}

/// Shows this certificate, and wants one of `clients`.
fn by(secured: &Secured, clients: &Secured) -> How {
    let verifier = WebPkiClientVerifier::builder(Arc::new(clients.trusted())).build();
    let builder = ServerConfig::builder().with_client_cert_verifier(verifier.expect("authorities"));
    let (chain, key) = secured.identity();
    let mut config = builder.with_single_cert(chain, key).expect("an identity");
    config.alpn_protocols = vec![b"h2".to_vec()];
    Some(TlsAcceptor::from(Arc::new(config)))
}

impl Front {
    async fn start(plane: SocketAddr, how: How) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let how = Arc::new(Mutex::new(how));
        let (to_seen, seen) = mpsc::unbounded_channel();
        let now = Arc::clone(&how);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (how, to_seen) = (now.lock().expect("unpoisoned").clone(), to_seen.clone());
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(plane).await.expect("the control plane");
                    let Some(acceptor) = how else {
                        copy_bidirectional(&mut client, &mut server).await.ok();
                        return;
                    };
                    let accepted = acceptor.accept(client).into_fallible().await;
                    let mut client = match accepted {
                        Ok(client) => client,
                        Err((_, mut refused)) => {
                            // Closed with something unread, it would answer with RST, and the alert
                            // would be lost on the way.
                            refused.shutdown().await.ok();
                            copy(&mut refused, &mut sink()).await.ok();
                            return;
                        }
                    };
                    let session = client.get_ref().1;
                    let name = session.server_name().unwrap_or("-").to_owned();
                    let protocol = session.alpn_protocol().unwrap_or_default().to_vec();
                    to_seen.send((name, protocol)).ok();
                    copy_bidirectional(&mut client, &mut server).await.ok();
                });
            }
        });
        Self { address, how, seen }
    }

    fn set(&self, how: How) {
        *self.how.lock().expect("unpoisoned") = how;
    }
}

/// Edge whose control plane has to show this certificate, with these fields beside.
async fn start(front: &Front, trusted: &str, more: &str) -> Edge {
    let options = format!(
        "http2_protocol_options: {{}}, transport_socket: {{ name: tls, typed_config: {{ \"@type\": \
         {TLS}.UpstreamTlsContext, sni: plane.test, common_tls_context: {{ validation_context: {{ trusted_ca: \
         {trusted} }}{more} }} }} }}"
    );
    start_by("GRPC", front.address, "", &options).await
}

fn file(secured: &Secured) -> String {
    format!("{{ filename: {:?} }}", secured.certificate())
}

fn identity(secured: &Secured) -> String {
    format!(", tls_certificates: [{}]", secured.pair())
}

/// Waits until edge says so of its control plane.
async fn until_said(edge: &mut Edge, what: &str) {
    let lines = edge.until(what).await;
    let line = lines.last().expect("a line");
    let start = "lds: control plane: cluster \"plane\": ";
    assert!(
        line.starts_with(start) && line.contains("; again in "),
        "{line}"
    );
}

#[tokio::test]
async fn a_control_plane_is_asked_over_mutual_tls_by_its_name() {
    let (server, own) = (Secured::of("plane.test"), Secured::of("edge.test"));
    let mut plane = Plane::start().await;
    let mut front = Front::start(plane.address, by(&server, &own)).await;
    let authority = std::fs::read_to_string(server.certificate()).expect("the certificate");
    let edge = start(
        &front,
        &format!("{{ inline_string: {authority:?} }}"),
        &identity(&own),
    )
    .await;
    let mut stream = begin(&mut plane).await;
    assert_eq!(
        within("a handshake", front.seen.recv()).await,
        Some(("plane.test".to_owned(), b"h2".to_vec()))
    );
    let address = edge.address("http").await;
    assert_eq!(version_at(address).await, "v1");
    stream.send("2", "b", vec![http(2)]).await;
    assert_eq!(
        stream.answer().await,
        ("2".to_owned(), "b".to_owned(), None)
    );
    assert_eq!(version_at(address).await, "v2");
    assert_eq!(edge.stat("control_plane.connected_state").await, 1);
}

#[tokio::test]
async fn a_control_plane_that_fails_the_handshake_is_named_and_the_last_listeners_serve_on() {
    let (server, own, other) = (
        Secured::of("plane.test"),
        Secured::of("edge.test"),
        Secured::of("plane.test"),
    );
    for (fault, said) in [
        (
            by(&other, &own),
            "TLS handshake: invalid peer certificate: ",
        ),
        (by(&server, &other), "received fatal alert: "),
        (None, "TLS handshake: received corrupt message"),
    ] {
        let mut plane = Plane::start().await;
        let front = Front::start(plane.address, by(&server, &own)).await;
        let mut edge = start(&front, &file(&server), &identity(&own)).await;
        let stream = begin(&mut plane).await;
        let address = edge.address("http").await;
        front.set(fault);
        drop(stream);
        until_said(&mut edge, said).await;
        assert_eq!(edge.stat("control_plane.connected_state").await, 0);
        assert_eq!(version_at(address).await, "v1");
        front.set(by(&server, &own));
        let mut stream = plane.whole().await;
        assert_eq!(stream.answer().await, ("1".to_owned(), String::new(), None));
        stream.send("2", "b", vec![http(2)]).await;
        assert_eq!(
            stream.answer().await,
            ("2".to_owned(), "b".to_owned(), None)
        );
        assert_eq!(version_at(address).await, "v2");
    }
}

#[tokio::test]
async fn without_a_client_certificate_nothing_is_asked_and_static_listeners_serve() {
    let (server, own) = (Secured::of("plane.test"), Secured::of("edge.test"));
    let plane = Plane::start().await;
    let front = Front::start(plane.address, by(&server, &own)).await;
    let mut edge = start(&front, &file(&server), "").await;
    until_said(&mut edge, "received fatal alert: CertificateRequired").await;
    assert_eq!(version_at(edge.address("fixed").await).await, "v7");
}

#[tokio::test]
async fn a_client_certificate_that_is_replaced_counts_from_the_next_connection() {
    let (server, own, renewed) = (
        Secured::of("plane.test"),
        Secured::of("edge.test"),
        Secured::of("edge.test"),
    );
    let mut plane = Plane::start().await;
    let front = Front::start(plane.address, by(&server, &renewed)).await;
    let mut edge = start(&front, &file(&server), &identity(&own)).await;
    until_said(&mut edge, "received fatal alert: ").await;
    let (from, to) = (renewed.certificate(), own.certificate());
    let key = |certificate: &str| Path::new(certificate).with_file_name("key.pem");
    // Between the two files a handshake may fail, and is tried again.
    std::fs::copy(&from, &to).expect("the certificate");
    std::fs::copy(key(&from), key(&to)).expect("the key");
    let stream = begin(&mut plane).await;
    assert_eq!(version_at(edge.address("http").await).await, "v1");

    // What cannot be read is named like what is away, and the last listeners serve on.
    std::fs::remove_file(key(&to)).expect("the key");
    drop(stream);
    until_said(&mut edge, "private_key").await;
    assert_eq!(version_at(edge.address("http").await).await, "v1");
    std::fs::copy(key(&from), key(&to)).expect("the key");
    let mut stream = plane.whole().await;
    assert_eq!(stream.answer().await, ("1".to_owned(), String::new(), None));
}
