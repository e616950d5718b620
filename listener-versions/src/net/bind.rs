//! Opens a listening socket: the options before the bind, and the ends of a Unix socket's path.

use std::io;

use std::panic::{AssertUnwindSafe, catch_unwind};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::{ListenAddress, ListenerConfig, SocketOptions};

/// A socket of this listener, as its configuration opens it.
pub(super) fn socket<C: ListenerConfig>(config: &C, address: &ListenAddress) -> io::Result<Socket> {
    // The configuration's own code: its panic refuses the listener, and concerns no other.
    let socket = catch_unwind(AssertUnwindSafe(|| config.bind(address)))
        .unwrap_or_else(|_| Err(io::Error::other("the configuration panicked")))?;
    socket.set_nonblocking(true)?;
    #[cfg(unix)]
    socket.set_cloexec(true)?;
    Ok(socket)
}

/// Binds without listening yet: connections are refused until [`Socket::listen`].
pub(crate) fn bind(
    address: &ListenAddress,
    options: &SocketOptions,
    prepare: impl FnOnce(&Socket) -> io::Result<()>,
) -> io::Result<Socket> {
    let socket = match address {
        ListenAddress::Socket(address) => {
            let socket = Socket::new(
                Domain::for_address(*address),
                Type::STREAM,
                Some(Protocol::TCP),
            )?;
            if address.is_ipv6() {
                socket.set_only_v6(!options.dual_stack)?;
            }
            // On Unix this lets a restarted process have its port although old connections are in
            // TIME_WAIT. On Windows it would let two processes listen on one port.
            #[cfg(unix)]
            socket.set_reuse_address(true)?;
            // Only here does the kernel spread connections over the sockets of one address.
            #[cfg(target_os = "linux")]
            if options.reuse_port {
                socket.set_reuse_port(true)?;
            }
            prepare(&socket)?;
            socket.bind(&SockAddr::from(*address))?;
            socket
        }
        #[cfg(unix)]
        ListenAddress::Unix(path) => {
            let mode = options
                .mode
                .map(|mode| permissions(address, mode))
                .transpose()?;
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            prepare(&socket)?;
            if address.is_abstract() {
                socket.bind(&abstract_address(path)?)?;
            } else {
                unlink_if_stale(path)?;
                socket.bind(&SockAddr::unix(path)?)?;
            }
            if let Some(mode) = mode {
                // The file is ours, and no other process would remove it.
                std::fs::set_permissions(path, mode)
                    .inspect_err(|_| drop(std::fs::remove_file(path)))?;
            }
            socket
        }
        ListenAddress::Internal => return Err(io::ErrorKind::Unsupported.into()),
        #[cfg(not(unix))]
        ListenAddress::Unix(_) => return Err(io::ErrorKind::Unsupported.into()),
    };
    Ok(socket)
}

pub(super) fn listen(socket: &Socket, options: &SocketOptions) -> io::Result<()> {
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))
}

/// The address that the kernel gave, where the configured one left the port open.
pub(super) fn local_address(socket: &Socket, configured: &ListenAddress) -> ListenAddress {
    let local = socket
        .local_addr()
        .ok()
        .and_then(|address| address.as_socket());
    local.map_or_else(|| configured.clone(), ListenAddress::Socket)
}

/// The mode of a file that a socket at `address` has.
#[cfg(unix)]
fn permissions(address: &ListenAddress, mode: u32) -> io::Result<std::fs::Permissions> {
    use std::os::unix::fs::PermissionsExt as _;

    let wrong = |what: String| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    match mode {
        _ if address.is_abstract() => wrong("an abstract socket has no mode".to_owned()),
        0..=0o777 => Ok(std::fs::Permissions::from_mode(mode)),
        _ => wrong(format!("the mode {mode:#o} is over 0o777")),
    }
}

/// `@name` as the kernel has it: a zero byte, then the name.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn abstract_address(path: &std::path::Path) -> io::Result<SockAddr> {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};

    let name = path.as_os_str().as_bytes().get(1..).unwrap_or_default();
    SockAddr::unix(std::ffi::OsString::from_vec([b"\0", name].concat()))
}

#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
fn abstract_address(_: &std::path::Path) -> io::Result<SockAddr> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "there are no abstract sockets on this system",
    ))
}

/// The file of a Unix socket that is open here. As long as it is open the system gives the file's
/// number to no other one.
#[cfg(unix)]
#[derive(Debug)]
pub(super) struct SocketFile {
    path: std::path::PathBuf,
    id: (u64, u64),
}

#[cfg(unix)]
impl SocketFile {
    /// What is there now. Abstract sockets have no file.
    pub(super) fn at(address: &ListenAddress) -> Option<Self> {
        let ListenAddress::Unix(path) = address else {
            return None;
        };
        let path = path.clone();
        let id = (!address.is_abstract()).then(|| Self::id_at(&path))??;
        Some(Self { path, id })
    }

    /// Removes it, unless another one has come in its place.
    pub(super) fn remove(self) {
        if Self::id_at(&self.path) == Some(self.id) {
            drop(std::fs::remove_file(&self.path));
        }
    }

    /// The same for a socket that another process has bound, and that listens no more: the path may
    /// have been a third one's already when the socket came here.
    pub(super) fn remove_if_stale(self) {
        if Self::id_at(&self.path) == Some(self.id) {
            drop(unlink_if_stale(&self.path));
        }
    }

    fn id_at(path: &std::path::Path) -> Option<(u64, u64)> {
        use std::os::unix::fs::MetadataExt as _;

        let metadata = std::fs::symlink_metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino()))
    }
}

/// Whether it is still the file that was there `before`. The number alone does not tell: the system
/// reuses the number of a file that no process has open.
#[cfg(unix)]
fn is_unchanged(path: &std::path::Path, before: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;

    let id = |file: &std::fs::Metadata| (file.dev(), file.ino(), file.ctime(), file.ctime_nsec());
    std::fs::symlink_metadata(path).is_ok_and(|now| id(&now) == id(before))
}

/// Removes the path of a Unix socket that no process listens on any more. Envoy removes it in any
/// case, also under a living process.
#[cfg(unix)]
fn unlink_if_stale(path: &std::path::Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;

    let found = std::fs::symlink_metadata(path);
    match &found {
        Ok(metadata) if !metadata.file_type().is_socket() => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "the path is there and is not a socket",
        )),
        Ok(stale) => {
            let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            probe.set_nonblocking(true)?;
            match probe.connect(&SockAddr::unix(path)?) {
                // Another process may have removed it meanwhile, and listen there by now.
                Err(error)
                    if error.kind() == io::ErrorKind::ConnectionRefused
                        && is_unchanged(path, stale) =>
                {
                    std::fs::remove_file(path)
                }
                _ => Err(io::ErrorKind::AddrInUse.into()),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(_) => found.map(drop),
    }
}
