//! The sockets of one address from its first version to its last: opened, handed to workers, and closed without losing what waits
//! in their queues.

use std::collections::VecDeque;
use std::io;

use socket2::{SockAddr, Socket};

use super::bind;
use super::lanes::Lanes;
use crate::{ListenAddress, SocketOptions};

/// At most so many connections are saved from the queues of sockets that close: more than any kernel's default backlog.
const SAVED: usize = 65_536;

/// A socket that listens, or is about to.
struct Open {
    socket: Socket,
    /// Another process has descriptors of it, and goes on with its queue.
    shared: bool,
}

pub(super) struct Sockets {
    configured: ListenAddress,
    local: ListenAddress,
    options: SocketOptions,
    /// By lane; none once they are closed. The workers have descriptors of the same sockets.
    open: Vec<Open>,
    lanes: Lanes,
    /// What was in the queues when the sockets closed.
    saved: VecDeque<(Socket, SockAddr)>,
}

impl Sockets {
    /// Opens the first socket. It does not listen yet.
    pub(super) fn bind(address: &ListenAddress, mut options: SocketOptions) -> io::Result<Self> {
        options.reuse_port = options.reuse_port.at(address);
        let socket = bind::bind(address, &options)?;
        Ok(Self {
            configured: address.clone(),
            local: bind::local_address(&socket, address),
            lanes: Lanes::new(options.reuse_port),
            options,
            open: vec![Open {
                socket,
                shared: false,
            }],
            saved: VecDeque::new(),
        })
    }

    /// Goes on with sockets that another process opened, as they are. At least one.
    pub(super) fn inherit(
        address: &ListenAddress,
        mut options: SocketOptions,
        sockets: Vec<Socket>,
    ) -> io::Result<Self> {
        options.reuse_port = options.reuse_port.at(address);
        // Beside a socket that does not share its port no other can be opened.
        #[cfg(target_os = "linux")]
        for socket in &sockets {
            if !matches!(address, ListenAddress::Unix(_)) && !socket.reuse_port()? {
                options.reuse_port = crate::ReusePort::Shared;
            }
        }
        let mut lanes = Lanes::new(options.reuse_port);
        (1..sockets.len()).for_each(|_| lanes.inherited());
        let open = sockets.into_iter().map(|socket| Open { socket, shared: true });
        Ok(Self {
            configured: address.clone(),
            local: address.clone(),
            lanes,
            options,
            open: open.collect(),
            saved: VecDeque::new(),
        })
    }

    /// The address, with the port that the kernel chose.
    pub(super) fn local(&self) -> &ListenAddress {
        &self.local
    }

    /// Lets connections into the queues. May be called again.
    pub(super) fn listen(&self) -> io::Result<()> {
        if self.is_closed() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        self.open
            .iter()
            .try_for_each(|open| bind::listen(&open.socket, &self.options))
    }

    pub(super) fn is_closed(&self) -> bool {
        self.open.is_empty()
    }

    /// The worker accepts here, from now on. `true`: others have to look at [what is theirs](Self::of).
    pub(super) fn join(&mut self, worker: u64) -> io::Result<bool> {
        if self.is_closed() {
            return Ok(false);
        }
        let moved = self.lanes.join(worker);
        if self.lanes.needs_socket(worker) {
            let socket = bind::bind(&self.local, &self.options)?;
            bind::listen(&socket, &self.options)?;
            self.open.push(Open {
                socket,
                shared: false,
            });
            self.lanes.opened(worker);
        }
        Ok(moved)
    }

    /// The worker is gone. `true`: others have to look at [what is theirs](Self::of).
    pub(super) fn leave(&mut self, worker: u64) -> bool {
        self.lanes.leave(worker)
    }

    /// The sockets on which this worker accepts, by lane.
    pub(super) fn of(&self, worker: u64) -> impl Iterator<Item = (usize, &Socket)> {
        self.lanes
            .of(worker)
            .filter_map(|lane| Some((lane, &self.open.get(lane)?.socket)))
    }

    /// Another descriptor of each socket, by lane, and whether another process has it by now.
    #[cfg(unix)]
    pub(super) fn descriptors(&self) -> io::Result<Vec<(std::os::fd::OwnedFd, bool)>> {
        let sockets = self.open.iter();
        sockets
            .map(|open| Ok((open.socket.try_clone()?.into(), open.shared)))
            .collect()
    }

    /// Whether another process has the sockets that are open now.
    pub(super) fn set_shared(&mut self, shared: bool) -> Vec<bool> {
        let lanes = self.open.iter_mut();
        lanes
            .map(|open| std::mem::replace(&mut open.shared, shared))
            .collect()
    }

    #[cfg(all(unix, feature = "handover"))]
    pub(super) fn set_shared_as(&mut self, before: &[bool]) {
        for (open, before) in self.open.iter_mut().zip(before) {
            open.shared = *before;
        }
    }

    /// Refuses new connections from this moment on, in every worker; those that wait in the queues are kept.
    ///
    /// What another process has too goes on listening, with its queue: those sockets are returned.
    pub(super) fn close(&mut self) -> Vec<Socket> {
        let mut shared = Vec::new();
        for open in std::mem::take(&mut self.open) {
            if open.shared {
                shared.push(open.socket);
                continue;
            }
            while self.saved.len() < SAVED {
                match open.socket.accept() {
                    Ok(connection) => self.saved.push_back(connection),
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
            // The workers have descriptors of the same socket. Shutting it down ends listening for all of them, however late they
            // look; where the system knows no such thing, it ends when the last of them closes its own.
            drop(open.socket.shutdown(std::net::Shutdown::Both));
        }
        #[cfg(unix)]
        if let (ListenAddress::Unix(path), true) = (&self.configured, shared.is_empty()) {
            if !self.configured.is_abstract() {
                drop(std::fs::remove_file(path));
            }
        }
        shared
    }

    pub(super) fn next_saved(&mut self) -> Option<(Socket, SockAddr)> {
        self.saved.pop_front()
    }

    /// Nobody is left to serve what was saved.
    pub(super) fn take_saved(&mut self) -> VecDeque<(Socket, SockAddr)> {
        std::mem::take(&mut self.saved)
    }
}
