//! The path at which processes meet: there is no moment in which nobody is found there.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::yield_now;

/// Only its owner may connect, from the first moment on.
const MODE: u32 = 0o600;

/// A listener is closed once.
const ATTEMPTS: usize = 10;

/// Connects; `None` if nobody is there.
pub(super) async fn connect(path: &Path) -> io::Result<Option<UnixStream>> {
    for _ in 0..ATTEMPTS {
        match UnixStream::connect(path).await {
            // It stopped to listen in this very moment, or another one took its place.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => yield_now().await,
            connected => return found(connected),
        }
    }
    Err(io::ErrorKind::ConnectionReset.into())
}

fn found(connected: io::Result<UnixStream>) -> io::Result<Option<UnixStream>> {
    match connected {
        Ok(stream) => Ok(Some(stream)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A listener that nobody finds yet.
#[derive(Debug)]
pub(super) struct Prepared {
    listener: UnixListener,
    beside: Beside,
    path: PathBuf,
}

/// A file that is gone with this, unless it has another name by then.
#[derive(Debug)]
struct Beside(PathBuf);

impl Drop for Beside {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

impl Prepared {
    /// Listens beside this path.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}", std::process::id()));
        let beside = PathBuf::from(beside);
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::unix(&beside)?)?;
        let beside = Beside(beside);
        fs::set_permissions(&beside.0, Permissions::from_mode(MODE))?;
        socket.listen(64)?;
        Ok(Self {
            listener: UnixListener::from_std(OwnedFd::from(socket).into())?,
            beside,
            path: path.to_owned(),
        })
    }

    /// At the path from now on, in the place of whoever was until now: whoever connects finds the one or the other.
    ///
    /// The path is never removed: of a process that is gone it says so by refusing, and a later one renames its own over it.
    pub(super) fn publish(self) -> (io::Result<()>, UnixListener) {
        (fs::rename(&self.beside.0, &self.path), self.listener)
    }
}

pub(super) fn listen(path: &Path) -> io::Result<UnixListener> {
    let (published, listener) = Prepared::new(path)?.publish();
    published.map(|()| listener)
}
