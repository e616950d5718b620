//! The TCP connection under a transport, for what only a socket can do: FIN without an end of TLS,
//! and RST.

use std::any::Any;
use std::io;

use listener_versions::Stream;
use proto_drain_http1::WebSocketIo;
use tokio::net::TcpStream;

use super::TunnelUpstream;

/// The TCP connection under `io`, where its type is known: tokio's, an accepted one, TLS over
/// either, a tunnel's upstream.
pub(super) fn tcp_under<IO: 'static>(io: &IO) -> Option<&TcpStream> {
    let io = io as &dyn Any;
    if let Some(upstream) = io.downcast_ref::<TunnelUpstream>() {
        return upstream.tcp();
    }
    if let Some(websocket) = io.downcast_ref::<WebSocketIo<TunnelUpstream>>() {
        return websocket.get_ref().tcp();
    }
    #[cfg(feature = "tls")]
    {
        use tokio_rustls::client::TlsStream as Upstream;
        use tokio_rustls::server::TlsStream;
        if let Some(tls) = io.downcast_ref::<Upstream<Stream>>() {
            return plain(tls.get_ref().0);
        }
        if let Some(tls) = io.downcast_ref::<Upstream<TcpStream>>() {
            return plain(tls.get_ref().0);
        }
        if let Some(tls) = io.downcast_ref::<TlsStream<Stream>>() {
            return plain(tls.get_ref().0);
        }
        if let Some(tls) = io.downcast_ref::<TlsStream<TcpStream>>() {
            return plain(tls.get_ref().0);
        }
        // Boxed: the session takes more than a kilobyte wherever the stream passes.
        if let Some(tls) = io.downcast_ref::<Box<TlsStream<Stream>>>() {
            return plain(tls.get_ref().0);
        }
    }
    plain(io)
}

/// Whether a shutdown of `io` says nothing but that our direction ends.
pub(super) fn has_plain_shutdown<IO: 'static>(io: &IO) -> bool {
    let io = io as &dyn Any;
    #[cfg(unix)]
    if io.is::<tokio::net::UnixStream>() {
        return true;
    }
    io.is::<Stream>() || io.is::<TcpStream>() || io.is::<tokio::io::DuplexStream>()
}

fn plain(io: &dyn Any) -> Option<&TcpStream> {
    match io.downcast_ref::<Stream>() {
        Some(Stream::Tcp(tcp)) => Some(tcp),
        Some(_) => None,
        None => io.downcast_ref(),
    }
}

/// Makes dropping `io` send RST.
pub(super) fn reset_on_drop<IO: 'static>(io: &IO) -> io::Result<()> {
    match tcp_under(io) {
        Some(tcp) => proto_drain_tcp::reset_on_drop(tcp),
        None => Err(io::ErrorKind::Unsupported.into()),
    }
}

#[cfg(test)]
#[cfg(feature = "tls")]
mod tests {
    use std::sync::Arc;

    use tokio::net::TcpListener;
    use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;

    #[tokio::test]
    async fn the_socket_is_found_under_tls_in_a_box_too() {
        let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = signed.cert.der().clone();
        let mut trusted = RootCertStore::empty();
        trusted.add(certificate.clone()).unwrap();
        let key = PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
        let server = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let client = ClientConfig::builder()
            .with_root_certificates(trusted)
            .with_no_client_auth();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap());
        let (tcp, accepted) = tokio::join!(tcp, listener.accept());
        let name = ServerName::try_from("localhost").unwrap();
        let (client, stream) = tokio::join!(
            TlsConnector::from(Arc::new(client)).connect(name, tcp.unwrap()),
            TlsAcceptor::from(Arc::new(server)).accept(Stream::Tcp(accepted.unwrap().0)),
        );
        let (client, stream) = (client.unwrap(), stream.unwrap());
        let peer = client.get_ref().0.local_addr().unwrap();
        assert_eq!(tcp_under(&stream).unwrap().peer_addr().unwrap(), peer);
        let boxed = Box::new(stream);
        assert_eq!(tcp_under(&boxed).unwrap().peer_addr().unwrap(), peer);
        assert!(!has_plain_shutdown(&boxed));
    }
}
