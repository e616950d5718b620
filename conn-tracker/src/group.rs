//! What connections are counted by: a version of a listener, and a filter chain in it.

use crate::{
    counts::ConnCounts,
    guard::ConnGuard,
    handle::LedgerHandle,
    info::ConnInfo,
    ledger::Key,
    snapshot::{self, ConnSnapshot},
    wait::WaitEmpty,
};
use std::sync::Arc;

/// The connections of one version of one listener; made by [`ConnTracker::group`](crate::ConnTracker::group).
///
/// Whoever keeps the version keeps this. When the last clone is dropped and the last of its connections has ended,
/// the group is removed from the books, whichever comes later.
#[derive(Debug, Clone)]
pub struct ConnGroup(LedgerHandle);

/// The connections of one filter chain of a listener version; made by [`ConnGroup::chain`].
///
/// Removed from the books like its group: when the last clone is dropped and its last connection has ended.
#[derive(Debug, Clone)]
pub struct ConnChain(LedgerHandle);

impl ConnGroup {
    pub(crate) fn new(ledger: LedgerHandle) -> Self {
        Self(ledger)
    }

    /// Enters a connection that has just been accepted. It is [active](crate::ConnState::Active) and
    /// [handshaking](crate::ConnKind::Handshaking), and stays in the books until the guard and all its clones are
    /// dropped.
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
        ConnGuard::open(self.0.handle().registry(), self.0.ledger(), info.into())
    }

    /// The filter chain `name` of this version: the one that there is, or a new one.
    #[must_use = "a chain that nobody keeps is forgotten"]
    pub fn chain(&self, name: &str) -> ConnChain {
        let Key {
            listener, version, ..
        } = self.0.ledger().key.clone();
        let key = Key {
            listener,
            version,
            chain: Some(Arc::from(name)),
        };
        ConnChain(LedgerHandle::open(self.0.handle().clone(), key))
    }
}

impl ConnChain {
    pub(crate) fn ledger(&self) -> &LedgerHandle {
        &self.0
    }

    /// The filter chain's name.
    #[must_use]
    pub fn name(&self) -> &str {
        // A chain's key always carries its name: `ConnGroup::chain` is the only constructor.
        self.0.ledger().key.chain.as_deref().unwrap_or_default()
    }
}

macro_rules! ledger_views {
    ($type:ident) => {
        impl $type {
            /// The listener's name.
            #[must_use]
            pub fn listener(&self) -> &str {
                &self.0.ledger().key.listener
            }

            /// The listener's version.
            #[must_use]
            pub fn version(&self) -> u64 {
                self.0.ledger().key.version
            }

            /// How many connections are here, by state and protocol: a read of two cache lines per shard.
            #[must_use]
            pub fn counts(&self) -> ConnCounts {
                self.0.ledger().counts()
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

            /// How many connections hold up completion: all but those with an excluded label.
            #[must_use]
            pub fn held(&self) -> usize {
                self.counts().held as usize
            }

            /// Each of its connections. Walks the whole tracker, as
            /// [`ConnTracker::snapshot`](crate::ConnTracker::snapshot) does.
            #[must_use]
            pub fn snapshot(&self) -> Vec<ConnSnapshot> {
                let index = self.0.ledger().index;
                snapshot::walk(self.0.handle().registry(), |_, cold| {
                    cold.group == index || cold.chain == index
                })
            }

            /// Resolves when no connection here holds up completion any more; see [`WaitEmpty`].
            pub fn wait_empty(&self) -> WaitEmpty {
                WaitEmpty::one(self.0.clone())
            }
        }
    };
}

ledger_views!(ConnGroup);
ledger_views!(ConnChain);

/// The counts of one listener version or one of its filter chains, with its name: a line of the metrics page.
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
