//! The sockets of one address from its first version to its last: opened, handed to workers, and
//! closed without losing what waits in their queues.

use std::collections::VecDeque;
use std::io;

use socket2::{SockAddr, Socket};

use super::assignment::Assignment;
use super::backoff::{Backoff, Next};
use super::bind;
#[cfg(unix)]
use super::bind::SocketFile;
use crate::{Inherited, ListenAddress, ListenerConfig, SocketKey, SocketOptions};

/// At most so many connections are saved from the queues of sockets that close: more than any
/// kernel's default backlog.
const SAVED: usize = 65_536;

/// A socket that listens, or is about to.
struct Open {
    socket: Socket,
    /// Another process has descriptors of it, and goes on with its queue.
    shared: bool,
}

pub(super) struct Sockets {
    local: ListenAddress,
    options: SocketOptions,
    /// By index; none once they are closed. The workers have descriptors of the same sockets.
    open: Vec<Open>,
    assignment: Assignment,
    /// The file of a Unix socket, as it was when the socket came here.
    #[cfg(unix)]
    file: Option<SocketFile>,
    /// Whether another process has bound the sockets.
    #[cfg(unix)]
    is_inherited: bool,
    /// What was in the queues when the sockets closed.
    saved: VecDeque<(Socket, SockAddr)>,
    /// Sockets that close as soon as their queues are empty: for what waits there were no
    /// descriptors. They let no other client in.
    closing: VecDeque<Socket>,
    is_closed: bool,
    /// It is not decided whether another process goes on with these sockets: it would not know of
    /// one that is opened now.
    is_undecided: bool,
}

impl Sockets {
    /// Opens the first socket, which does not listen yet; or goes on with those that listen there
    /// already, as they are. If that fails, they are where they were.
    pub(super) fn open<C: ListenerConfig>(
        key: &SocketKey,
        options: &SocketOptions,
        config: &C,
        inherited: &mut Inherited,
    ) -> io::Result<Self> {
        let (address, options) = (key.address(), options.clone());
        if key.is_internal() {
            return Ok(Self::internal(options));
        }
        let sockets = inherited.take(address);
        if sockets.is_empty() {
            return Self::bind(address, options, config);
        }
        Self::inherit(address, options, sockets).map_err(|(sockets, error)| {
            inherited.put(address.clone(), sockets);
            error
        })
    }

    /// No socket: connections are handed in.
    fn internal(options: SocketOptions) -> Self {
        Self {
            local: ListenAddress::Internal,
            options,
            open: Vec::new(),
            assignment: Assignment::new(false),
            #[cfg(unix)]
            file: None,
            #[cfg(unix)]
            is_inherited: false,
            saved: VecDeque::new(),
            closing: VecDeque::new(),
            is_closed: false,
            is_undecided: false,
        }
    }

    fn bind<C: ListenerConfig>(
        address: &ListenAddress,
        mut options: SocketOptions,
        config: &C,
    ) -> io::Result<Self> {
        options.reuse_port = options.reuse_port_at(address);
        let socket = bind::socket(config, address)?;
        Ok(Self {
            local: bind::local_address(&socket, address),
            assignment: Assignment::new(options.reuse_port),
            options,
            #[cfg(unix)]
            file: SocketFile::at(address),
            #[cfg(unix)]
            is_inherited: false,
            open: vec![Open {
                socket,
                shared: false,
            }],
            saved: VecDeque::new(),
            closing: VecDeque::new(),
            is_closed: false,
            is_undecided: false,
        })
    }

