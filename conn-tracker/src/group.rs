//! What connections are counted by: a version of a listener, and a filter chain of it.

use crate::{
    counts::ConnCounts,
    engine::{GroupHandle, Key},
    guard::ConnGuard,
    info::ConnInfo,
    snapshot::{self, ConnSnapshot},
    wait::WaitEmpty,
};
use std::sync::Arc;

/// The connections of one version of one listener; made by
/// [`ConnTracker::group`](crate::ConnTracker::group).
///
/// The owner of the version keeps it. The group is removed when its last clone has been dropped and
/// its last connection has ended.
///
/// A group costs less than a kilobyte, and a quarter of one more for each further shard in which it
/// has had a connection.
#[derive(Debug, Clone)]
pub struct ConnGroup(GroupHandle);

/// The connections of one filter chain of a listener version; made by [`ConnGroup::chain`].
///
/// Removed like its group: when its last clone has been dropped and its last connection has ended.
/// It costs as much.
#[derive(Debug, Clone)]
pub struct ConnChain(GroupHandle);

impl ConnGroup {
    pub(crate) fn new(group: GroupHandle) -> Self {
        Self(group)
    }

    /// Registers a connection that has just been accepted. It is [active](crate::ConnState::Active)
    /// and [handshaking](crate::ConnKind::Handshaking), and stays registered until the guard and
    /// all its clones are dropped.
    ///
    /// # Panics
    ///
    /// When 67 million connections are open in one shard.
    ///
    /// # Examples
    ///
    /// ```
    /// use conn_tracker::{ConnTracker, Peer};
    /// let tracker = ConnTracker::new();
    /// let ingress = tracker.group("ingress", 3);
    /// let guard = ingress.open(Peer::Unix);
    /// assert_eq!(ingress.len(), 1);
    /// drop(guard);
    /// assert!(ingress.is_empty());
    /// ```
    #[inline]
    pub fn open(&self, info: impl Into<ConnInfo>) -> ConnGuard {
        ConnGuard::open(&self.0, info.into())
    }

    /// The filter chain `name` of this version: the one that there is, or a new one.
    #[must_use = "a chain without a handle and without a connection is removed"]
    pub fn chain(&self, name: &str) -> ConnChain {
        let Key {
            listener, version, ..
        } = self.0.group().key.clone();
        let key = Key {
            listener,
            version,
            chain: Some(Arc::from(name)),
        };
        ConnChain(GroupHandle::open(self.0.handle().clone(), key))
    }
}

impl ConnChain {
    pub(crate) const fn handle(&self) -> &GroupHandle {
        &self.0
    }

    /// The filter chain's name.
    #[must_use]
    pub fn name(&self) -> &str {
        // A chain's key always has a name: `ConnGroup::chain` is the only constructor.
        self.0.group().key.chain.as_deref().unwrap_or_default()
    }
}

macro_rules! group_views {
    ($type:ident) => {
        impl $type {
            /// The listener's name.
            #[must_use]
            pub fn listener(&self) -> &str {
                &self.0.group().key.listener
            }

            /// The listener's version.
            #[must_use]
            pub fn version(&self) -> u64 {
                self.0.group().key.version
            }

            /// How many connections are open, by state and protocol: a read of two cache lines for
            /// each shard in use.
            #[must_use]
            pub fn counts(&self) -> ConnCounts {
                self.0.group().counts()
            }

            /// How many connections are open, excluded ones too.
            #[must_use]
            pub fn len(&self) -> usize {
                self.counts().total as usize
            }

            /// Whether no connection is open, not even an excluded one.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// How many connections [`wait_empty`](Self::wait_empty) waits for: all but those with
            /// an excluded label.
            #[must_use]
            pub fn awaited(&self) -> usize {
                self.counts().awaited as usize
            }

            /// Each of its connections. Walks the whole tracker, as
            /// [`ConnTracker::snapshot`](crate::ConnTracker::snapshot) does.
            #[must_use]
            pub fn snapshot(&self) -> Vec<ConnSnapshot> {
                let index = self.0.group().index;
                snapshot::all(self.0.handle().registry(), |_, cold| {
                    cold.group == index || cold.chain == index
                })
            }

            /// Resolves when the last of its connections that completion waits for has ended; see
            /// [`WaitEmpty`].
            pub fn wait_empty(&self) -> WaitEmpty {
                WaitEmpty::one(self.0.clone())
            }
        }
    };
}

group_views!(ConnGroup);
group_views!(ConnChain);

/// A connection was not attached to a filter chain: see [`ConnGuard::attach_chain`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// The chain is of another tracker than the connection.
    #[error("filter chain {chain:?} of listener {listener:?} belongs to another tracker")]
    OtherTracker {
        /// The chain's listener.
        listener: Arc<str>,
        /// The chain's name.
        chain: Arc<str>,
    },
    /// The chain is of another listener version than the connection.
    #[error(
        "a connection of listener {listener:?} version {version} cannot enter a filter chain of listener {chain_listener:?} \
         version {chain_version}"
    )]
    OtherVersion {
        /// The connection's listener.
        listener: Arc<str>,
        /// The connection's listener version.
        version: u64,
        /// The chain's listener.
        chain_listener: Arc<str>,
        /// The chain's listener version.
        chain_version: u64,
    },
}

/// The counts of one listener version or one of its filter chains, with its name: a line of the
/// metrics page.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupView {
    /// The listener's name.
    pub listener: Arc<str>,
    /// The listener's version.
    pub version: u64,
    /// The filter chain; `None` for the whole version.
    pub chain: Option<Arc<str>>,
    /// Its counts.
    pub counts: ConnCounts,
}
