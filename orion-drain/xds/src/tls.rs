//! TLS to a control plane, by the `transport_socket` of its cluster.

use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use orion_drain_config::{Cluster, EndpointAddress, Secret};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tonic::codegen::http::Uri;
use tower_service::Service;

use super::connect::{BoxError, KEEPALIVE};

/// What handshakes with an endpoint are made of.
#[derive(Debug)]
pub(super) struct Secured {
    address: EndpointAddress,
    from: Arc<(Cluster, Vec<Secret>)>,
}

impl Secured {
    pub(super) fn new(address: &EndpointAddress, cluster: &Cluster, secrets: &[Secret]) -> Self {
        Self {
            address: address.clone(),
            from: Arc::new((cluster.clone(), secrets.to_vec())),
        }
    }

    /// Reads the files of the certificate, the key and the authorities. They are read for each
    /// connection, so that a renewed certificate counts from the next connection on.
    pub(super) async fn dial(&self) -> Result<Dial, BoxError> {
        let from = Arc::clone(&self.from);
        let read = move || from.0.tls(&from.1);
        let tls = tokio::task::spawn_blocking(read).await?;
        let tls = tls.map_err(|error| error.to_string())?;
        let tls = tls.ok_or("the cluster has no TLS context")?;
        // Without `sni` no name is asked for, and an address is never sent as one.
        let nameless = ServerName::from(IpAddr::V4(Ipv4Addr::LOCALHOST));
        Ok(Dial {
            address: self.address.clone(),
            connector: TlsConnector::from(tls.offering(&["h2"])),
            name: tls.server_name().cloned().unwrap_or(nameless),
        })
    }
}

/// Makes connections to one endpoint, whatever the URI's authority is.
#[derive(Clone)]
pub(super) struct Dial {
    address: EndpointAddress,
    connector: TlsConnector,
    name: ServerName<'static>,
}

/// TCP or a Unix socket.
pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

type Dialed = TokioIo<TlsStream<Box<dyn Socket>>>;

impl Dial {
    async fn connect(self, uri: Uri) -> Result<Dialed, BoxError> {
        let socket: Box<dyn Socket> = match &self.address {
            EndpointAddress::Pipe(_) => {
                Box::new(UnixStream::connect(self.address.to_string()).await?)
            }
            _ => {
                let mut tcp = HttpConnector::new();
                tcp.set_nodelay(true);
                tcp.set_keepalive(Some(KEEPALIVE));
                Box::new(tcp.call(uri).await?.into_inner())
            }
        };
        let stream = self.connector.connect(self.name, socket).await;
        let stream = stream.map_err(|error| format!("TLS handshake: {error}"))?;
        Ok(TokioIo::new(stream))
    }
}

impl Service<Uri> for Dial {
    type Response = Dialed;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Dialed, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}
