//! TLS on a filter chain: `transport_socket` with a `DownstreamTlsContext`.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};

use super::any::{self, TypedConfig};

/// What connections of a filter chain are wrapped in: `config.core.v3.TransportSocket`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransportSocket {
    /// A name for logs; the type of `typed_config` decides what it is.
    #[serde(default)]
    pub name: String,
    /// What it is.
    pub typed_config: TransportSocketConfig,
}

/// The transport sockets that are known.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "@type")]
pub enum TransportSocketConfig {
    /// TLS.
    #[serde(
        rename = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
    )]
    Tls(DownstreamTlsContext),
}

impl TypedConfig for TransportSocketConfig {
    const KNOWN: &'static [&'static str] =
        &["envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"];

    fn read<'de, D: Deserializer<'de>>(_: usize, message: D) -> Result<Self, D::Error> {
        DownstreamTlsContext::deserialize(message).map(Self::Tls)
    }
}

impl<'de> Deserialize<'de> for TransportSocketConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        any::deserialize(deserializer)
    }
}

/// TLS towards clients, as in
/// [`DownstreamTlsContext`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/transport_sockets/tls/v3/tls.proto).
/// It is served by rustls: TLS 1.2 and 1.3. Fields that ask for more (client certificates, SDS, `tls_params`) are refused.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownstreamTlsContext {
    /// The certificate and what is offered by ALPN.
    #[serde(default)]
    pub common_tls_context: CommonTlsContext,
    /// Whether clients need a certificate. Only `false`, the default, is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_client_certificate: Option<bool>,
}

/// What both sides of TLS have: `extensions.transport_sockets.tls.v3.CommonTlsContext`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommonTlsContext {
    /// The certificate; exactly one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tls_certificates: Vec<TlsCertificate>,
    /// What is offered by ALPN, best first: `h2`, `http/1.1`. Default: nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alpn_protocols: Vec<String>,
}

/// A certificate with its key: `extensions.transport_sockets.tls.v3.TlsCertificate`. They are read when the listener is made;
/// files that change afterwards are not read again.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsCertificate {
    /// The chain in PEM, the server's own certificate first.
    pub certificate_chain: PemSource,
    /// The key in PEM: PKCS 8, PKCS 1 or SEC 1, without a password.
    pub private_key: PemSource,
}

/// Where PEM text is: `config.core.v3.DataSource`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Oneof", into = "Oneof")]
pub enum PemSource {
    /// In a file; a relative path is relative to where the process was started, as in Envoy.
    Filename(PathBuf),
    /// In the configuration itself.
    InlineString(String),
}

#[derive(Clone, Serialize, Deserialize)]
struct Oneof {
    #[serde(skip_serializing_if = "Option::is_none")]
    filename: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inline_string: Option<String>,
}

impl TryFrom<Oneof> for PemSource {
    type Error = &'static str;

    fn try_from(oneof: Oneof) -> Result<Self, Self::Error> {
        match (oneof.filename, oneof.inline_string) {
            (Some(path), None) => Ok(Self::Filename(path)),
            (None, Some(text)) => Ok(Self::InlineString(text)),
            _ => Err("expected one of `filename`, `inline_string`"),
        }
    }
}

impl From<PemSource> for Oneof {
    fn from(source: PemSource) -> Self {
        let (filename, inline_string) = match source {
            PemSource::Filename(path) => (Some(path), None),
            PemSource::InlineString(text) => (None, Some(text)),
        };
        Self {
            filename,
            inline_string,
        }
    }
}

impl TransportSocket {
    /// The TLS context.
    pub const fn tls(&self) -> &DownstreamTlsContext {
        let TransportSocketConfig::Tls(context) = &self.typed_config;
        context
    }
}
