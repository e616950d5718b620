//! One filter chain of a listener: its place in the drain tree, which it keeps as long as it is
//! unchanged, and how a connection enters it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use conn_tracker::{ConnChain, ConnGroup};
use drain_tree::{ChildOptions, DrainEvent, DrainManager, DrainWatch, WatchOptions};

use crate::{ChainId, ChainRecord, ListenerConfig, VersionRecord};

/// One filter chain of a listener, from the update that brought it to the one in which it is
/// changed or gone.
///
/// A connection stays with it for life. Its node in the drain tree is below its version's: it
/// drains with its version, or by itself. It holds no configuration: what serves it is found in any
/// configuration that has it, the newest above all
/// ([`ListenerVersion::chains`](crate::ListenerVersion::chains)).
pub struct ListenerChain {
    number: u64,
    id: ChainId,
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

    /// What identifies it within its listener.
    #[must_use]
    pub fn id(&self) -> &ChainId {
        &self.id
    }

    /// The xDS `version_info` of the update that brought it.
    #[must_use]
    pub fn version_info(&self) -> &str {
        &self.version_info
    }

    /// Its drain manager, below its version's.
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
        self.conns
            .get_or_init(|| self.group.chain(self.id.as_str()))
    }

    pub(crate) fn view(&self) -> ChainView {
        ChainView {
            number: self.number,
            id: self.id.clone(),
            listener: Arc::clone(&self.listener),
            version: self.version,
            version_info: Arc::clone(&self.version_info),
            open_watches: self.drain.open_watches(),
            connections: self.conns.get().map_or(0, ConnChain::len),
            drain: self.drain.event(),
            deadline: self.drain.deadline(),
        }
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

/// What is to be seen of a filter chain at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChainView {
    /// Larger than that of every chain before it, of any listener.
    pub number: u64,
    /// What identifies it within its listener.
    pub id: ChainId,
    /// The listener's name.
    pub listener: Arc<str>,
    /// The number of the listener's version.
    pub version: u64,
    /// The xDS `version_info` of the update that brought the chain.
    pub version_info: Arc<str>,
    /// How many guards of its connections are held; a tunnel holds one beside its connection's.
    pub open_watches: usize,
    /// How many of its connections are open.
    pub connections: usize,
    /// The facts of its drain, once it has begun.
    pub drain: Option<Arc<DrainEvent>>,
    /// When what is left of it is closed. It may come nearer.
    pub deadline: Option<Instant>,
}