    /// Goes on with sockets that another process opened, as they are. At least one.
    fn inherit(
        address: &ListenAddress,
        mut options: SocketOptions,
        sockets: Vec<Socket>,
    ) -> Result<Self, (Vec<Socket>, io::Error)> {
        options.reuse_port = options.reuse_port_at(address);
        // Beside a socket that does not share its port no other can be opened.
        #[cfg(target_os = "linux")]
        if !matches!(address, ListenAddress::Unix(_)) {
            match sockets
                .iter()
                .map(Socket::reuse_port)
                .collect::<io::Result<Vec<bool>>>()
            {
                Ok(shared) if shared.iter().all(|shared| *shared) => {}
                Ok(_) => options.reuse_port = false,
                Err(error) => return Err((sockets, error)),
            }
        }
        let mut assignment = Assignment::new(options.reuse_port);
        (1..sockets.len()).for_each(|_| assignment.inherited());
        let open = sockets.into_iter().map(|socket| Open {
            socket,
            shared: true,
        });
        Ok(Self {
            local: address.clone(),
            assignment,
            options,
            #[cfg(unix)]
            file: SocketFile::at(address),
            #[cfg(unix)]
            is_inherited: true,
            open: open.collect(),
            saved: VecDeque::new(),
            closing: VecDeque::new(),
            is_closed: false,
            is_undecided: false,
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

    /// So many may wait from now on. For sockets that listen already.
    pub(super) fn set_backlog(&mut self, backlog: u32) {
        if std::mem::replace(&mut self.options.backlog, backlog) != backlog {
            for open in &self.open {
                // The kernel takes another length for a queue that is there; it has no other reason
                // to refuse.
                drop(bind::listen(&open.socket, &self.options));
            }
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// The worker accepts here, from now on. `true`: others have to look at [what is
    /// theirs](Self::of).
    pub(super) fn join(&mut self, worker: u64) -> bool {
        !self.is_closed() && self.assignment.join(worker)
    }

    /// Whether another socket is to be [opened](Self::add) for this worker. While it is undecided
    /// which process goes on, none is, and the worker has to look again.
    pub(super) fn wants_another(&self, worker: u64) -> bool {
        !self.is_closed() && !self.is_undecided && self.assignment.needs_socket(worker)
    }

    /// Listens on another socket, which is this worker's.
    pub(super) fn add(&mut self, worker: u64, socket: Socket) -> io::Result<()> {
        bind::listen(&socket, &self.options)?;
        self.open.push(Open {
            socket,
            shared: false,
        });
        self.assignment.opened(worker);
        Ok(())
    }

    /// The worker is gone. `true`: others have to look at [what is theirs](Self::of).
    pub(super) fn leave(&mut self, worker: u64) -> bool {
        self.assignment.leave(worker)
    }

    /// The sockets on which this worker accepts, by index.
    pub(super) fn of(&self, worker: u64) -> impl Iterator<Item = (usize, &Socket)> {
        self.assignment
            .of(worker)
            .filter_map(|index| Some((index, &self.open.get(index)?.socket)))
    }

    /// Another descriptor of each socket, by index, and whether another process has it by now.
    #[cfg(unix)]
    pub(super) fn descriptors(&self) -> io::Result<Vec<(std::os::fd::OwnedFd, bool)>> {
        let sockets = self.open.iter();
        sockets
            .map(|open| Ok((open.socket.try_clone()?.into(), open.shared)))
            .collect()
    }

    /// Whether another process has the sockets that are open now.
    pub(super) fn set_shared(&mut self, shared: bool) -> Vec<bool> {
        let sockets = self.open.iter_mut();
        sockets
            .map(|open| std::mem::replace(&mut open.shared, shared))
            .collect()
    }

    #[cfg(all(unix, feature = "handover"))]
    pub(super) fn is_shared(&self) -> bool {
        self.open.iter().any(|open| open.shared)
    }

    #[cfg(all(unix, feature = "handover"))]
    pub(super) fn set_shared_as(&mut self, before: &[bool]) {
        for (open, before) in self.open.iter_mut().zip(before) {
            open.shared = *before;
        }
    }

    /// Whether it is undecided which process goes on. `true`: workers have to look again, and may
    /// open sockets now.
    #[cfg(all(unix, feature = "handover"))]
    pub(super) fn set_undecided(&mut self, is_undecided: bool) -> bool {
        let was_undecided = std::mem::replace(&mut self.is_undecided, is_undecided);
        was_undecided && !is_undecided && self.options.reuse_port
    }

    /// Refuses new connections from this moment on, in every worker; those that wait in the queues
    /// are kept.
    ///
    /// What another process has too goes on listening, with its queue: those sockets are returned.
    pub(super) fn close(&mut self) -> Vec<Socket> {
        #[cfg(unix)]
        if self.open.iter().any(|open| open.shared) {
            self.file = None;
        } else if let Some(file) = self.file.take_if(|_| !self.is_inherited) {
            // While this process listens there, no other one takes the path; so if the file is ours
            // now, it is when it is removed.
            file.remove();
        }
        self.is_closed = true;
        let mut shared = Vec::new();
        for open in std::mem::take(&mut self.open) {
            if open.shared {
                shared.push(open.socket);
            } else if self.save(&open.socket) {
                end(&open.socket);
            } else {
                // A queue of no length is full as long as anything is in it, so it only gets
                // shorter.
                drop(open.socket.listen(0));
                self.closing.push_back(open.socket);
            }
        }
        self.leave_path();
        shared
    }

    /// Once no socket listens any more, the path of an inherited one goes.
    fn leave_path(&mut self) {
        #[cfg(unix)]
        if let Some(file) = self
            .file
            .take_if(|_| self.is_closed && self.closing.is_empty())
        {
            file.remove_if_stale();
        }
    }

    /// Saves what waits in the queue; `false` if something stays there.
    fn save(&mut self, socket: &Socket) -> bool {
        let mut backoff = Backoff::default();
        while self.saved.len() < SAVED {
            match socket.accept() {
                Ok(connection) => self.saved.push_back(connection),
                Err(error) if is_over(&error) => return true,
                Err(error) if backoff.after(&error) == Next::Retry => {}
                Err(_) => return false,
            }
        }
        false
    }

    /// The next of those that were in the queues when the sockets closed.
    ///
    /// # Errors
    ///
    /// Some wait, and the system lacks something to take them.
    pub(super) fn next_saved(&mut self) -> io::Result<Option<(Socket, SockAddr)>> {
        if let Some(connection) = self.saved.pop_front() {
            return Ok(Some(connection));
        }
        while let Some(socket) = self.closing.front() {
            match socket.accept() {
                Ok(connection) => return Ok(Some(connection)),
                Err(error) if is_over(&error) => {
                    end(socket);
                    self.closing.pop_front();
                }
                Err(error) => return Err(error),
            }
        }
        self.leave_path();
        Ok(None)
    }

    /// No worker is left to serve what was saved: it is closed.
    pub(super) fn drop_saved(&mut self) {
        self.saved.clear();
        self.closing.drain(..).for_each(|socket| end(&socket));
        self.leave_path();
    }
}

/// The workers have descriptors of the same socket. Shutting it down ends listening for all of
/// them, however late they look; where the system knows no such thing, it ends when the last of
/// them closes its own.
fn end(socket: &Socket) {
    drop(socket.shutdown(std::net::Shutdown::Both));
}

/// Nothing waits in the queue, or there is no queue any more.
fn is_over(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::InvalidInput
    )
}
