//! Listening sockets that came from elsewhere: another process, or the one that started this
//! process.

use std::collections::BTreeMap;
use std::io;

use socket2::Socket;

use crate::ListenAddress;

/// Listening sockets that came from elsewhere, by the address that they are bound to.
///
/// A process that is about to be replaced hands its sockets over, systemd opens them before it
/// starts a service. Given to [`Listeners::inherit`](crate::Listeners::inherit), they are used
/// instead of opening others, so that nothing that waits in their queues is lost.
///
/// One address may have several sockets (`SO_REUSEPORT`), each with a queue of its own; all of them
/// are used, by as many workers as there are.
///
/// ```
/// # #[cfg(unix)] {
/// use listener_versions::Inherited;
///
/// let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let mut inherited = Inherited::new();
/// let address = inherited.add(socket)?;
/// assert_eq!(inherited.addresses().collect::<Vec<_>>(), [&address]);
/// # }
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: BTreeMap<ListenAddress, Vec<Socket>>,
    /// Another process accepts on them until it agrees that this one does.
    #[cfg(all(unix, feature = "handover"))]
    is_undecided: bool,
}

impl Inherited {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// None yet. Another process accepts on those that will come, and this one must not do so
    /// before it is decided which of the two goes on.
    #[cfg(all(unix, feature = "handover"))]
    pub(crate) fn undecided() -> Self {
        Self {
            is_undecided: true,
            ..Self::default()
        }
    }

    #[cfg(all(unix, feature = "handover"))]
    pub(crate) fn is_undecided(&self) -> bool {
        self.is_undecided
    }

    /// Adds a socket, behind those of the same address; where it listens. One more descriptor of a
    /// socket that is there already is closed (known on Linux): it has no queue of its own.
    ///
    /// `O_NONBLOCK` and `FD_CLOEXEC` are set on it.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] if it is not a stream socket that listens, or what the
    /// system says. The error names the file descriptor, which is closed.
    #[cfg(unix)]
    pub fn add(&mut self, socket: impl Into<std::os::fd::OwnedFd>) -> io::Result<ListenAddress> {
        use std::os::fd::AsRawFd as _;

        let fd = socket.into();
        let number = fd.as_raw_fd();
        let socket = Socket::from(fd);
        let address = examine(&socket).map_err(|reason| unfit(number, reason))?;
        if !self.has(&address, &socket) {
            self.put(address.clone(), [socket]);
        }
        Ok(address)
    }

    /// Whether another descriptor of the same socket is there. Sockets that share their address are
    /// not compared: each has one descriptor, also after [`split`](Self::split).
    #[cfg(unix)]
    fn has(&self, address: &ListenAddress, socket: &Socket) -> bool {
        let Some(there) = self.sockets.get(address) else {
            return false;
        };
        let id = Some(socket).filter(|socket| !shares_address(socket));
        let id = id.and_then(identity);
        id.is_some() && there.iter().any(|other| identity(other) == id)
    }

    /// Takes out a socket that listens there, for a use of its own, such as an admin port.
    #[cfg(unix)]
    pub fn remove(&mut self, address: &ListenAddress) -> Option<std::os::fd::OwnedFd> {
        let sockets = self.sockets.get_mut(address)?;
        let socket = sockets.pop();
        if sockets.is_empty() {
            self.sockets.remove(address);
        }
        socket.map(Into::into)
    }

    /// A descriptor of each.
    #[cfg(all(unix, feature = "handover"))]
    pub(crate) fn descriptors(&self) -> io::Result<Vec<SharedSocket>> {
        let sockets = self.sockets.iter().flat_map(|(address, sockets)| {
            sockets.iter().enumerate().map(|(index, socket)| {
                Ok(SharedSocket {
                    address: address.clone(),
                    index,
                    socket: socket.try_clone()?.into(),
                    part: usize::MAX,
                    is_kept: false,
                })
            })
        });
        sockets.collect()
    }

    /// Where they listen.
    pub fn addresses(&self) -> impl Iterator<Item = &ListenAddress> {
        self.sockets.keys()
    }

    /// Deals them to so many [`Listeners`](crate::Listeners), for a program that has one for each
    /// of its runtimes.
    ///
    /// Of the sockets that share an address (`SO_REUSEPORT`) each goes to one of them, in turn;
    /// those that get none open another one. They must listen at the same addresses: a socket that
    /// its `Listeners` do not want is closed, with its queue. Of a socket that shares its address
    /// with no other, all get a descriptor, and each that wants it accepts on it. Update them
    /// alike: one that gives up such an address after the handover ends listening there for all of
    /// them.
    ///
    /// # Errors
    ///
    /// If the process has no file descriptors left.
    #[cfg(unix)]
    pub fn split(self, parts: usize) -> io::Result<Vec<Self>> {
        let mut split: Vec<Self> = (0..parts.max(1)).map(|_| self.empty()).collect();
        for (address, sockets) in self.sockets {
            for (index, socket) in sockets.into_iter().enumerate() {
                if shares_address(&socket) {
                    let count = split.len();
                    split[index % count].put(address.clone(), [socket]);
                    continue;
                }
                for part in &mut split {
                    part.put(address.clone(), [socket.try_clone()?]);
                }
            }
        }
        Ok(split)
    }

