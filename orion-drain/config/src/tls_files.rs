//! What TLS contexts refer to (feature `tls`): certificates, keys and authorities in files, inline,
//! or in secrets.

use std::sync::Arc;

use serde_json::Value;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    CipherSuite, Error, InconsistentKeys, RootCertStore, SupportedCipherSuite,
    SupportedProtocolVersion,
};

use super::{
    CertificateValidationContext, CommonTlsContext, FieldError, PemSource, SdsSecretConfig, Secret,
    TlsCertificate, TlsParameters, TlsProtocol, any::message_name, foreign::Root, path::FieldPath,
    read, read_file, read_text, unsupported,
};

/// BoringSSL's names of the suites of TLS 1.2.
const SUITES: &[(&str, CipherSuite)] = &[
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-RSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-RSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "ECDHE-RSA-CHACHA20-POLY1305",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

/// The versions that are spoken.
pub(super) fn versions(
    parameters: Option<&TlsParameters>,
) -> Vec<&'static SupportedProtocolVersion> {
    let oldest = parameters.map_or(TlsProtocol::Auto, |it| it.tls_minimum_protocol_version);
    let newest = parameters.map_or(TlsProtocol::Auto, |it| it.tls_maximum_protocol_version);
    let mut versions = Vec::new();
    if newest != TlsProtocol::V1_2 {
        versions.push(&TLS13);
    }
    if oldest != TlsProtocol::V1_3 {
        versions.push(&TLS12);
    }
    versions
}

/// rustls with ring, and with those of its suites that are asked for.
pub(super) fn provider(
    parameters: Option<&TlsParameters>,
    at: &FieldPath,
) -> Result<Arc<CryptoProvider>, FieldError> {
    let mut provider = ring::default_provider();
    let wanted = parameters.map_or(&[][..], |parameters| &parameters.cipher_suites);
    if !wanted.is_empty() {
        // `[A|B]` is a group of equals.
        let names: Vec<&str> = wanted
            .iter()
            .flat_map(|names| names.trim_matches(['[', ']']).split('|'))
            .collect();
        let known = |suite: CipherSuite| {
            let mut known = SUITES.iter();
            known.any(|(name, named)| *named == suite && names.contains(name))
        };
        let is_13 = |suite: &SupportedCipherSuite| suite.version() == &TLS13;
        provider
            .cipher_suites
            .retain(|suite| is_13(suite) || known(suite.suite()));
        let speaks_12 = versions(parameters).contains(&&TLS12);
        if speaks_12 && provider.cipher_suites.iter().all(is_13) {
            let at = at.key("tls_params").key("cipher_suites");
            let names: Vec<_> = SUITES.iter().map(|(name, _)| format!("`{name}`")).collect();
            let message = format!("none of them is one of {}", names.join(", "));
            return Err(FieldError::new(&at, message));
        }
    }
    Ok(Arc::new(provider))
}

/// The certificates of a context with their keys.
pub(super) fn certificates(
    context: &CommonTlsContext,
    secrets: &[Secret],
    provider: &CryptoProvider,
    at: &FieldPath,
) -> Result<Vec<CertifiedKey>, FieldError> {
    let mut certified = Vec::new();
    for (index, certificate) in context.tls_certificates.iter().enumerate() {
        let at = at.key("tls_certificates").index(index);
        certified.push(pair(certificate, provider, &at)?);
    }
    for (index, config) in context
        .tls_certificate_sds_secret_configs
        .iter()
        .enumerate()
    {
        let at = at.key("tls_certificate_sds_secret_configs").index(index);
        let secret = secret(config, secrets, &at)?;
        let Some(certificate) = secret.tls_certificate else {
            let message = format!("the secret `{}` is no `tls_certificate`", config.name);
            return Err(FieldError::new(&at.key("name"), message));
        };
        certified.push(pair(&certificate, provider, &at.key("tls_certificate"))?);
    }
    Ok(certified)
}

fn pair(
    certificate: &TlsCertificate,
    provider: &CryptoProvider,
    at: &FieldPath,
) -> Result<CertifiedKey, FieldError> {
    let (chain_at, key_at) = (at.key("certificate_chain"), at.key("private_key"));
    let chain = chain(&certificate.certificate_chain, &chain_at)?;
    let key = PrivateKeyDer::from_pem_slice(&text(&certificate.private_key, &key_at)?);
    // What is wrong with a key is said without a word of the key.
    let key = key.map_err(|error| FieldError::new(&key_at, error.to_string()))?;
    let key = provider.key_provider.load_private_key(key);
    let key = key.map_err(|error| FieldError::new(&key_at, error.to_string()))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Err(error @ Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err(FieldError::new(at, error.to_string()))
        }
        // A certificate of an old version cannot be looked into, and can be shown: clients decide.
        Ok(()) | Err(_) => Ok(certified),
    }
}

