//! From a cluster's TLS context to what makes handshakes with its endpoints (feature `tls`).

use std::sync::Arc;

use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::sign::SingleCertAndKey;

use super::tls_files::{authorities, certificates, provider, validation, versions};
use super::tls_names::EndpointCertificates;
use super::{Cluster, FieldError, Secret, UpstreamTlsContext, path::FieldPath};

/// How connections to the endpoints of a cluster are secured.
#[derive(Debug, Clone)]
pub struct UpstreamTls {
    config: ClientConfig,
    server_name: Option<ServerName<'static>>,
}

impl UpstreamTls {
    /// What makes handshakes that offer these protocols by ALPN, best first.
    pub fn offering(&self, protocols: &[&str]) -> Arc<ClientConfig> {
        let mut config = self.config.clone();
        let protocols = protocols.iter();
        config.alpn_protocols = protocols
            .map(|protocol| protocol.as_bytes().to_vec())
            .collect();
        Arc::new(config)
    }

    /// What makes handshakes that offer the `alpn_protocols` of the context.
    pub fn as_configured(&self) -> Arc<ClientConfig> {
        Arc::new(self.config.clone())
    }

    /// The name that endpoints are asked for: `sni`.
    pub const fn server_name(&self) -> Option<&ServerName<'static>> {
        self.server_name.as_ref()
    }
}

impl Cluster {
    /// How connections to its endpoints are secured; `None`: they speak in clear. It reads the
    /// files of certificates, keys and authorities, now and never again. `secrets` are those that
    /// the context may refer to by name: [`Bootstrap::secrets`](super::Bootstrap::secrets).
    ///
    /// # Errors
    ///
    /// The first file that cannot be read, or is no certificate or key, a key that is not its
    /// certificate's, or a secret that is not there.
    pub fn tls(&self, secrets: &[Secret]) -> Result<Option<UpstreamTls>, FieldError> {
        let socket = self.transport_socket.as_ref();
        let Some(context) = socket.and_then(|socket| socket.tls()) else {
            return Ok(None);
        };
        let at = FieldPath::root()
            .key("transport_socket")
            .key("typed_config");
        secured(context, secrets, &at).map(Some)
    }
}

fn secured(
    context: &UpstreamTlsContext,
    secrets: &[Secret],
    at: &FieldPath,
) -> Result<UpstreamTls, FieldError> {
    let server_name = match &*context.sni {
        "" => None,
        name => Some(
            ServerName::try_from(name.to_owned())
                .map_err(|error| FieldError::new(&at.key("sni"), error.to_string()))?,
        ),
    };
    let common = &context.common_tls_context;
    let at = at.key("common_tls_context");
    let parameters = common.tls_params.as_ref();
    let provider = provider(parameters, &at)?;
    let (authorities, names) = match validation(common, secrets, &at)? {
        None => (None, Vec::new()),
        Some((validation, at)) => (
            authorities(&validation, &at)?,
            validation.match_typed_subject_alt_names,
        ),
    };
    let certified = certificates(common, secrets, &provider, &at)?;
    let verifier: Arc<dyn ServerCertVerifier> = Arc::new(EndpointCertificates {
        authorities,
        names,
        provider: Arc::clone(&provider),
    });
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions(parameters))
        .map_err(|error| FieldError::new(&at, error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match certified.into_iter().next() {
        None => builder.with_no_client_auth(),
        Some(certified) => {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
        }
    };
    let protocols = common.alpn_protocols.iter();
    config.alpn_protocols = protocols
        .map(|protocol| protocol.as_bytes().to_vec())
        .collect();
    Ok(UpstreamTls {
        config,
        server_name,
    })
}
