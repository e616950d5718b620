//! What every client of the crowd has: where to connect, where to write what it sees, and when to
//! go home.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::book::{Book, Entry};
use super::probe::Listener;
use super::record::{Class, How};
use super::upstream::TcpSides;
use super::{h1_clients, h2_clients, probe, tcp, upload, ws};

/// What all clients share.
#[derive(Debug)]
pub(crate) struct Crowd {
    pub(crate) book: Arc<Book>,
    /// The HTTP listener.
    pub(crate) http: SocketAddr,
    /// The tcp_proxy listener.
    pub(crate) tcp: SocketAddr,
    /// What the TCP upstream saw of each stream.
    pub(crate) tcp_sides: Arc<TcpSides>,
    /// The drain time, from which the clients' own times are taken.
    pub(crate) drain_time: Duration,
    /// Turns true when it is time to go home.
    pub(crate) stop: watch::Receiver<bool>,
}

/// How many clients of a class there are in a crowd of scale 1.
fn size_of(class: Class) -> usize {
    match class {
        Class::H1Busy | Class::H1Idle => 6,
        Class::H1Silent | Class::H2Busy | Class::H2Idle | Class::WebSocket | Class::Tcp => 4,
        Class::Upload | Class::H2Slow | Class::Connect => 3,
    }
}

impl Crowd {
    /// Lets everybody in.
    pub(crate) fn start(self: &Arc<Self>, scale: usize) -> JoinSet<()> {
        let mut clients = JoinSet::new();
        for class in Class::ALL {
            for nth in 0..size_of(class) * scale {
                let crowd = Arc::clone(self);
                clients.spawn(async move {
                    // The members of a class do not march in step.
                    tokio::time::sleep(Duration::from_millis(fastrand::u64(..200))).await;
                    match class {
                        Class::H1Busy | Class::H1Idle | Class::H1Silent => {
                            h1_clients::client(&crowd, class).await
                        }
                        Class::Upload => upload::client(&crowd).await,
                        Class::H2Busy | Class::H2Idle | Class::H2Slow => {
                            h2_clients::client(&crowd, class, nth).await;
                        }
                        Class::WebSocket => ws::client(&crowd).await,
                        Class::Tcp => tcp::client(&crowd).await,
                        Class::Connect if nth % 3 == 2 => {
                            probe::client(&crowd, Listener::Tcp).await
                        }
                        Class::Connect => probe::client(&crowd, Listener::Http).await,
                    }
                });
            }
        }
        clients
    }

    /// Whether it is time to go home.
    pub(crate) fn stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Resolves when it is time to go home.
    pub(crate) async fn stopped(&self) {
        let mut stop = self.stop.clone();
        // An error means that the demo itself is gone.
        match stop.wait_for(|stop| *stop).await {
            Ok(_) | Err(_) => {}
        }
    }

    /// Opens a connection. A failed connect is written down, and followed by a short pause.
    pub(crate) async fn connect(&self, class: Class, to: SocketAddr) -> Option<(TcpStream, Entry)> {
        let entry = self.book.open(class);
        let begun = entry.now();
        let how = match timeout(Duration::from_secs(5), TcpStream::connect(to)).await {
            Ok(Ok(stream)) => match stream.set_nodelay(true) {
                Ok(()) => return Some((stream, entry)),
                Err(error) => How::from_io(&error),
            },
            Ok(Err(error)) => How::from_io(&error),
            Err(_) => How::TimedOut,
        };
        entry.failed(begun, None, how);
        tokio::time::sleep(Duration::from_millis(50)).await;
        None
    }
}
