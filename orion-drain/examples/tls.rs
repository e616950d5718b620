//! HTTP over TLS; ALPN chooses HTTP/2 or HTTP/1.1. On SIGTERM each connection is asked to finish as
//! without TLS, and ends with a close_notify before its FIN.
//!
//! `cargo run -p orion-drain --example tls --features tls -- 127.0.0.1:8443 cert.pem key.pem`
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use orion_drain::drain_tree::{DrainManager, DrainSettings};
use orion_drain::lifecycle::{Signals, shut_down};
use orion_drain::listener_versions::{Listeners, Update};
use orion_drain::serve::{Http, ListenOn, ReceivedBody, Tls, serve};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

fn tls(certificates: &str, key: &str) -> anyhow::Result<Tls> {
    let certificates = CertificateDer::pem_file_iter(certificates)?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let config = ServerConfig::builder().with_no_client_auth();
    let mut config = config.with_single_cert(certificates, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Tls::new(Arc::new(config)))
}

async fn answer(_: Request<ReceivedBody>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(b"hello\n"))))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, address, certificates, key, drain_time @ ..] = &arguments[..] else {
        anyhow::bail!("usage: tls ADDRESS CERTIFICATES KEY [DRAIN_TIME_S]");
    };
    let drain_time = drain_time
        .first()
        .map_or(Ok(8), |seconds| seconds.parse())?;
    let mut signals = Signals::new()?;
    let http = Http::new(service_fn(answer)).with_tls(tls(certificates, key)?);
    let settings = DrainSettings::default().with_drain_time(Duration::from_secs(drain_time));
    let root = DrainManager::root(settings.with_shutdown_minimum(Duration::from_secs(1)));
    let (listeners, driver) = Listeners::new(root, Default::default(), Default::default(), ());
    tokio::spawn(driver);
    tokio::spawn(serve(&listeners, http));
    let on = ListenOn::new("tls", address.parse()?);
    listeners.apply(Update::put(on)).await.into_result()?;
    let local = listeners.local_address("tls").context("no address")?;
    println!("listening on {local}");

    signals.next().await;
    let outcome = shut_down(&listeners, Default::default()).await;
    println!("drained, {} left", outcome.left);
    Ok(())
}
