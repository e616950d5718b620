//! A steady load: connections that ask again as soon as they are answered, and how long each answer
//! took.

pub(crate) mod ask;
mod streams;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::noise::Noise;
use crate::proxies::Place;
use crate::spread::quantile;
use crate::tree;

/// How many connections ask at the same time.
pub(crate) const CONNECTIONS: usize = 64;

/// Connections get to know each other, caches and pools fill.
const WARM: Duration = Duration::from_millis(300);

/// What is asked for, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// Answered by the proxy itself.
    Direct,
    /// Answered by the server behind it.
    Proxied,
    Http2Direct,
    Http2Proxied,
    /// A connection for each request.
    Short,
    Tls,
    /// One MiB from the server behind.
    Big,
    /// A message through a TCP proxy and back.
    Tcp,
}

impl Load {
    pub(crate) const ALL: [Self; 8] = [
        Self::Direct,
        Self::Proxied,
        Self::Http2Direct,
        Self::Http2Proxied,
        Self::Short,
        Self::Tls,
        Self::Big,
        Self::Tcp,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Direct => "HTTP/1.1, answered directly",
            Self::Proxied => "HTTP/1.1, proxied",
            Self::Http2Direct => "HTTP/2, answered directly",
            Self::Http2Proxied => "HTTP/2, proxied",
            Self::Short => "HTTP/1.1, a connection each, directly",
            Self::Tls => "HTTP/1.1 over TLS, proxied",
            Self::Big => "HTTP/1.1, bodies of 1 MiB, proxied",
            Self::Tcp => "TCP, a message of 64 bytes and back",
        }
    }
}

/// What a load cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// Microseconds of the proxy per request: user, system.
    pub(crate) user: f64,
    pub(crate) system: f64,
    /// In ms.
    pub(crate) p99: f64,
    pub(crate) per_second: f64,
    pub(crate) others: f64,
}

/// What all connections of a load share.
#[derive(Debug)]
pub(crate) struct Shared {
    measuring: AtomicBool,
    over: AtomicBool,
}

impl Shared {
    fn over(&self) -> bool {
        // Both flags publish nothing else.
        self.over.load(Ordering::Relaxed)
    }

    /// Notes an answer, once it counts.
    fn took(&self, begun: Instant, into: &mut Vec<f64>) {
        if self.measuring.load(Ordering::Relaxed) {
            into.push(begun.elapsed().as_secs_f64() * 1e3);
        }
    }
}

/// Loads a proxy for so long.
pub(crate) async fn load(place: &Place, what: Load, lasts: Duration) -> anyhow::Result<Cost> {
    let shared = Arc::new(Shared {
        measuring: AtomicBool::new(false),
        over: AtomicBool::new(false),
    });
    let tls = match what {
        Load::Tls => Some(connector(place)?),
        _ => None,
    };
    let mut connections = JoinSet::new();
    for _ in 0..CONNECTIONS {
        connections.spawn(one(place.clone(), what, tls.clone(), Arc::clone(&shared)));
    }
    sleep(WARM).await;
    let noise = Noise::since_now();
    let (begun, before) = (Instant::now(), tree::processor_time());
    shared.measuring.store(true, Ordering::Relaxed);
    sleep(lasts).await;
    shared.measuring.store(false, Ordering::Relaxed);
    let (elapsed, after) = (begun.elapsed(), tree::processor_time());
    let others = noise.others();
    shared.over.store(true, Ordering::Relaxed);
    let mut took = Vec::new();
    let all = async {
        while let Some(one) = connections.join_next().await {
            took.extend(one.context("a client panicked")??);
        }
        anyhow::Ok(())
    };
    timeout(Duration::from_secs(20), all)
        .await
        .context("a request was never answered")??;
    ensure!(!took.is_empty(), "nothing was answered");
    let many = took.len() as f64;
    let per = |at: usize| (after[at].saturating_sub(before[at])).as_secs_f64() * 1e6 / many;
    Ok(Cost {
        user: per(0),
        system: per(1),
        p99: quantile(&mut took, 0.99),
        per_second: many / elapsed.as_secs_f64(),
        others,
    })
}

async fn one(
    place: Place,
    what: Load,
    tls: Option<TlsConnector>,
    shared: Arc<Shared>,
) -> anyhow::Result<Vec<f64>> {
    match what {
        Load::Direct => ask::again(connect(place.http1).await?, ask::DIRECT, &shared).await,
        Load::Proxied => ask::again(connect(place.http1).await?, ask::PROXIED, &shared).await,
        Load::Big => ask::again(connect(place.http1).await?, ask::BIG, &shared).await,
        Load::Tls => {
            let tls = tls.context("no TLS")?;
            let name = ServerName::try_from("localhost")?;
            let stream = tls.connect(name, connect(place.tls).await?).await?;
            ask::again(stream, ask::PROXIED, &shared).await
        }
        Load::Short => ask::connections(place.http1, &shared).await,
        Load::Tcp => ask::messages(connect(place.tcp).await?, &shared).await,
        Load::Http2Direct => streams::again(connect(place.http2).await?, "/version", &shared).await,
        Load::Http2Proxied => streams::again(connect(place.http2).await?, "/x", &shared).await,
    }
}

pub(crate) async fn connect(to: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A TLS client that trusts the proxy's certificate, and speaks HTTP/1.1.
pub(crate) fn connector(place: &Place) -> anyhow::Result<TlsConnector> {
    use tokio_rustls::rustls::crypto::ring::default_provider;
    use tokio_rustls::rustls::pki_types::CertificateDer;
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(
        place.folder.join("cert.pem"),
    )?)?;
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}
