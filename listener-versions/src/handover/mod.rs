//! A new process takes the listening sockets of the running one, and no connection is lost.
//!
//! The two meet at a path that the operator names. The new process asks for the sockets, configures itself, and says when it is
//! ready; only then does the old one stop accepting, and drains. Until that moment the old one serves as if nothing were; whatever
//! becomes of the new one. Nobody accepts on a socket that changes hands for as long as the answer takes; what comes
//! waits in its queue.
//!
//! ```text
//!  old process                                   new process
//!  Offer::next                                   take_over
//!     │ ◄──────────────── hello ────────────────── │
//!     │ ─────────── sockets (SCM_RIGHTS) ────────► │ Takeover::sockets, Listeners::inherit
//!     │ serves; updates wait                       │ configures, and accepts nothing yet
//!     │ ◄──── drain, these sockets are taken ───── │ Takeover::serving
//!  Successor: stops accepting, drains              │
//!     │ ─────────────── draining ────────────────► │ Predecessor, Offer: now it accepts
//!     │ ◄─────────────── offering ──────────────── │ the next one finds it at the path
//!     │ ◄────────────── terminate ──────────────── │ after the parent shutdown time
//!     ▼ exits: told to, or drained                 ▼
//! ```
//!
//! As [Envoy's hot restart](https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/operations/hot_restart); without shared
//! memory, so that any two versions of a program can follow each other which speak the same version of this protocol.
//!
//! # Who is trusted
//!
//! Whoever gets the sockets gets the traffic. The path's socket has mode 0600, and each side asks the kernel who the other one is
//! (`SO_PEERCRED`): another user is refused. Every message is bounded in length, number of descriptors and time.
//!
//! # Example
//!
//! ```no_run
//! # use listener_versions::{ListenerConfig, Listeners};
//! # use std::{path::Path, time::Duration};
//! use listener_versions::handover::{HandoverOptions, Offer, take_over};
//!
//! # async fn example<C: ListenerConfig>(listeners: Listeners<C>) -> Result<(), Box<dyn std::error::Error>> {
//! let (path, options) = (Path::new("/run/proxy/handover.sock"), HandoverOptions::default());
//! let mut offer = match take_over(path, &options).await? {
//!     Some(mut takeover) => {
//!         listeners.inherit(takeover.sockets());
//!         // .. the configuration is applied; an error here leaves the old process serving ..
//!         let (predecessor, offer) = takeover.serving(&listeners).await?;
//!         tokio::spawn(predecessor.ends(tokio::time::sleep(Duration::from_secs(900))));
//!         offer
//!     }
//!     None => Offer::bind(path).await?,
//! };
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
use std::time::{Duration, Instant};

use crate::{InheritError, ListenAddress};

mod message;
mod offer;
mod path;
mod successor;
mod takeover;
mod wire;

pub use offer::Offer;
pub use successor::{Successor, SuccessorEvent};
pub use takeover::{Ended, Predecessor, Takeover, take_over};

/// How long the two processes wait for each other; with `Duration::MAX`, without a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandoverOptions {
    /// For an answer that the other process has ready. Default: 10 s.
    pub patience: Duration,
    /// For the new process to be configured, from the sockets until it is ready. Until then the old one takes no updates.
    /// Default: 120 s.
    pub warm_up: Duration,
    /// For another new process, when the one that has taken over has died: so long the old one keeps the sockets, and what comes
    /// waits in their queues. Then they are closed. Default: 10 s.
    pub keep: Duration,
    /// The how-manieth process in a row this one is, from 0 (Envoy's `--restart-epoch`). The next one is told. Default: 0.
    pub epoch: u32,
    /// When the first process in the row was started. The next one is told. Default: not known, which is now.
    pub since: Option<Instant>,
}

impl Default for HandoverOptions {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(10),
            warm_up: Duration::from_secs(120),
            keep: Duration::from_secs(10),
            epoch: 0,
            since: None,
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

    /// Sets [`epoch`](Self::epoch).
    #[must_use]
    pub fn with_epoch(mut self, epoch: u32) -> Self {
        self.epoch = epoch;
        self
    }

    /// Sets [`since`](Self::since).
    #[must_use]
    pub fn with_since(mut self, since: Instant) -> Self {
        self.since = Some(since);
        self
    }

    fn uptime(&self, now: Instant) -> Duration {
        self.since
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

/// A time that clocks can tell: no process lives for thirty years, and `Duration::MAX` from now would overflow.
fn tellable(time: Duration) -> Duration {
    time.min(Duration::from_secs(30 * 365 * 24 * 60 * 60))
}

/// Why a handover did not come about. The old process serves on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandoverError {
    /// Another new process was faster.
    #[error("process {pid} is taking over already")]
    Busy {
        /// The winner.
        pid: u32,
    },
    /// The old process has given its sockets to another one, which does not offer them yet.
    #[error("process {pid} has taken over, and does not offer its sockets yet")]
    Gone {
        /// The one that has them.
        pid: u32,
    },
    /// Two versions of the protocol.
    #[error("the other process speaks version {theirs} of the handover protocol, this one version {ours}")]
    Version {
        /// What the other process speaks.
        theirs: u16,
        /// What this process speaks.
        ours: u16,
    },
    /// The other process belongs to somebody else.
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
    /// A descriptor is not a listening socket.
    #[error(transparent)]
    Inherit(#[from] InheritError),
    /// A descriptor is a socket of another address.
    #[error("the socket that was sent as {sent} listens on {bound}")]
    Address {
        /// What the old process said.
        sent: ListenAddress,
        /// What the kernel says.
        bound: ListenAddress,
    },
    /// The system refused something.
    #[error(transparent)]
    Io(#[from] io::Error),
}
