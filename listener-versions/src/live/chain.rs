//! One filter chain of a listener: its place in the drain tree, which it keeps as long as it is
//! unchanged, and how a connection enters it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use conn_tracker::{ConnChain, ConnGroup};
use drain_tree::{ChildOptions, DrainManager, DrainWatch, WatchOptions};

use crate::{ChainRecord, ListenerConfig, VersionRecord};

/// One filter chain of a listener, from the update that brought it to the one in which it is
/// changed or gone.
///
/// A connection stays with it for life. Its node in the drain tree is below its version's: it
/// drains with its version, or by itself. It holds no configuration: what serves it is found in any
/// configuration that has it, the newest above all
/// ([`ListenerVersion::chains`](crate::ListenerVersion::chains)).
///
/// What it says of its connections and its drain is so at the moment; its handle keeps nothing but
/// itself alive.
pub struct ListenerChain {
    number: u64,
    id: Arc<str>,
    version_info: Arc<str>,
    listener: Arc<str>,
    version: u64,
    drain: DrainManager,
    watch: WatchOptions,
    group: ConnGroup,
    /// Its conns in the connection tracker, made for its first connection.
    conns: OnceLock<ConnChain>,
    /// The version went on without it. Set before its drain begins.
    gone: AtomicBool,
}

/// What came of opening a watch at a chain.
pub(crate) enum Opened {
    /// The watch is older than any drain of the chain by itself.
    Watch(DrainWatch),
    /// The version went on without the chain.
    Gone,
    /// A drain of the version, or of all, is completed.
    Completed,
}

impl ListenerChain {
    /// A chain that `of` has brought, below its node `version`.
    pub(crate) fn new<C: ListenerConfig>(
        record: &ChainRecord,
        of: &VersionRecord<C>,
        version: &DrainManager,
        group: &ConnGroup,
    ) -> Self {
        Self {
            number: record.number,
            id: record.id.clone(),
            version_info: Arc::clone(&of.version_info),
            listener: Arc::clone(&of.name),
            version: of.number,
            drain: version.child(ChildOptions::default()),
            watch: WatchOptions::default().with_drain_timeout(of.asked.drain_timeout),
            group: group.clone(),
            conns: OnceLock::new(),
            gone: AtomicBool::new(false),
        }
    }

    /// Larger than that of every chain before it, of any listener.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What identifies it within its listener: its name, or the connections that it takes.
    #[must_use]
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// The xDS `version_info` of the update that brought it.
    #[must_use]
    pub fn version_info(&self) -> &str {
        &self.version_info
    }

    /// The listener's name.
    #[must_use]
    pub fn listener(&self) -> &str {
        &self.listener
    }

    /// The number of the listener's version.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// How many of its connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.conns.get().map_or(0, ConnChain::len)
    }

    /// Its drain manager, below its version's: it knows the facts of its drain, its deadline, and
    /// how many guards of its connections are held (a tunnel holds one beside its connection's).
    #[must_use]
    pub fn drain(&self) -> &DrainManager {
        &self.drain
    }

    pub(crate) fn open(&self) -> Opened {
        let watch = self.drain.watch_with(self.watch);
        // Pairs with the Release in `leave`: a connection that reads false after opening a watch
        // has opened it before the drain began.
        match watch {
            _ if self.gone.load(Ordering::Acquire) => Opened::Gone,
            Ok(watch) => Opened::Watch(watch),
            Err(_) => Opened::Completed,
        }
    }

    /// The version has gone on without it. What takes new connections must have been replaced
    /// before.
    pub(crate) fn leave(&self) {
        self.gone.store(true, Ordering::Release);
    }

    pub(crate) fn conns(&self) -> &ConnChain {
        self.conns.get_or_init(|| self.group.chain(&self.id))
    }
}

impl fmt::Debug for ListenerChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerChain")
            .field("listener", &self.listener)
            .field("version", &self.version)
            .field("id", &self.id)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}
