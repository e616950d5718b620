//! The kernel notifies the process that serves when the path's file, the lock file or their folder
//! is removed or replaced, so that the process makes the files anew.

#[cfg(any(target_os = "linux", target_os = "android"))]
use std::ffi::{OsStr, OsString};
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::os::fd::OwnedFd;
use std::path::Path;

#[cfg(any(target_os = "linux", target_os = "android"))]
use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};

#[cfg(any(target_os = "linux", target_os = "android"))]
use super::path::Lock;

/// Watches the two files of a path, and the folders that they are in. Where the system has no
/// inotify, or no more of it, the kernel notifies of nothing: then the process looks at the files
/// before each attempt.
pub(super) struct Removals {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    events: Option<tokio::net::unix::pipe::Receiver>,
    /// The folder that has to be made before the files can be; `None` if there is one for them.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    awaited: Option<OsString>,
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl Removals {
    pub(super) fn of(path: &Path) -> Self {
        let Ok(events) = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK) else {
            return Self {
                events: None,
                awaited: None,
            };
        };
        // The number of links changes when a file is removed that a process has open.
        let removed = WatchFlags::ATTRIB | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
        for file in [path, &Lock::file(path)] {
            // A file that is gone already is found missing next.
            add_watch(&events, file, removed).ok();
        }
        let awaited = watch_folders(&events, path);
        Self {
            // It is read as a pipe is.
            events: tokio::net::unix::pipe::Receiver::from_owned_fd_unchecked(events).ok(),
            awaited,
        }
    }

    /// Resolves when something has happened to one of the files, or to a folder that they are in.
    pub(super) async fn next(&self) {
        // Room for an event with the longest name there is.
        let mut read = [0; 4096];
        while let Some(events) = &self.events {
            if events.readable().await.is_err() {
                break;
            }
            match events.try_read(&mut read) {
                Ok(length) if self.concerns(&read[..length]) => return,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
        std::future::pending().await
    }

    /// Whether one of these events is another one than that a file came into a folder beside what
    /// is awaited there.
    fn concerns(&self, mut events: &[u8]) -> bool {
        let Some(awaited) = &self.awaited else {
            return true;
        };
        // inotify(7): four numbers, of which the last is the length of the name behind them, which
        // is filled up with zeros.
        while let Some((&length, behind)) = events
            .get(12..)
            .and_then(|length| length.split_first_chunk::<4>())
        {
            let length = (u32::from_ne_bytes(length) as usize).min(behind.len());
            let (name, next) = behind.split_at(length);
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            if name.is_empty() || name == awaited.as_encoded_bytes() {
                return true;
            }
            events = next;
        }
        false
    }
}

/// Watches the folders that this path is in. The name of the first one that is missing, which is
/// awaited in the one before it.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn watch_folders(events: &OwnedFd, path: &Path) -> Option<OsString> {
    let gone = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
    let comes = gone | WatchFlags::CREATE | WatchFlags::MOVED_TO;
    let mut folders: Vec<_> = path.ancestors().skip(1).collect();
    folders.reverse();
    for (index, &folder) in folders.iter().enumerate() {
        let here = match folder.as_os_str().is_empty() {
            true => Path::new("."),
            false => folder,
        };
        let next = folders.get(index + 1).filter(|next| !next.exists());
        let flags = next.map_or(gone, |_| comes);
        // One that may not be watched is taken to stay.
        add_watch(events, here, flags).ok();
        // It may have come before the watch.
        if let Some(missing) = next.filter(|next| !next.exists()) {
            return missing.file_name().map(OsStr::to_owned);
        }
    }
    None
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
impl Removals {
    pub(super) fn of(_: &Path) -> Self {
        Self {}
    }

    pub(super) async fn next(&self) {
        std::future::pending().await
    }
}