/// What the other side's certificate has to be; `None`: it is not asked for.
pub(super) fn validation(
    context: &CommonTlsContext,
    secrets: &[Secret],
    at: &FieldPath,
) -> Result<Option<(CertificateValidationContext, FieldPath)>, FieldError> {
    let elsewhere = |config: &SdsSecretConfig, at: &FieldPath| {
        let secret = secret(config, secrets, at)?;
        secret.validation_context.ok_or_else(|| {
            let message = format!("the secret `{}` is no `validation_context`", config.name);
            FieldError::new(&at.key("name"), message)
        })
    };
    if let Some(validation) = &context.validation_context {
        return Ok(Some((validation.clone(), at.key("validation_context"))));
    }
    if let Some(config) = &context.validation_context_sds_secret_config {
        let at = at.key("validation_context_sds_secret_config");
        return Ok(Some((elsewhere(config, &at)?, at)));
    }
    let Some(combined) = &context.combined_validation_context else {
        return Ok(None);
    };
    let at = at.key("combined_validation_context");
    let mut validation = combined.default_validation_context.clone();
    let config = &combined.validation_context_sds_secret_config;
    let at_secret = at.key("validation_context_sds_secret_config");
    let more = elsewhere(config, &at_secret)?;
    validation.trusted_ca = more.trusted_ca.or(validation.trusted_ca);
    let names = more.match_typed_subject_alt_names;
    validation.match_typed_subject_alt_names.extend(names);
    Ok(Some((validation, at)))
}

/// The authorities that are trusted; `None`: every certificate is good.
pub(super) fn authorities(
    validation: &CertificateValidationContext,
    at: &FieldPath,
) -> Result<Option<Arc<RootCertStore>>, FieldError> {
    let Some(source) = &validation.trusted_ca else {
        if !validation.match_typed_subject_alt_names.is_empty() {
            let message = "names say nothing without a `trusted_ca`";
            return Err(FieldError::new(at, message));
        }
        return Ok(None);
    };
    let at = at.key("trusted_ca");
    let mut roots = RootCertStore::empty();
    // A bundle may have a certificate that cannot be used.
    let (added, _) = roots.add_parsable_certificates(chain(source, &at)?);
    match added {
        0 => Err(FieldError::new(&at, "no certificate that can be used")),
        _ => Ok(Some(Arc::new(roots))),
    }
}

fn chain(source: &PemSource, at: &FieldPath) -> Result<Vec<CertificateDer<'static>>, FieldError> {
    let pem = text(source, at)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(FieldError::new(at, "no certificate in PEM")),
        Err(error) => Err(FieldError::new(at, error.to_string())),
    }
}

fn text(source: &PemSource, at: &FieldPath) -> Result<Vec<u8>, FieldError> {
    match source {
        PemSource::InlineString(text) => Ok(text.as_bytes().to_vec()),
        PemSource::Filename(path) => read_file(path).map_err(|error| {
            let message = format!("cannot read {}: {error}", path.display());
            FieldError::new(&at.key("filename"), message)
        }),
    }
}

/// The secret that is referred to: one of `secrets`, or one in a file.
fn secret(
    config: &SdsSecretConfig,
    secrets: &[Secret],
    at: &FieldPath,
) -> Result<Secret, FieldError> {
    let missing = |place: &str| {
        let message = format!("no secret `{}` in {place}", config.name);
        FieldError::new(&at.key("name"), message)
    };
    let named = |secret: &&Secret| secret.name == config.name;
    let Some(source) = &config.sds_config else {
        let found = secrets.iter().find(named).cloned();
        return found.ok_or_else(|| missing("`static_resources.secrets`"));
    };
    let at_source = at.key("sds_config");
    let Some(path) = source.file() else {
        return Err(FieldError::new(&at_source, "only a file is supported"));
    };
    let shown = path.display().to_string();
    let unusable = |why: &dyn std::fmt::Display| {
        FieldError::new(&at_source, format!("cannot use {shown}: {why}"))
    };
    let text = read_text(path).map_err(|error| unusable(&error))?;
    let found = in_response(&text).map_err(|error| unusable(&error))?;
    found
        .into_iter()
        .find(|secret| secret.name == config.name)
        .ok_or_else(|| missing(&shown))
}

/// The secrets of a discovery response.
fn in_response(text: &str) -> Result<Vec<Secret>, super::ConfigError> {
    const SECRET: &str = "envoy.extensions.transport_sockets.tls.v3.Secret";
    #[cfg(feature = "yaml")]
    let mut response = read::yaml(text)?;
    #[cfg(not(feature = "yaml"))]
    let mut response = read::json(text)?;
    let root = FieldPath::root().key("resources");
    let resources = response.get_mut("resources").map(Value::take);
    let Some(Value::Array(resources)) = resources else {
        return Err(super::ConfigError::shape(
            &root,
            "expected a list of secrets",
        ));
    };
    let secrets = resources
        .into_iter()
        .enumerate()
        .map(|(index, mut resource)| {
            let at = root.index(index);
            let fields = resource.as_object_mut();
            let type_url = fields.and_then(|fields| fields.remove("@type"));
            if type_url.as_ref().and_then(Value::as_str).map(message_name) != Some(SECRET) {
                let message = format!("expected a message of type `{SECRET}`");
                return Err(super::ConfigError::shape(&at, message));
            }
            let (secret, unknown) = read::typed(&resource, &at)?;
            let wrong = unsupported::find(&unknown, Root::DiscoveryResponse);
            super::ConfigError::unless_empty(wrong)?;
            Ok(secret)
        });
    secrets.collect()
}
