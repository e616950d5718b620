//! From a TLS context to what takes handshakes (feature `tls`): certificates and keys are read, once.

use std::sync::Arc;

use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{FieldError, FilterChain, Listener, PemSource, TlsCertificate, path::FieldPath};
use orion_drain_serve::Tls;

impl Listener {
    /// What takes the handshakes of each filter chain, in the order of [`all_chains`](Self::all_chains); `None` for a chain
    /// that speaks in clear. It reads the files of certificates and keys, now and never again.
    ///
    /// # Errors
    ///
    /// The first file that cannot be read, or is no certificate or key, or a key that is not its certificate's.
    pub fn tls(&self) -> Result<Vec<Option<Tls>>, FieldError> {
        let root = FieldPath::root();
        let chains = self.filter_chains.iter().enumerate();
        let chains = chains.map(|(index, chain)| (root.key("filter_chains").index(index), chain));
        let default = self.default_filter_chain.iter();
        let default = default.map(|chain| (root.key("default_filter_chain"), chain));
        chains
            .chain(default)
            .map(|(at, chain)| chain.tls(&at))
            .collect()
    }
}

impl FilterChain {
    fn tls(&self, at: &FieldPath) -> Result<Option<Tls>, FieldError> {
        let Some(socket) = &self.transport_socket else {
            return Ok(None);
        };
        let context = &socket.tls().common_tls_context;
        let at = at
            .key("transport_socket")
            .key("typed_config")
            .key("common_tls_context")
            .key("tls_certificates");
        let Some(certificate) = context.tls_certificates.first() else {
            return Err(FieldError::new(&at, "a certificate is required"));
        };
        let mut config = secured(certificate, &at.index(0))?;
        let protocols = context.alpn_protocols.iter();
        config.alpn_protocols = protocols
            .map(|protocol| protocol.as_bytes().to_vec())
            .collect();
        let tls = Tls::new(Arc::new(config));
        Ok(Some(match self.transport_socket_connect_timeout {
            Some(timeout) if !timeout.is_zero() => tls.with_handshake_timeout(timeout),
            _ => tls,
        }))
    }
}

fn secured(certificate: &TlsCertificate, at: &FieldPath) -> Result<ServerConfig, FieldError> {
    let (chain_at, key_at) = (at.key("certificate_chain"), at.key("private_key"));
    let pem = text(&certificate.certificate_chain, &chain_at)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = match chain {
        Ok(chain) if !chain.is_empty() => chain,
        Ok(_) => return Err(FieldError::new(&chain_at, "no certificate in PEM")),
        Err(error) => return Err(FieldError::new(&chain_at, error.to_string())),
    };
    let key = PrivateKeyDer::from_pem_slice(&text(&certificate.private_key, &key_at)?);
    // What is wrong with a key is told without a word of the key.
    let key = key.map_err(|error| FieldError::new(&key_at, error.to_string()))?;
    ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| FieldError::new(at, error.to_string()))
}

fn text(source: &PemSource, at: &FieldPath) -> Result<Vec<u8>, FieldError> {
    match source {
        PemSource::InlineString(text) => Ok(text.as_bytes().to_vec()),
        PemSource::Filename(path) => std::fs::read(path).map_err(|error| {
            FieldError::new(
                &at.key("filename"),
                format!("cannot read {}: {error}", path.display()),
            )
        }),
    }
}
