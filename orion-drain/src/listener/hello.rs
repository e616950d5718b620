//! What a client says first: whether it wants TLS, the name it asks for, the protocols it offers.
//! It is looked at and left in the socket, as Envoy's `tls_inspector` does.

use std::io;
use std::time::Duration;

use conn_tracker::CloseReason;
use listener_versions::{Accepted, Stream};
use rustix::net::RecvFlags;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio_rustls::rustls::server::Acceptor;

use super::ServedListener;

/// Envoy's `listener_filters_timeout`.
const PATIENCE: Duration = Duration::from_secs(15);
/// The same from the connection's slot in a drain on.
const PATIENCE_IN_DRAIN: Duration = Duration::from_secs(1);
/// How much of it is looked at: Envoy's limit.
const LONGEST: usize = 16 * 1024;

/// What was said.
#[derive(Debug, Default)]
pub(super) struct Hello {
    pub(super) tls: bool,
    pub(super) server_name: Option<String>,
    pub(super) application_protocols: Vec<String>,
}

/// Waits until it is said. `None`: it was not said in time, and the connection is to be closed.
pub(super) async fn wait<S: Send + Sync + 'static>(
    accepted: &Accepted<ServedListener<S>>,
) -> Option<Hello> {
    let Stream::Tcp(stream) = &accepted.stream else {
        // It cannot be looked at without being taken.
        return Some(Hello::default());
    };
    let drained = async {
        accepted.watch.signaled().await;
        tokio::select! {
            () = tokio::time::sleep(PATIENCE_IN_DRAIN) => {}
            _ = accepted.watch.expired() => {}
        }
    };
    let reason = tokio::select! {
        biased;
        said = peek(stream) => match said {
            Ok(hello) => return Some(hello),
            Err(_) => CloseReason::Error,
        },
        () = drained => CloseReason::Deadline,
        () = tokio::time::sleep(PATIENCE) => CloseReason::Error,
    };
    accepted.conn.set_close_reason(reason);
    None
}

async fn peek(stream: &TcpStream) -> io::Result<Hello> {
    let mut seen = vec![0; LONGEST];
    loop {
        let ready = stream.ready(Interest::READABLE).await?;
        // Asked again only when more has come: readiness is taken back while the hello is not
        // whole.
        let said = stream.try_io(Interest::READABLE, || {
            let (length, _) = rustix::net::recv(stream, &mut *seen, RecvFlags::PEEK)?;
            match read(&seen[..length]) {
                Some(hello) => Ok(hello),
                // The client ends here, or says too much.
                None if length == 0 || length == LONGEST => Ok(Hello::default()),
                None => Err(io::ErrorKind::WouldBlock.into()),
            }
        });
        match said {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !ready.is_read_closed() => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Hello::default()),
            said => return said,
        }
    }
}

/// `None`: there must be more.
fn read(bytes: &[u8]) -> Option<Hello> {
    /// What a TLS record of a handshake begins with.
    const HANDSHAKE: u8 = 22;
    if bytes.first().is_none_or(|first| *first != HANDSHAKE) {
        return (!bytes.is_empty()).then(Hello::default);
    }
    let mut acceptor = Acceptor::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        match acceptor.read_tls(&mut rest) {
            Ok(0) => break,
            Ok(_) => {}
            Err(_) => return Some(Hello::default()),
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                let offered = hello.alpn().into_iter().flatten();
                return Some(Hello {
                    tls: true,
                    server_name: hello.server_name().map(str::to_owned),
                    application_protocols: offered
                        .map(|protocol| String::from_utf8_lossy(protocol).into_owned())
                        .collect(),
                });
            }
            Ok(None) => {}
            // Let the handshake itself say what is wrong with it.
            Err(_) => {
                return Some(Hello {
                    tls: true,
                    ..Hello::default()
                });
            }
        }
    }
    None
}
