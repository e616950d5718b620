//! One worker's share of the sockets of an address, in its runtime: usually one, and those that
//! other workers have left.

use std::future::{Future, poll_fn};
use std::io;
use std::task::{Context, Poll};

use conn_tracker::Peer;
use socket2::{SockAddr, Socket};
use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};

use super::Stream;
use super::listening::Listening;
use crate::{ListenAddress, ListenerConfig};

#[derive(Default)]
pub(super) struct WorkerSockets {
    listeners: Vec<(usize, Listener)>,
    /// Where the next search for a connection begins, so that a busy socket does not starve
    /// another.
    turn: usize,
}

impl WorkerSockets {
    /// Looks which sockets are this acceptor's now. Must be called inside a runtime.
    pub(super) fn look<C: ListenerConfig>(
        &mut self,
        listening: &Listening<C>,
        acceptor: u64,
    ) -> io::Result<()> {
        let has = |index| self.listeners.iter().any(|(had, _)| *had == index);
        let sockets = listening.sockets_of(acceptor, has)?;
        self.listeners
            .retain(|(had, _)| sockets.iter().any(|(index, _)| index == had));
        for (index, socket) in sockets {
            if let Some(socket) = socket {
                self.listeners
                    .push((index, Listener::register(socket, listening.local())?));
            }
        }
        Ok(())
    }

    /// The next connection on any of them.
    pub(super) fn accept(
        &mut self,
    ) -> impl Future<Output = io::Result<(Stream, Peer)>> + Unpin + '_ {
        poll_fn(|cx| {
            for _ in 0..self.listeners.len() {
                self.turn = (self.turn + 1) % self.listeners.len();
                if let Poll::Ready(accepted) = self.listeners[self.turn].1.poll_accept(cx) {
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
    }
}

/// One socket in one runtime.
enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener),
}

impl Listener {
    /// Must be called inside a runtime.
    fn register(socket: Socket, address: &ListenAddress) -> io::Result<Self> {
        match address {
            ListenAddress::Socket(_) => TcpListener::from_std(socket.into()).map(Self::Tcp),
            #[cfg(unix)]
            ListenAddress::Unix(_) => {
                let socket = std::os::fd::OwnedFd::from(socket);
                UnixListener::from_std(socket.into()).map(Self::Unix)
            }
            ListenAddress::Internal => Err(io::ErrorKind::Unsupported.into()),
            #[cfg(not(unix))]
            ListenAddress::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, Peer)>> {
        match self {
            Self::Tcp(listener) => listener.poll_accept(cx).map_ok(|(stream, peer)| {
                let peer = Peer::Ip(peer);
                (Stream::Tcp(stream), peer)
            }),
            #[cfg(unix)]
            Self::Unix(listener) => listener
                .poll_accept(cx)
                .map_ok(|(stream, _)| (Stream::Unix(stream), Peer::Unix)),
        }
    }
}

/// A connection saved from the queue of a closed socket. Must be called inside a runtime.
pub(super) fn adopt(connection: (Socket, SockAddr)) -> io::Result<(Stream, Peer)> {
    let (socket, peer) = connection;
    socket.set_nonblocking(true)?;
    match peer.as_socket() {
        Some(peer) => Ok((
            Stream::Tcp(TcpStream::from_std(socket.into())?),
            Peer::Ip(peer),
        )),
        #[cfg(unix)]
        None => {
            let socket = std::os::fd::OwnedFd::from(socket);
            Ok((
                Stream::Unix(UnixStream::from_std(socket.into())?),
                Peer::Unix,
            ))
        }
        #[cfg(not(unix))]
        None => Err(io::ErrorKind::Unsupported.into()),
    }
}
