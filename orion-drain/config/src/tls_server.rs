//! From a TLS context to what takes handshakes (feature `tls`): certificates and keys are read,
//! once.

use std::sync::Arc;

use orion_drain_serve::Tls;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use tokio_rustls::rustls::sign::CertifiedKey;

use super::tls_files::{authorities, certificates, provider, validation, versions};
use super::tls_names::{ClientCertificates, dns_names};
use super::{DownstreamTlsContext, FieldError, FilterChain, Listener, Secret, path::FieldPath};

impl Listener {
    /// What takes the handshakes of each filter chain, in the order of
    /// [`all_chains`](Self::all_chains); `None` for a chain that speaks in clear. It reads the
    /// files of certificates and keys, now and never again. `secrets` are those that contexts may
    /// refer to by name: [`Bootstrap::secrets`](super::Bootstrap::secrets).
    ///
    /// # Errors
    ///
    /// The first file that cannot be read, or is no certificate or key, a key that is not its
    /// certificate's, or a secret that is not there.
    pub fn tls(&self, secrets: &[Secret]) -> Result<Vec<Option<Tls>>, FieldError> {
        self.chains_at(&FieldPath::root())
            .map(|(at, chain)| chain.tls(secrets, &at))
            .collect()
    }
}

impl FilterChain {
    fn tls(&self, secrets: &[Secret], at: &FieldPath) -> Result<Option<Tls>, FieldError> {
        let socket = self.transport_socket.as_ref();
        let Some(context) = socket.and_then(|socket| socket.tls()) else {
            return Ok(None);
        };
        let at = at.key("transport_socket").key("typed_config");
        let tls = Tls::new(Arc::new(secured(context, secrets, &at)?));
        Ok(Some(match self.transport_socket_connect_timeout {
            Some(timeout) if !timeout.is_zero() => tls.with_handshake_timeout(timeout),
            _ => tls,
        }))
    }
}

fn secured(
    context: &DownstreamTlsContext,
    secrets: &[Secret],
    at: &FieldPath,
) -> Result<ServerConfig, FieldError> {
    let common = &context.common_tls_context;
    let at = at.key("common_tls_context");
    let parameters = common.tls_params.as_ref();
    let provider = provider(parameters, &at)?;
    let certified = certificates(common, secrets, &provider, &at)?;
    if certified.is_empty() {
        let at = at.key("tls_certificates");
        return Err(FieldError::new(&at, "a certificate is required"));
    }
    let refused = |error: &dyn std::fmt::Display| FieldError::new(&at, error.to_string());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(parameters))
        .map_err(|error| refused(&error))?;
    let asked = validation(common, secrets, &at)?;
    let required = context.require_client_certificate == Some(true);
    let builder = match asked {
        None => builder.with_no_client_auth(),
        Some((validation, at)) => match authorities(&validation, &at)? {
            None if required => {
                let message = "a `trusted_ca` is required: without one every certificate would do";
                return Err(FieldError::new(&at, message));
            }
            None => builder.with_no_client_auth(),
            Some(roots) => {
                let signed = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let signed = match required {
                    true => signed,
                    false => signed.allow_unauthenticated(),
                };
                let signed = signed.build().map_err(|error| refused(&error))?;
                let names = validation.match_typed_subject_alt_names;
                builder.with_client_cert_verifier(Arc::new(ClientCertificates { signed, names }))
            }
        },
    };
    let mut config = builder.with_cert_resolver(Arc::new(ByName::new(certified)));
    let protocols = common.alpn_protocols.iter();
    config.alpn_protocols = protocols
        .map(|protocol| protocol.as_bytes().to_vec())
        .collect();
    Ok(config)
}

/// Several certificates, of which a client gets the first that has the name it asks for and a key
/// that it knows; as in Envoy, the first one if none has the name.
#[derive(Debug)]
struct ByName(Vec<(Vec<String>, Arc<CertifiedKey>)>);

impl ByName {
    fn new(certified: Vec<CertifiedKey>) -> Self {
        let named = certified.into_iter().map(|certified| {
            let names = certified.cert.first().map(dns_names).unwrap_or_default();
            (names, Arc::new(certified))
        });
        Self(named.collect())
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let known = |certified: &CertifiedKey| {
            let schemes = hello.signature_schemes();
            certified.key.choose_scheme(schemes).is_some()
        };
        let named = |names: &[String], asked: &str| {
            let parent = asked.split_once('.').map_or("", |(_, parent)| parent);
            names.iter().any(|name| match name.strip_prefix("*.") {
                Some(of) => of == parent,
                None => name == asked,
            })
        };
        let usable = || self.0.iter().filter(|(_, certified)| known(certified));
        let asked = hello.server_name().map(str::to_ascii_lowercase);
        let by_name = asked.and_then(|asked| usable().find(|(names, _)| named(names, &asked)));
        let chosen = by_name.or_else(|| usable().next()).or(self.0.first());
        chosen.map(|(_, certified)| Arc::clone(certified))
    }
}