    /// None, and as undecided as these.
    #[cfg(unix)]
    fn empty(&self) -> Self {
        Self {
            sockets: BTreeMap::new(),
            #[cfg(feature = "handover")]
            is_undecided: self.is_undecided,
        }
    }

    /// How many sockets there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sockets.values().map(Vec::len).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// All that listen there.
    pub(crate) fn take(&mut self, address: &ListenAddress) -> Vec<Socket> {
        self.sockets.remove(address).unwrap_or_default()
    }

    pub(crate) fn put(
        &mut self,
        address: ListenAddress,
        sockets: impl IntoIterator<Item = Socket>,
    ) {
        let mut sockets = sockets.into_iter().peekable();
        if sockets.peek().is_some() {
            self.sockets.entry(address).or_default().extend(sockets);
        }
    }

    pub(crate) fn append(&mut self, other: Self) {
        for (address, sockets) in other.sockets {
            self.put(address, sockets);
        }
    }
}

/// Why a file descriptor cannot be listened on.
#[cfg(unix)]
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("it is not a stream socket")]
    NotAStream,
    #[error("it does not listen")]
    NotListening,
    #[error("its address is neither an IP address and port nor a path")]
    NoAddress,
    #[error("{0}")]
    Io(#[from] io::Error),
}

#[cfg(unix)]
fn unfit(fd: i32, reason: Unfit) -> io::Error {
    let kind = match &reason {
        Unfit::Io(error) => error.kind(),
        _ => io::ErrorKind::InvalidInput,
    };
    io::Error::new(kind, format!("file descriptor {fd}: {reason}"))
}

#[cfg(unix)]
fn examine(socket: &Socket) -> Result<ListenAddress, Unfit> {
    if socket.r#type()? != socket2::Type::STREAM {
        return Err(Unfit::NotAStream);
    }
    // Elsewhere a socket cannot be asked; accepting on it fails then.
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    if !socket.is_listener()? {
        return Err(Unfit::NotListening);
    }
    let local = socket.local_addr()?;
    let address = match local.as_socket() {
        Some(address) => ListenAddress::Socket(address),
        None => unix_address(&local).ok_or(Unfit::NoAddress)?,
    };
    socket.set_nonblocking(true)?;
    socket.set_cloexec(true)?;
    Ok(address)
}

/// Whether other sockets may have the same address.
#[cfg(unix)]
fn shares_address(socket: &Socket) -> bool {
    #[cfg(target_os = "linux")]
    let shares =
        socket.local_addr().is_ok_and(|at| !at.is_unix()) && socket.reuse_port().unwrap_or(false);
    #[cfg(not(target_os = "linux"))]
    let shares = {
        let _ = socket;
        false
    };
    shares
}

/// The device and the inode of a socket, which are the same for all of its descriptors.
#[cfg(unix)]
fn identity(socket: &Socket) -> Option<(u64, u64)> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let identity = {
        use std::os::unix::fs::MetadataExt as _;

        let socket = std::os::fd::OwnedFd::from(socket.try_clone().ok()?);
        let file = std::fs::File::from(socket).metadata().ok()?;
        Some((file.dev(), file.ino()))
    };
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let identity = {
        let _ = socket;
        None
    };
    identity
}

/// The path or abstract name of a Unix socket, as [`ListenAddress`] has it.
#[cfg(unix)]
pub(super) fn unix_address(local: &socket2::SockAddr) -> Option<ListenAddress> {
    use std::os::unix::ffi::OsStringExt as _;

    let path = match local.as_pathname() {
        Some(path) => path.to_owned(),
        None => {
            let name = local.as_abstract_namespace()?;
            std::ffi::OsString::from_vec([b"@", name].concat()).into()
        }
    };
    Some(ListenAddress::Unix(path))
}

/// A descriptor of one of our listening sockets, for another process.
#[derive(Debug)]
#[non_exhaustive]
#[cfg(unix)]
pub struct SharedSocket {
    /// Where it listens.
    pub address: ListenAddress,
    /// Which of the sockets of this address it is, from 0: with
    /// [`SocketOptions::reuse_port`](crate::SocketOptions::reuse_port) there is one for each worker.
    pub index: usize,
    /// Another descriptor of the same socket, so with the same queue.
    pub socket: std::os::fd::OwnedFd,
    /// Which of several [`Listeners`](crate::Listeners) has it.
    #[cfg(feature = "handover")]
    pub(crate) part: usize,
    /// Another process, such as systemd, has it as well, and does not accept: it listens on when
    /// those who accept here are done.
    pub is_kept: bool,
}
