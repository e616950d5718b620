//! A listener with TLS and ALPN is replaced. Strategy immediate, drain time 6 s, the window is [4,
//! 5].

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use base64::Engine as _;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::crowd::{Crowd, SETTLE, at, of};
use super::rows;
use crate::Stage;
use crate::play::Setup;
use crate::rule::Checks;
use crate::wire::{Client, Speak, What};
use crate::yaml::{HTTP, Listener};

/// Writes a certificate for `localhost` with its key; who trusts it.
fn certificate(folder: &Path) -> anyhow::Result<RootCertStore> {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let pem = |label: &str, bytes: &[u8]| {
        let text = base64::engine::general_purpose::STANDARD.encode(bytes);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    };
    std::fs::write(
        folder.join("cert.pem"),
        pem("CERTIFICATE", signed.cert.der()),
    )?;
    let key = signed.signing_key.serialize_der();
    std::fs::write(folder.join("key.pem"), pem("PRIVATE KEY", &key))?;
    let mut trusted = RootCertStore::empty();
    trusted.add(signed.cert.der().clone())?;
    Ok(trusted)
}

/// A connection on which HTTP/2 or HTTP/1.1 was agreed on by ALPN.
async fn open(
    trusted: &RootCertStore,
    to: SocketAddr,
    speak: Speak,
) -> anyhow::Result<Arc<Client>> {
    let alpn: &[u8] = if speak == Speak::Http2 {
        b"h2"
    } else {
        b"http/1.1"
    };
    let config = ClientConfig::builder().with_root_certificates(trusted.clone());
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let tcp = TcpStream::connect(to).await?;
    tcp.set_nodelay(true)?;
    let handshake =
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost")?, tcp);
    let stream = timeout(Duration::from_secs(3), handshake)
        .await
        .context("no handshake")??;
    ensure!(
        stream.get_ref().1.alpn_protocol() == Some(alpn),
        "another protocol was agreed on"
    );
    Ok(Arc::new(Client::on(stream, speak).await))
}

pub(crate) async fn tls(stage: Stage) -> anyhow::Result<Checks> {
    let mut checks = Checks::default();
    let folder = tempfile::tempdir()?;
    let trusted = certificate(folder.path())?;
    let mut listener = Listener::http();
    listener.secured = Some(folder.path().to_owned());
    let play = stage.start(Setup::immediate(6, [listener.clone()])).await?;
    let mut crowds = [const { Vec::new() }; 4];
    for (crowd, speak) in
        crowds
            .iter_mut()
            .zip([Speak::Http1, Speak::Http2, Speak::Http1, Speak::Http2])
    {
        for _ in 0..6 {
            let client = open(&trusted, play.address(HTTP), speak).await?;
            let answered = match speak {
                Speak::Http2 => client.ask_stream("/v").await,
                _ => client.ask("/v").await.is_some(),
            };
            ensure!(answered, "not answered: {client:?}");
            crowd.push(client);
        }
    }
    let [idle1, idle2, asking1, asking2] = crowds.map(Crowd);
    // Connected, and no ClientHello yet.
    let unshaken = Crowd::fresh(&play, HTTP, Speak::Bytes, 3).await?;
    sleep(SETTLE).await;
    let start = play.update(&[listener.version(2)])?;
    at(start, 100).await;
    for client in &asking1.0 {
        client.get("/v").await;
    }
    for client in &asking2.0 {
        client.stream("/v").await;
    }
    let new = open(&trusted, play.address(HTTP), Speak::Http1).await?;
    let v2 = matches!(
        new.ask("/v").await,
        Some(What::Head {
            version: 2,
            close: false,
            ..
        })
    );
    checks.rule("TLS: new ones on v2", if v2 { "v2" } else { "not v2" }, v2);
    at(start, 6700).await;
    let told = asking1.first(start, What::says_close).len();
    checks.rule("TLS: H1 told by its next response", of(told, 6), told == 6);
    let wait = asking1.close_to_end();
    checks
        .rule("TLS: H1 close to end", &wait, wait.all_in(1500, 1500))
        .or_everywhere(rows::AFTER_CLOSE, wait.all_in(0, 0));
    let goaway = asking2.first(start, What::is_goaway);
    checks.rule(
        "TLS: H2 GOAWAY with its next response",
        &goaway,
        goaway.all_in(100, 100),
    );
    let gap = asking2.goaway_gap();
    checks.rule(
        "TLS: GOAWAY to GOAWAY is drain_timeout",
        &gap,
        gap.all_in(1000, 1000),
    );
    let rest = asking2.goaway_to_end();
    checks.rule(
        "TLS: last GOAWAY to the end is delayed close",
        &rest,
        rest.all_in(500, 500),
    );
    let goaway = idle2.first(start, What::is_goaway);
    checks
        .rule(
            "TLS: idle H2 first GOAWAY in the window",
            &goaway,
            goaway.all_in(4000, 5000),
        )
        .or(rows::IMMEDIATE, goaway.all_in(0, 0));
    let ends = idle1.ends(start);
    checks
        .rule(
            "TLS: idle H1 ended in window + 1.5 s",
            &ends,
            ends.all_in(5500, 6000),
        )
        .or(rows::IDLE, ends.all_in(5000, 6000));
    let ends = unshaken.ends(start);
    checks
        .rule(
            "TLS: no ClientHello: ended in the window",
            &ends,
            ends.all_in(4000, 5000),
        )
        .or(rows::SILENT, ends.all_in(0, 6000));
    Ok(checks)
}
