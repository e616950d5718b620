//! The program under test, and clients and upstreams written out by hand.

pub(crate) mod edge;
pub(crate) mod h1;
pub(crate) mod h2;
#[cfg(feature = "xds")]
#[path = "../../../../config/tests/protobuf/messages.rs"]
pub(crate) mod messages;
pub(crate) mod paths;
#[cfg(feature = "xds")]
#[path = "../../../../xds/tests/xds/plane.rs"]
#[allow(dead_code, reason = "it has more for other tests")]
pub(crate) mod plane;
pub(crate) mod program;
#[cfg(feature = "tls")]
pub(crate) mod tls;
pub(crate) mod upstream;
pub(crate) mod websocket;
pub(crate) mod yaml;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

pub(crate) use edge::Edge;
pub(crate) use h1::H1;
pub(crate) use yaml::{Http, cluster, discovery, tcp, tcp_with};

/// How long anything may take that must happen soon; a machine under load has all the time it can
/// need.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for something that must happen soon.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: did not happen within {PATIENCE:?}"),
    }
}

/// An endpoint to which no connection can be made, as its queue is full; and what is in the queue.
pub(crate) async fn full_endpoint() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().expect("a socket");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(any).expect("a free port");
    let listener = socket.listen(1).expect("it listens");
    let address = listener.local_addr().expect("an address");
    let mut waiting = Vec::new();
    // The kernel answers at once as long as there is room.
    let moment = Duration::from_millis(500);
    while let Ok(taken) = tokio::time::timeout(moment, TcpStream::connect(address)).await {
        waiting.push(taken.expect("a connection"));
    }
    (listener, waiting)
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Fin,
    Reset,
}

/// Waits for the end of a connection that has nothing more to say. Over TLS `Fin` means that
/// `close_notify` came before it.
pub(crate) async fn end_of(stream: &mut (impl AsyncRead + Unpin)) -> End {
    let mut late = [0; 256];
    match within("the end of a connection", stream.read(&mut late)).await {
        Ok(0) => End::Fin,
        Ok(n) => panic!("late bytes: {:?}", String::from_utf8_lossy(&late[..n])),
        Err(_) => End::Reset,
    }
}

/// Whether nobody listens there.
pub(crate) async fn is_refused(address: SocketAddr) -> bool {
    let tried = within("an answer to SYN", TcpStream::connect(address)).await;
    tried.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

/// Waits until the kernel lists so many listening sockets with this port: each worker opens its own
/// when it joins.
pub(crate) async fn until_sockets(port: u16, many: usize) {
    // State 0A is LISTEN.
    let here = format!(":{port:04X} 00000000:0000 0A");
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    within(&format!("{many} listening sockets"), async {
        loop {
            let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
            if table.lines().filter(|line| line.contains(&here)).count() == many {
                return;
            }
            pace.tick().await;
        }
    })
    .await;
}

/// Waits until nobody listens there any more.
pub(crate) async fn until_refused(address: SocketAddr) {
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    within("nobody listens any more", async {
        while !is_refused(address).await {
            pace.tick().await;
        }
    })
    .await;
}
