//! Sockets from [sd_listen_fds(3)]: of a `.socket` unit, or kept in the file descriptor store while
//! no process ran.
//!
//! [sd_listen_fds(3)]: https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html

use std::collections::BTreeSet;
use std::io;

use listener_versions::{Inherited, ListenAddress};
use listenfd::ListenFd;

use super::store::NAME;

/// The listening sockets that this process was started with.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct PassedSockets {
    /// For [`Listeners::inherit`](listener_versions::Listeners::inherit).
    pub inherited: Inherited,
    /// The addresses of those that a `.socket` unit opened. They are the unit's: it goes on
    /// listening there without us, so they need no storing. The others come from the
    /// [store](super::FdStore), and only this process wants them.
    pub of_units: BTreeSet<ListenAddress>,
}

/// Why the sockets that were passed cannot be used.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum PassedError {
    /// More than any service manager passes.
    #[error("LISTEN_FDS: {0} is too many")]
    TooMany(u64),
    /// Not a TCP or Unix stream socket, or one that cannot be listened on.
    #[error("LISTEN_FDS: {name:?}: {source}")]
    NotAListener {
        /// Its name in `LISTEN_FDNAMES`.
        name: String,
        /// What is wrong with it.
        source: io::Error,
    },
}

impl PassedSockets {
    /// Takes the sockets of this process's environment, and `LISTEN_FDS` and `LISTEN_PID` out of
    /// it; none if there are none, or if they are another process's.
    ///
    /// Call it first of all: it changes the environment, which no other thread may read meanwhile.
    ///
    /// # Errors
    ///
    /// [`PassedError`], which names the socket.
    pub fn from_env() -> Result<Self, PassedError> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let count = std::env::var("LISTEN_FDS").ok();
        let count = count
            .and_then(|count| count.parse::<u64>().ok())
            .unwrap_or(0);
        if count > 65_536 {
            return Err(PassedError::TooMany(count));
        }
        let mut passed = ListenFd::from_env();
        let mut sockets = Self::default();
        for index in 0..passed.len() {
            let name = names.next().unwrap_or_default().to_owned();
            let tcp = passed.take_tcp_listener(index);
            let added = match tcp {
                Ok(Some(listener)) => sockets.inherited.add(listener),
                Ok(None) => continue,
                Err(_) => match passed.take_unix_listener(index) {
                    Ok(Some(listener)) => sockets.inherited.add(listener),
                    Ok(None) => continue,
                    Err(source) => return Err(PassedError::NotAListener { name, source }),
                },
            };
            match added {
                Ok(address) if name.starts_with(NAME) => drop(address),
                Ok(address) => drop(sockets.of_units.insert(address)),
                // Closed for good before it could be taken out of the store: no listener wants it.
                Err(_) if name.starts_with(NAME) => {}
                Err(source) => return Err(PassedError::NotAListener { name, source }),
            }
        }
        Ok(sockets)
    }
}
