//! The path at which processes meet, and the lock beside it.
//!
//! Only the process that has the lock listens at the path. A handover gives both to the new
//! process, as descriptors: the path is written only when no process lives there, and there is no
//! moment in which a process lives and cannot be found.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{
    FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::yield_now;

/// Only its owner may connect, from the first moment on.
const MODE: u32 = 0o600;
/// The kernel's limit for the path of a Unix socket, in bytes.
const LONGEST: usize = 107;
/// A listener is closed once, and a lock file is replaced once.
const ATTEMPTS: usize = 10;

/// What is at a path.
pub(super) enum There {
    Process(UnixStream),
    /// A process listens there, and so many others ask it that its queue is full.
    Full,
    NoProcess,
}

/// Connects.
pub(super) async fn connect(path: &Path) -> io::Result<There> {
    check(path)?;
    for _ in 0..ATTEMPTS {
        match UnixStream::connect(path).await {
            // It stopped to listen in this very moment, or another one took its place.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => yield_now().await,
            connected => return found(connected),
        }
    }
    Err(io::ErrorKind::ConnectionReset.into())
}

fn found(connected: io::Result<UnixStream>) -> io::Result<There> {
    match connected {
        Ok(stream) => Ok(There::Process(stream)),
        // The kernel does not let a connection wait for room that must not block.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(There::Full),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            Ok(There::NoProcess)
        }
        Err(error) => Err(error),
    }
}

fn check(path: &Path) -> io::Result<()> {
    let length = path.as_os_str().as_bytes().len();
    if length <= LONGEST {
        return Ok(());
    }
    let path = path.display();
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{path} has {length} bytes, the path of a Unix socket has at most {LONGEST}"),
    ))
}

