//! A new process takes the listening sockets of the running process, and no connection is lost.
//!
//! The two processes meet at a path that the operator names. The new process asks for the sockets,
//! configures itself, and says when it is ready. Only then does the old process stop accepting, and
//! drain. Until that moment the old process serves as before, whatever becomes of the new process.
//! While a socket changes hands no process accepts on it: what comes waits in its queue.
//!
//! ```text
//!  old process                                   new process
//!  Offer::next                                   start
//!     │ ◄──────────────── hello ────────────────── │
//!     │ ───────── hello, sockets (SCM_RIGHTS) ───► │ Takeover::sockets, Listeners::inherit
//!     │ serves; updates wait                       │ configures, and accepts nothing yet
//!     │ ◄──── drain, these sockets are taken ───── │ Takeover::serving
//!  Successor: stops accepting, drains              │
//!     │ ── draining, with the lock and the path ─► │ Offer: now it accepts, and the next one finds it
//!     │ ◄────────────── terminate ──────────────── │ after the parent shutdown time
//!     ▼ exits: asked to, or drained                ▼
//! ```
//!
//! It does what [Envoy's hot
//! restart](https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/operations/hot_restart)
//! does, without shared memory: a version of a program can follow any other version that speaks the
//! same version of this protocol.
//!
//! # Which process lives
//!
//! The process that serves has a lock (`flock`) on the file `PATH.lock`, and listens at the path. A
//! handover gives both to the new process as descriptors, so exactly one process has them, and the
//! kernel releases the lock when that process ends. The connection between the two processes stays
//! open until one of them ends. A process is dead when its connection has ended, the lock is free,
//! and the process has not written into the lock file that it lives on. No process number decides
//! anything. The lock file also says which process served last: a process that was sent the sockets
//! before that reads there that another process has taken over since.
//!
//! A process closes its descriptors of sockets that it has given away. It never shuts such a socket
//! down.
//!
//! # Which process is trusted
//!
//! A process that gets the sockets gets the traffic. The path's socket has mode 0600, and each
//! process asks the kernel for the user of the other process (`SO_PEERCRED`). A process of another
//! user is refused, and so is a process in another network namespace. Every message is bounded in
//! length, number of descriptors and time.
//!
//! # Example
//!
//! ```no_run
//! # use listener_versions::{ListenerConfig, Listeners};
//! # use std::{path::Path, time::Duration};
//! use listener_versions::handover::{HandoverOptions, start};
//!
//! # async fn example<C: ListenerConfig>(listeners: Listeners<C>) -> Result<(), Box<dyn std::error::Error>> {
//! let (path, options) = (Path::new("/run/proxy/handover.sock"), HandoverOptions::default());
//! let mut takeover = start(path, &options).await?;
//! listeners.inherit(takeover.sockets());
//! // .. the configuration is applied; an error here leaves the old process serving ..
//! let mut offer = takeover.serving(&listeners).await?;
//! tokio::spawn(offer.predecessor_ends(tokio::time::sleep(Duration::from_secs(900))));
//! // .. workers run ..
//! let mut successor = loop {
//!     match offer.next(&listeners, &options, &Default::default()).await {
//!         Ok(successor) => break successor,
//!         Err(error) => eprintln!("handover: {error}"), // everything goes on
//!     }
//! };
//! successor.terminated().await; // or until everything is drained, whichever is first
//! # Ok(()) }
//! ```

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::ListenAddress;

mod arrivals;
mod giving;
mod hello;
mod hooks;
#[cfg(test)]
mod kills;
mod message;
#[cfg(test)]
mod model;
mod new_process;
mod offer;
mod path;
mod predecessor;
mod removals;
mod seek;
mod session;
mod source;
mod successor;
mod takeover;
mod taking;
mod wire;

#[cfg(feature = "__test")]
#[doc(hidden)]
pub use hooks::{Hooks, set as set_hooks};
/// The number of the protocol: a process hands its sockets to one with the same number only.
pub const PROTOCOL_VERSION: u16 = message::VERSION;

