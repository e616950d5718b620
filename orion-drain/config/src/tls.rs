//! TLS: `transport_socket` of a filter chain with a `DownstreamTlsContext`, or of a cluster with an
//! `UpstreamTlsContext`.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};

use super::{
    ConfigSource, StringMatcher,
    any::{self, TypedConfig},
    flags,
    names::{self, Named, is_default},
};

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

/// The transport sockets of filter chains that are known.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "@type")]
pub enum TransportSocketConfig {
    /// TLS.
    #[serde(
        rename = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
    )]
    Tls(Box<DownstreamTlsContext>),
    /// None: they speak in clear.
    #[serde(
        rename = "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
    )]
    RawBuffer(RawBuffer),
}

/// What connections to the endpoints of a cluster are wrapped in: `config.core.v3.TransportSocket`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamTransportSocket {
    /// A name for logs; the type of `typed_config` decides what it is.
    #[serde(default)]
    pub name: String,
    /// What it is.
    pub typed_config: UpstreamSocketConfig,
}

/// The transport sockets of clusters that are known.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "@type")]
pub enum UpstreamSocketConfig {
    /// TLS.
    #[serde(
        rename = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
    )]
    Tls(Box<UpstreamTlsContext>),
    /// None: they speak in clear.
    #[serde(
        rename = "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
    )]
    RawBuffer(RawBuffer),
}

/// In clear; it has no settings.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawBuffer {}

const RAW: &str = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";

impl TypedConfig for TransportSocketConfig {
    const KNOWN: &'static [&'static str] = &[
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        RAW,
    ];

    fn read<'de, D: Deserializer<'de>>(known: usize, message: D) -> Result<Self, D::Error> {
        match known {
            0 => Box::deserialize(message).map(Self::Tls),
            _ => RawBuffer::deserialize(message).map(Self::RawBuffer),
        }
    }
}

impl<'de> Deserialize<'de> for TransportSocketConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        any::deserialize(deserializer)
    }
}

impl TypedConfig for UpstreamSocketConfig {
    const KNOWN: &'static [&'static str] = &[
        "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        RAW,
    ];

    fn read<'de, D: Deserializer<'de>>(known: usize, message: D) -> Result<Self, D::Error> {
        match known {
            0 => Box::deserialize(message).map(Self::Tls),
            _ => RawBuffer::deserialize(message).map(Self::RawBuffer),
        }
    }
}

impl<'de> Deserialize<'de> for UpstreamSocketConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        any::deserialize(deserializer)
    }
}

/// TLS towards clients, as in
/// [`DownstreamTlsContext`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/transport_sockets/tls/v3/tls.proto).
/// It is served by rustls: TLS 1.2 and 1.3.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownstreamTlsContext {
    /// Certificates, and what is offered by ALPN.
    #[serde(default)]
    pub common_tls_context: CommonTlsContext,
    /// Whether clients need a certificate. Default: no; with a validation context one that is shown
    /// must be good.
    #[serde(
        default,
        deserialize_with = "flags::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub require_client_certificate: Option<bool>,
}

/// TLS towards endpoints, as in
/// [`UpstreamTlsContext`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/transport_sockets/tls/v3/tls.proto).
/// As in Envoy, without a validation context every certificate is good, and with `trusted_ca` alone
/// every name in it.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamTlsContext {
    /// Whom to trust, the client's certificate, and what is offered by ALPN.
    #[serde(default)]
    pub common_tls_context: CommonTlsContext,
    /// The name that the endpoint is asked for. Default: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sni: String,
}

/// What both sides of TLS have: `extensions.transport_sockets.tls.v3.CommonTlsContext`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommonTlsContext {
    /// The versions and suites.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_params: Option<TlsParameters>,
    /// The certificates. A server chooses among several by the name that the client asks for and
    /// the keys that it knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tls_certificates: Vec<TlsCertificate>,
    /// Certificates from files or from `static_resources.secrets`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tls_certificate_sds_secret_configs: Vec<SdsSecretConfig>,
    /// What the other side's certificate has to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_context: Option<CertificateValidationContext>,
    /// The same from a file or from `static_resources.secrets`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_context_sds_secret_config: Option<SdsSecretConfig>,
    /// Both together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub combined_validation_context: Option<CombinedValidationContext>,
    /// What is offered by ALPN, best first: `h2`, `http/1.1`. Default: nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alpn_protocols: Vec<String>,
}

