//! A connection to an endpoint of a control plane, in clear or secured.

use std::error::Error;
use std::time::Duration;

use orion_drain_config::{Cluster, EndpointAddress, Secret};
use tonic::transport::{Channel, Endpoint};

#[cfg(feature = "tls")]
use super::tls::Secured;

/// How long nothing may be heard of a peer's machine before the connection counts as broken.
pub(super) const KEEPALIVE: Duration = Duration::from_secs(60);

pub(super) type BoxError = Box<dyn Error + Send + Sync>;

/// An endpoint, and how it is connected to.
#[derive(Debug)]
pub(super) struct Target {
    endpoint: Endpoint,
    /// `None`: it speaks in clear.
    secured: Option<Secured>,
}

/// A cluster that wants TLS is not asked in clear.
#[cfg(not(feature = "tls"))]
#[derive(Debug)]
struct Secured;

impl Target {
    /// `None` for an address that is no URI.
    pub(super) fn new(
        address: &EndpointAddress,
        cluster: &Cluster,
        secrets: &[Secret],
        authority: &str,
    ) -> Option<Self> {
        let uri = match address {
            EndpointAddress::Pipe(_) => format!("unix:{address}"),
            // A host name is resolved for each connection.
            _ => format!("http://{address}"),
        };
        let endpoint = Endpoint::from_shared(uri).ok()?;
        let endpoint = endpoint
            .connect_timeout(cluster.connect_limit())
            .tcp_keepalive(Some(KEEPALIVE));
        let socket = cluster.transport_socket.as_ref();
        let is_secured = socket.is_some_and(|socket| socket.tls().is_some());
        #[cfg(feature = "tls")]
        let secured = is_secured.then(|| Secured::new(address, cluster, secrets));
        #[cfg(not(feature = "tls"))]
        let (secured, _) = (is_secured.then_some(Secured), secrets);
        let scheme = match is_secured {
            true => "https",
            false => "http",
        };
        // A name that cannot be an authority is left out: the address is one.
        let endpoint = match format!("{scheme}://{authority}").parse() {
            Ok(origin) => endpoint.origin(origin),
            Err(_) => endpoint,
        };
        Some(Self { endpoint, secured })
    }

    pub(super) async fn connect(&self) -> Result<Channel, BoxError> {
        match &self.secured {
            None => Ok(self.endpoint.connect().await?),
            #[cfg(feature = "tls")]
            Some(secured) => {
                let dial = secured.dial().await?;
                Ok(self.endpoint.connect_with_connector(dial).await?)
            }
            #[cfg(not(feature = "tls"))]
            Some(Secured) => Err("TLS to a control plane needs the feature `tls`".into()),
        }
    }
}