/// Whether there is a socket at the path, or nothing.
pub(super) fn can_be_listened_at(path: &Path) -> bool {
    match fs::symlink_metadata(path) {
        Ok(file) => file.file_type().is_socket(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// The device and the inode of a file.
pub(super) type FileId = (u64, u64);

/// What is at the path.
pub(super) fn file_at(path: &Path) -> Option<FileId> {
    let file = fs::symlink_metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}

/// The lock of a path: the process that has it serves there, and lives.
///
/// It is an open file description that is locked, so it can be given to another process, and the
/// kernel releases it when the last descriptor of it is closed, however its process ends.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// Gets the lock of this path; `None` if another process has it.
    pub(super) fn try_get(path: &Path) -> io::Result<Option<Self>> {
        let name = Self::file(path);
        for _ in 0..ATTEMPTS {
            // Close-on-exec, as every file that std opens: no child process goes on with it.
            let file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(MODE)
                .open(&name)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(io::Error::from) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            // A file that was removed meanwhile locks nothing.
            let lock = Self(file);
            if lock.is_at(path) {
                return Ok(Some(lock));
            }
        }
        Err(io::Error::other(format!(
            "{} changes all the time",
            name.display()
        )))
    }

    /// `PATH.lock`.
    pub(super) fn file(path: &Path) -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        name.into()
    }

    /// One that another process had, and has given to this one.
    pub(super) fn given(lock: OwnedFd) -> Self {
        Self(lock.into())
    }

    /// Whether other processes find this lock.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        let own = self.0.metadata().ok().map(|own| (own.dev(), own.ino()));
        own.is_some() && file_at(&Self::file(path)) == own
    }

    /// The lock file and the path are there again if they were removed. `file` is the path's file.
    /// `true`: one of them was made anew, so that watches of them have to begin again.
    ///
    /// # Errors
    ///
    /// Nothing listens: what [`listen`](Self::listen) says.
    pub(super) fn restore(
        &mut self,
        path: &Path,
        listener: &mut Option<UnixListener>,
        file: &mut Option<FileId>,
    ) -> io::Result<bool> {
        let is_new = self.restore_file(path);
        // With another lock file there, another process serves there too: its socket stays.
        let is_there = file.is_some() && *file == file_at(path);
        let is_right = is_there || !self.is_at(path);
        if listener.is_some() && is_right {
            return Ok(is_new);
        }
        let is_new = match self.listen(path) {
            Ok(new) => {
                *listener = Some(new);
                true
            }
            // Something else is there, or the folder is gone. Processes that have connected are
            // answered, and more cannot come.
            Err(_) if listener.is_some() => is_new,
            Err(error) => return Err(error),
        };
        *file = file_at(path);
        Ok(is_new)
    }

    /// The lock file is there again if it was removed, so that no other process gets the lock. Does
    /// nothing if another process has made it anew already.
    fn restore_file(&mut self, path: &Path) -> bool {
        if self.is_at(path) {
            return false;
        }
        let owner = self.owner();
        let Ok(Some(lock)) = Self::try_get(path) else {
            return false;
        };
        if let Some(owner) = owner {
            // `Offer::own` tries again.
            drop(lock.set_owner(owner));
        }
        *self = lock;
        true
    }

    pub(super) fn fd(&self) -> &File {
        &self.0
    }

    /// The process that has served last under this lock, by its random number; 0 if it lives on,
    /// and gives nothing away. `None` if no process could write it: one that lives on has kept the
    /// lock then.
    pub(super) fn owner(&self) -> Option<u64> {
        let mut owner = [0; 8];
        self.0.read_exact_at(&mut owner, 0).ok()?;
        Some(u64::from_be_bytes(owner))
    }

    /// See [`owner`](Self::owner).
    ///
    /// # Errors
    ///
    /// What the system says, such as that the disk is full.
    pub(super) fn set_owner(&self, owner: u64) -> io::Result<()> {
        self.0.write_all_at(&owner.to_be_bytes(), 0)
    }

    /// Keeps it until this process has ended.
    pub(super) fn keep_for_life(self) {
        std::mem::forget(self);
    }

    /// Listens at the path of this lock. What is there is a dead process's.
    ///
    /// # Errors
    ///
    /// What the system says; [`io::ErrorKind::AlreadyExists`] for a file that is not a socket,
    /// which is left alone.
    pub(super) fn listen(&self, path: &Path) -> io::Result<UnixListener> {
        check(path)?;
        match fs::symlink_metadata(path) {
            Ok(file) if !file.file_type().is_socket() => {
                let text = format!("{} is there, and is not a socket", path.display());
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
            }
            Ok(_) => fs::remove_file(path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::unix(path)?)?;
        fs::set_permissions(path, Permissions::from_mode(MODE))?;
        socket.listen(64)?;
        UnixListener::from_std(OwnedFd::from(socket).into())
    }
}

/// Says that this process keeps sockets of the path although another one serves: a shared lock on
/// `PATH.kept`.
///
/// A process that begins afresh must not do so before it is free. The process that keeps the
/// sockets of a dead one may be a little slower to get the lock.
#[derive(Debug)]
pub(super) struct Keeping {
    _file: File,
}

impl Keeping {
    /// `None` if the system refuses it, which is no reason not to hand over.
    pub(super) fn begin(path: &Path) -> Option<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(MODE)
            .open(Self::file(path))
            .ok()?;
        flock(&file, FlockOperation::NonBlockingLockShared).ok()?;
        Some(Self { _file: file })
    }

    /// Whether any process does.
    pub(super) fn is_any(path: &Path) -> bool {
        let file = File::open(Self::file(path));
        file.is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_err())
    }

    fn file(path: &Path) -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(".kept");
        name.into()
    }
}

/// A listener of the path that another process had, and has given to this one.
pub(super) fn given(listener: OwnedFd) -> io::Result<UnixListener> {
    let socket = Socket::from(listener);
    socket.set_nonblocking(true)?;
    UnixListener::from_std(OwnedFd::from(socket).into())
}
