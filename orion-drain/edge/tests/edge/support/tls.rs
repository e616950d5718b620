//! TLS as a client has it, and a certificate in files for the other side.

use std::net::SocketAddr;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::within;

/// A certificate for `localhost` in a folder, and who trusts it.
pub(crate) struct Secured {
    folder: TempDir,
    trusted: RootCertStore,
}

impl Secured {
    pub(crate) fn new() -> Self {
        Self::of("localhost")
    }

    /// The same for another name.
    pub(crate) fn of(name: &str) -> Self {
        Self::signed(rcgen::CertificateParams::new([name.to_owned()]).expect("a name"))
    }

    /// The same for a URI, such as SPIFFE's names.
    pub(crate) fn of_uri(uri: &str) -> Self {
        let mut params = rcgen::CertificateParams::default();
        let uri = uri.try_into().expect("an ASCII text");
        params.subject_alt_names = vec![rcgen::SanType::URI(uri)];
        Self::signed(params)
    }

    fn signed(params: rcgen::CertificateParams) -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let cert = params.self_signed(&key).expect("a certificate");
        let folder = TempDir::new().expect("a folder for the certificate");
        std::fs::write(
            folder.path().join("cert.pem"),
            pem("CERTIFICATE", cert.der()),
        )
        .expect("the certificate");
        let key = pem("PRIVATE KEY", &key.serialize_der());
        std::fs::write(folder.path().join("key.pem"), key).expect("the key");
        let mut trusted = RootCertStore::empty();
        trusted.add(cert.der().clone()).expect("it is trusted");
        Self { folder, trusted }
    }

    /// Where the certificate is.
    pub(crate) fn certificate(&self) -> String {
        self.folder.path().join("cert.pem").display().to_string()
    }

    /// The fields of a certificate and its key.
    pub(crate) fn pair(&self) -> String {
        let key = self.folder.path().join("key.pem").display().to_string();
        format!(
            "{{ certificate_chain: {{ filename: {:?} }}, private_key: {{ filename: {key:?} }} }}",
            self.certificate()
        )
    }

    /// The certificate and the key themselves.
    pub(crate) fn identity(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let certificate = CertificateDer::from_pem_file(self.certificate());
        let key = PrivateKeyDer::from_pem_file(self.folder.path().join("key.pem"));
        (
            vec![certificate.expect("a certificate")],
            key.expect("a key"),
        )
    }

    /// Who trusts it.
    pub(crate) fn trusted(&self) -> RootCertStore {
        self.trusted.clone()
    }

    /// The field of a filter chain.
    pub(crate) fn transport_socket(&self) -> String {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        format!(
            "transport_socket: {{ name: tls, typed_config: {{ \"@type\": \
             type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, common_tls_context: \
             {{ alpn_protocols: [h2, http/1.1], tls_certificates: [{{ certificate_chain: {{ filename: {:?} }}, \
             private_key: {{ filename: {:?} }} }}] }} }} }}",
            path("cert.pem"),
            path("key.pem")
        )
    }

    /// A connection on which this protocol was agreed on.
    pub(crate) async fn connect(&self, address: SocketAddr, alpn: &str) -> TlsStream<TcpStream> {
        let mut config = ClientConfig::builder()
            .with_root_certificates(self.trusted.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let tcp = within("a connection", TcpStream::connect(address))
            .await
            .expect("it listens");
        tcp.set_nodelay(true).expect("a TCP socket");
        let name = ServerName::try_from("localhost").expect("a name");
        let connector = TlsConnector::from(Arc::new(config));
        let stream = within("a handshake", connector.connect(name, tcp))
            .await
            .expect("the handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(alpn.as_bytes()));
        stream
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in der.chunks(3) {
        let bits = chunk
            .iter()
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for place in 0..4 {
            text.push(match place <= chunk.len() {
                true => char::from(DIGITS[(bits >> (18 - 6 * place)) as usize & 63]),
                false => '=',
            });
        }
    }
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(String::from_utf8_lossy)
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}
