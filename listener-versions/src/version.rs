//! One version of one listener: its configuration, its place in the drain tree, and its connections.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use conn_tracker::ConnGroup;
use drain_tree::{DrainCompleted, DrainEvent, DrainManager, DrainWatch, WatchOptions};

use crate::{ListenAddress, ListenerConfig, SocketKey, VersionState};

/// One version of one listener. A connection holds it for life and keeps its configuration, whatever updates come.
pub struct ListenerVersion<C> {
    number: u64,
    name: Arc<str>,
    config: Arc<C>,
    version_info: Arc<str>,
    socket: SocketKey,
    drain: DrainManager,
    watch: WatchOptions,
    group: ConnGroup,
    /// A [`VersionState`]. Written under the lock of the version set; read per accept, without it.
    state: AtomicU8,
}

impl<C> ListenerVersion<C> {
    pub(crate) fn new(record: &crate::VersionRecord<C>, drain: DrainManager, group: ConnGroup) -> Self
    where
        C: ListenerConfig,
    {
        Self {
            watch: WatchOptions::default().with_drain_timeout(record.config.drain_timeout()),
            number: record.number,
            name: Arc::clone(&record.name),
            config: Arc::clone(&record.config),
            version_info: Arc::clone(&record.version_info),
            socket: record.socket.clone(),
            drain,
            group,
            state: AtomicU8::new(VersionState::Warming as u8),
        }
    }

    /// Larger than that of every version before it, of any listener.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The listener's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The configuration of this version.
    #[must_use]
    pub fn config(&self) -> &Arc<C> {
        &self.config
    }

    /// The xDS `version_info` of the update that brought it.
    #[must_use]
    pub fn version_info(&self) -> &str {
        &self.version_info
    }

    /// Its drain manager, below the one that all listeners share. Filter chains are its children.
    #[must_use]
    pub fn drain(&self) -> &DrainManager {
        &self.drain
    }

    /// Opens the watch of a new connection.
    pub(crate) fn watch(&self) -> Result<DrainWatch, DrainCompleted> {
        self.drain.watch_with(self.watch)
    }

    /// Its connections, in the connection tracker.
    #[must_use]
    pub fn group(&self) -> &ConnGroup {
        &self.group
    }

    /// Where it is in its life.
    #[must_use]
    pub fn state(&self) -> VersionState {
        // Pairs with the Release in `set_state`: who reads `Active` after opening a watch has opened it before the drain began.
        VersionState::from_u8(self.state.load(Ordering::Acquire))
    }

    pub(crate) fn set_state(&self, state: VersionState) {
        self.state.store(state as u8, Ordering::Release);
    }

    pub(crate) fn socket(&self) -> &SocketKey {
        &self.socket
    }

    pub(crate) fn view(&self, address: Option<ListenAddress>) -> VersionView {
        VersionView {
            number: self.number,
            name: Arc::clone(&self.name),
            version_info: Arc::clone(&self.version_info),
            state: self.state(),
            accepting: address.is_some() && self.state() == VersionState::Active,
            address: address.unwrap_or_else(|| self.socket.address().clone()),
            connections: self.group.len(),
            drain: self.drain.event(),
            deadline: self.drain.deadline(),
        }
    }
}

impl<C> fmt::Debug for ListenerVersion<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerVersion")
            .field("name", &self.name)
            .field("number", &self.number)
            .field("version_info", &self.version_info)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// What is to be seen of a version at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VersionView {
    /// Larger than that of every version before it, of any listener.
    pub number: u64,
    /// The listener's name.
    pub name: Arc<str>,
    /// The xDS `version_info` of the update that brought it.
    pub version_info: Arc<str>,
    /// Where it is in its life.
    pub state: VersionState,
    /// Whether new connections are its.
    pub accepting: bool,
    /// Where it listens, with the port that the kernel chose; as configured, once its socket is closed or another version's.
    pub address: ListenAddress,
    /// How many of its connections are open.
    pub connections: usize,
    /// The facts of its drain, once it has begun.
    pub drain: Option<Arc<DrainEvent>>,
    /// When what is left of it is closed. It may come nearer.
    pub deadline: Option<Instant>,
}
