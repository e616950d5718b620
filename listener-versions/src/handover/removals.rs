//! The kernel notifies the process that serves when the path's file or the lock file is removed or
//! replaced, so that the process makes them anew.

use std::path::Path;

#[cfg(any(target_os = "linux", target_os = "android"))]
use super::path::Lock;

/// Watches the two files of a path. Where the system has no inotify, or no more of it, the
/// kernel notifies of nothing: then the process looks at the files before each attempt.
pub(super) struct Removals {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    events: Option<tokio::net::unix::pipe::Receiver>,
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl Removals {
    pub(super) fn of(path: &Path) -> Self {
        use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};

        let watch = || {
            let events = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
            // The number of links changes when a file is removed that a process has open.
            let removed = WatchFlags::ATTRIB | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
            for file in [path, &Lock::file(path)] {
                // A file that is gone already is found missing next.
                add_watch(&events, file, removed).ok();
            }
            // It is read as a pipe is.
            tokio::net::unix::pipe::Receiver::from_owned_fd_unchecked(events).ok()
        };
        Self { events: watch() }
    }

    /// Resolves when something has happened to one of the files.
    pub(super) async fn next(&self) {
        let heard = match &self.events {
            Some(events) => events.readable().await.is_ok(),
            None => false,
        };
        if !heard {
            std::future::pending().await
        }
    }
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
