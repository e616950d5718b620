//! One listener over TLS, HTTP/2 or HTTP/1.1 as ALPN chooses. SIGTERM drains: connections are told in their protocol's own
//! words, and each ends with a close_notify before its FIN.
//!
//! ```text
//! openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout key.pem -out cert.pem
//! cargo run -p orion-drain --example tls --features tls -- 127.0.0.1:8443 cert.pem key.pem 8
//! curl -v --cacert cert.pem https://localhost:8443/
//! ```

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use http::{Request, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use orion_drain::conn_tracker::ConnTracker;
use orion_drain::drain_tree::{DrainManager, DrainSettings};
use orion_drain::lifecycle::{ShutdownSettings, shut_down};
use orion_drain::listener_versions::{Listeners, ListenersOptions, Update};
use orion_drain::serve::{Http, ListenOn, ReceivedBody, Tls, serve};
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

#[derive(Debug, Parser)]
struct Args {
    /// Where to listen.
    address: SocketAddr,
    /// The certificate chain, PEM.
    certificate: PathBuf,
    /// Its key, PEM.
    key: PathBuf,
    /// How long the drain may last, in seconds.
    drain_time_s: u64,
}

impl Args {
    fn tls(&self) -> anyhow::Result<Tls> {
        let chain = CertificateDer::pem_file_iter(&self.certificate)?.collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_file(&self.key)?;
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Tls::new(Arc::new(config)))
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let drain_time = Duration::from_secs(args.drain_time_s);
    let root = DrainManager::root(DrainSettings::default().with_drain_time(drain_time));
    let (listeners, driver) = Listeners::new(
        root.clone(),
        ConnTracker::new(),
        ListenersOptions::default(),
        (),
    );
    tokio::spawn(driver);
    let service = service_fn(|_: Request<ReceivedBody>| async {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello\n"))))
    });
    tokio::spawn(serve(&listeners, Http::new(service).with_tls(args.tls()?)));
    let mut terminate = signal(SignalKind::terminate())?;
    let report = listeners
        .apply(Update::bootstrap([ListenOn::new(
            "tls",
            args.address.into(),
        )]))
        .await;
    if let Some(error) = report.errors().next() {
        anyhow::bail!("{error}");
    }
    println!("listening on {}", args.address);
    terminate.recv().await;
    let outcome = shut_down(&listeners, ShutdownSettings::default()).await;
    println!("drained after {:?}, {} left", outcome.took, outcome.left);
    Ok(())
}