pub use offer::Offer;
pub(crate) use source::{Settled, SocketSource};
pub use successor::{Successor, SuccessorEvent};
pub use takeover::{Takeover, start, take_over};

/// How long the two processes wait for each other; with `Duration::MAX`, without a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandoverOptions {
    /// For an answer that the other process has ready. Default: 10 s.
    pub patience: Duration,
    /// For the new process to be configured, from the sockets until it is ready. Until then the old
    /// one takes no updates. Default: 120 s.
    pub warm_up: Duration,
    /// For another new process, when the one that has taken over has died: so long the old process
    /// keeps the sockets, and connections wait in their queues. Then it closes its descriptors.
    /// Default: 10 s.
    pub keep: Duration,
}

impl Default for HandoverOptions {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(10),
            warm_up: Duration::from_secs(120),
            keep: Duration::from_secs(10),
        }
    }
}

impl HandoverOptions {
    /// Sets [`patience`](Self::patience).
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sets [`warm_up`](Self::warm_up).
    #[must_use]
    pub fn with_warm_up(mut self, warm_up: Duration) -> Self {
        self.warm_up = warm_up;
        self
    }

    /// Sets [`keep`](Self::keep).
    #[must_use]
    pub fn with_keep(mut self, keep: Duration) -> Self {
        self.keep = keep;
        self
    }
}

/// A time that clocks can tell: no process lives for thirty years, and `Duration::MAX` from now
/// would overflow.
fn tellable(time: Duration) -> Duration {
    time.min(Duration::from_secs(30 * 365 * 24 * 60 * 60))
}

fn named(pid: u32) -> String {
    match pid {
        0 => "another process".to_owned(),
        pid => format!("process {pid}"),
    }
}

/// Why a handover did not come about. The old process serves on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandoverError {
    /// Another new process was faster, and is still there after this one has asked for a second.
    #[error("{} is taking over already", named(*pid))]
    Busy {
        /// That process, as the old one's kernel knows it; 0 if it is in another pid namespace.
        pid: u32,
    },
    /// A process has the lock of the path, and no process listens at the path: it was not ready in
    /// time, or the path was removed.
    #[error("a process serves at this path, and cannot be found there")]
    NotOffered,
    /// The path is not the one at which this process has found the old one.
    #[error("{} was replaced while the other process handed over", path.display())]
    Moved {
        /// The path.
        path: PathBuf,
    },
    /// The old process has died, and another one that took over meanwhile cannot be found at the
    /// path, but may accept.
    #[error("another process has taken over meanwhile")]
    Overtaken,
    /// This process has given its sockets to another one.
    #[error("the sockets were given to another process before")]
    Given,
    /// Two network namespaces: the new process could not open a listener beside those that it takes
    /// over.
    #[error("the other process is in network namespace {theirs}, this one in {ours}")]
    Namespace {
        /// The inode of the other process's `/proc/self/ns/net`.
        theirs: u64,
        /// Of this process's.
        ours: u64,
    },
    /// Two versions of the protocol.
    #[error(
        "the other process speaks version {theirs} of the handover protocol, this one version {ours}"
    )]
    Version {
        /// What the other process speaks.
        theirs: u16,
        /// What this process speaks.
        ours: u16,
    },
    /// The other process belongs to another user.
    #[error("the other process belongs to user {theirs}, this one to user {ours}")]
    User {
        /// The other process's user.
        theirs: u32,
        /// This process's.
        ours: u32,
    },
    /// The other process ended, or hung up.
    #[error("the other process ended the handover")]
    Lost,
    /// The other process did not answer.
    #[error("the other process did not answer in time")]
    TimedOut,
    /// The other process said what makes no sense.
    #[error("the other process cannot be understood: {0}")]
    Malformed(&'static str),
    /// A descriptor is a socket of another address.
    #[error("the socket that was sent as {sent} listens on {bound}")]
    Address {
        /// What the old process said.
        sent: ListenAddress,
        /// What the kernel says.
        bound: ListenAddress,
    },
    /// The system refused something, or a descriptor is not a listening socket.
    #[error(transparent)]
    Io(#[from] io::Error),
}