/// Versions and suites: `extensions.transport_sockets.tls.v3.TlsParameters`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsParameters {
    /// The oldest version that is spoken. Default: TLS 1.2, and never an older one.
    #[serde(default, with = "names", skip_serializing_if = "is_default")]
    pub tls_minimum_protocol_version: TlsProtocol,
    /// The newest version that is spoken. Default: TLS 1.3.
    #[serde(default, with = "names", skip_serializing_if = "is_default")]
    pub tls_maximum_protocol_version: TlsProtocol,
    /// The suites of TLS 1.2, in BoringSSL's names. Those that rustls has not got are left out; one
    /// has to be left. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cipher_suites: Vec<String>,
}

/// A version of TLS.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsProtocol {
    /// `TLS_AUTO`
    #[default]
    Auto,
    /// `TLSv1_0`
    V1_0,
    /// `TLSv1_1`
    V1_1,
    /// `TLSv1_2`
    V1_2,
    /// `TLSv1_3`
    V1_3,
}

impl Named for TlsProtocol {
    const NAMES: &'static [(&'static str, u64, Self)] = &[
        ("TLS_AUTO", 0, Self::Auto),
        ("TLSv1_0", 1, Self::V1_0),
        ("TLSv1_1", 2, Self::V1_1),
        ("TLSv1_2", 3, Self::V1_2),
        ("TLSv1_3", 4, Self::V1_3),
    ];
}

/// A secret that stands elsewhere: `extensions.transport_sockets.tls.v3.SdsSecretConfig`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SdsSecretConfig {
    /// Its name. Required.
    #[serde(default)]
    pub name: String,
    /// The file that it is in, a discovery response. Absent: it is in `static_resources.secrets`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sds_config: Option<ConfigSource>,
}

/// What a certificate has to be:
/// `extensions.transport_sockets.tls.v3.CertificateValidationContext`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateValidationContext {
    /// The authorities of which one must have signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted_ca: Option<PemSource>,
    /// Names of which it must have one. Default: any name is good.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_typed_subject_alt_names: Vec<SubjectAltNameMatcher>,
}

/// A name in a certificate: `extensions.transport_sockets.tls.v3.SubjectAltNameMatcher`.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectAltNameMatcher {
    /// What kind of name.
    #[serde(with = "names")]
    pub san_type: SanType,
    /// What it has to be.
    pub matcher: StringMatcher,
}

/// A kind of name.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SanType {
    /// `DNS`
    Dns,
    /// `URI`
    Uri,
}

impl Named for SanType {
    const NAMES: &'static [(&'static str, u64, Self)] =
        &[("DNS", 2, Self::Dns), ("URI", 3, Self::Uri)];
}

/// A validation context of which a part stands elsewhere:
/// `extensions.transport_sockets.tls.v3.CommonTlsContext.CombinedCertificateValidationContext`.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CombinedValidationContext {
    /// The part that stands here.
    #[serde(default)]
    pub default_validation_context: CertificateValidationContext,
    /// The part that stands elsewhere, which counts where both say something.
    pub validation_context_sds_secret_config: SdsSecretConfig,
}

/// A secret: `extensions.transport_sockets.tls.v3.Secret`. One of both.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// A certificate with its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_certificate: Option<TlsCertificate>,
    /// What a certificate has to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_context: Option<CertificateValidationContext>,
}

/// A certificate with its key: `extensions.transport_sockets.tls.v3.TlsCertificate`. They are read
/// when the listener or cluster is made; files that change afterwards are read again with the next
/// update of it.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsCertificate {
    /// The chain in PEM, the own certificate first.
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
    /// The TLS context; `None`: in clear.
    pub fn tls(&self) -> Option<&DownstreamTlsContext> {
        match &self.typed_config {
            TransportSocketConfig::Tls(context) => Some(context),
            TransportSocketConfig::RawBuffer(_) => None,
        }
    }
}

impl UpstreamTransportSocket {
    /// The TLS context; `None`: in clear.
    pub fn tls(&self) -> Option<&UpstreamTlsContext> {
        match &self.typed_config {
            UpstreamSocketConfig::Tls(context) => Some(context),
            UpstreamSocketConfig::RawBuffer(_) => None,
        }
    }
}
