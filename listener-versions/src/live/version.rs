//! One version of one listener: its configuration, its place in the drain tree, and its
//! connections.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;
use conn_tracker::ConnGroup;
use drain_tree::{DrainCompleted, DrainEvent, DrainManager, DrainWatch, WatchOptions};
use tokio_util::sync::CancellationToken;

use super::Life;
use super::ListenerConns;
use super::Opened;
use crate::set::Origin;
use crate::{ListenAddress, ListenerChain, ListenerConfig, SocketKey, VersionRecord, VersionState};

/// One version of one listener. A connection holds it for life and keeps its configuration,
/// whatever updates come.
///
/// An update in which only filter chains differ brings newer connections another configuration of
/// the same version; this handle goes on to say what it said.
pub struct ListenerVersion<C> {
    stable: Arc<Stable<C>>,
    revision: Arc<Revision<C>>,
}

/// What stays when a version is updated in place.
struct Stable<C> {
    number: u64,
    name: Arc<str>,
    /// In the order of the configuration's addresses.
    sockets: Vec<SocketKey>,
    /// The addresses of the sockets, with the ports that the kernel chose; written when it becomes
    /// active.
    local: OnceLock<Vec<ListenAddress>>,
    drain: DrainManager,
    group: ConnGroup,
    listener_conns: Arc<ListenerConns>,
    /// A [`VersionState`]. Written under the lock of the version set; read per accept, without it.
    state: AtomicU8,
    /// What new connections get.
    newest: ArcSwap<Revision<C>>,
    /// Of all its configurations that have not ended yet.
    lives: Mutex<Vec<Weak<Life>>>,
}

/// What an update in place replaces.
struct Revision<C> {
    config: Arc<C>,
    version_info: Arc<str>,
    is_static: bool,
    since: SystemTime,
    watch: WatchOptions,
    max_connections: Option<usize>,
    life: Arc<Life>,
    /// In the order of the configuration's.
    chains: Vec<Arc<ListenerChain>>,
    by_id: HashMap<Arc<str>, Arc<ListenerChain>>,
}

/// Where a connection goes.
pub(crate) struct Chosen<C> {
    /// The version, in the configuration that was asked.
    pub(crate) version: ListenerVersion<C>,
    pub(crate) chain: Arc<ListenerChain>,
    /// None if a drain of the version or of all is completed.
    pub(crate) watch: Option<DrainWatch>,
}

impl<C> Stable<C> {
    fn lives(&self) -> MutexGuard<'_, Vec<Weak<Life>>> {
        // Nothing panics while it is held.
        self.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: ListenerConfig> Revision<C> {
    /// Chains that are in `before` already stay what they are.
    fn new(
        record: &VersionRecord<C>,
        before: &[Arc<ListenerChain>],
        drain: &DrainManager,
        group: &ConnGroup,
    ) -> Arc<Self> {
        let before: HashMap<u64, &Arc<ListenerChain>> =
            before.iter().map(|chain| (chain.number(), chain)).collect();
        let chains = record.chains.iter();
        let chains: Vec<_> = chains
            .map(|chain| match before.get(&chain.number) {
                Some(kept) => Arc::clone(kept),
                None => Arc::new(ListenerChain::new(chain, record, drain, group)),
            })
            .collect();
        Arc::new(Self {
            config: Arc::clone(&record.config),
            version_info: Arc::clone(&record.version_info),
            is_static: record.origin == Origin::Static,
            since: SystemTime::now(),
            watch: WatchOptions::default().with_drain_timeout(record.asked.drain_timeout),
            max_connections: record.asked.max_connections,
            life: Arc::clone(&record.life),
            by_id: chains
                .iter()
                .map(|chain| (chain.id().clone(), Arc::clone(chain)))
                .collect(),
            chains,
        })
    }
}

impl<C> ListenerVersion<C> {
    pub(crate) fn new(
        record: &VersionRecord<C>,
        drain: DrainManager,
        group: ConnGroup,
        listener_conns: Arc<ListenerConns>,
    ) -> Self
    where
        C: ListenerConfig,
    {
        listener_conns.join(&group);
        let revision = Revision::new(record, &[], &drain, &group);
        let stable = Stable {
            number: record.number,
            name: Arc::clone(&record.name),
            sockets: record.asked.sockets.clone(),
            local: OnceLock::new(),
            drain,
            group,
            listener_conns,
            state: AtomicU8::new(VersionState::Warming as u8),
            newest: ArcSwap::new(Arc::clone(&revision)),
            lives: Mutex::new(vec![Arc::downgrade(&revision.life)]),
        };
        Self {
            stable: Arc::new(stable),
            revision,
        }
    }

    /// The same version with the configuration that `record` has now, and the chains that are not
    /// in it any more. New connections find it from now on.
    pub(crate) fn updated(&self, record: &VersionRecord<C>) -> (Self, Vec<Arc<ListenerChain>>)
    where
        C: ListenerConfig,
    {
        let stable = Arc::clone(&self.stable);
        let revision = Revision::new(record, &self.revision.chains, &stable.drain, &stable.group);
        stable.newest.store(Arc::clone(&revision));
        let mut lives = stable.lives();
        lives.retain(|life| life.strong_count() > 0);
        lives.push(Arc::downgrade(&revision.life));
        drop(lives);
        let stays: std::collections::HashSet<u64> =
            revision.chains.iter().map(|chain| chain.number()).collect();
        let gone = self.revision.chains.iter();
        let gone = gone
            .filter(|chain| !stays.contains(&chain.number()))
            .cloned();
        let gone = gone.collect();
        (Self { stable, revision }, gone)
    }

    /// Finds the chain that takes a connection of this version, and opens its watch there. `None`
    /// if no chain takes it.
    pub(crate) fn enter(
        &self,
        choose: &mut impl FnMut(&C) -> Option<Arc<str>>,
    ) -> Option<Chosen<C>> {
        loop {
            let revision = self.stable.newest.load_full();
            let chain = Arc::clone(revision.by_id.get(&choose(&revision.config)?)?);
            let watch = match chain.open() {
                Opened::Watch(watch) => Some(watch),
                Opened::Completed => None,
                // A newer configuration, without this chain, has been stored before.
                Opened::Gone => continue,
            };
            let stable = Arc::clone(&self.stable);
            return Some(Chosen {
                version: Self { stable, revision },
                chain,
                watch,
            });
        }
    }

    /// Larger than that of every version before it, of any listener.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.stable.number
    }

    /// The listener's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.stable.name
    }

    /// The configuration of this version.
    #[must_use]
    pub fn config(&self) -> &Arc<C> {
        &self.revision.config
    }

    /// The xDS `version_info` of the update that brought this configuration.
    #[must_use]
    pub fn version_info(&self) -> &str {
        &self.revision.version_info
    }

    /// When this configuration was taken. For an operator's eyes: nothing here counts on it.
    #[must_use]
    pub fn last_updated(&self) -> SystemTime {
        self.revision.since
    }

    /// Whether this configuration came with [`Update::bootstrap`](crate::Update::bootstrap), so
    /// that LDS cannot change it.
    #[must_use]
    pub fn is_static(&self) -> bool {
        self.revision.is_static
    }

    /// Is cancelled when this configuration ends, for tasks that must end with it; see
    /// [`ListenerConfig::build`].
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.revision.life.token()
    }

    /// The filter chains of this configuration, in the order of [`ListenerConfig::chains`].
    #[must_use]
    pub fn chains(&self) -> &[Arc<ListenerChain>] {
        &self.revision.chains
    }

    /// Its drain manager, below the one that all listeners share. Filter chains are its children.
    #[must_use]
    pub fn drain(&self) -> &DrainManager {
        &self.stable.drain
    }

    /// Opens the watch of a new connection.
    pub(crate) fn watch(&self) -> Result<DrainWatch, DrainCompleted> {
        self.stable.drain.watch_with(self.revision.watch)
    }

    /// Its connections, in the connection tracker.
    #[must_use]
    pub fn group(&self) -> &ConnGroup {
        &self.stable.group
    }

    /// How many connections it may have, as its configuration said.
    pub(crate) fn max_connections(&self) -> Option<usize> {
        self.revision.max_connections
    }

    /// Its listener's connections, over all versions.
    pub(crate) fn listener_conns(&self) -> &Arc<ListenerConns> {
        &self.stable.listener_conns
    }

    /// Where it is in its life.
    #[must_use]
    pub fn state(&self) -> VersionState {
        // Pairs with the Release in `set_state`: a worker that reads `Active` after opening a watch
        // has opened it before the drain began.
        VersionState::from_u8(self.stable.state.load(Ordering::Acquire))
    }

    pub(crate) fn set_state(&self, state: VersionState) {
        if state == VersionState::Drained {
            self.stable.listener_conns.leave(self.stable.number);
        }
        self.stable.state.store(state as u8, Ordering::Release);
    }

    /// All its configurations have ended with it.
    pub(crate) fn end(&self) {
        // Tasks are woken by it, with nothing locked.
        let lives = std::mem::take(&mut *self.stable.lives());
        for life in lives.iter().filter_map(Weak::upgrade) {
            life.end();
        }
    }

    /// Where it is configured to listen.
    pub(crate) fn configured(&self) -> &ListenAddress {
        // There is at least one address.
        self.stable.sockets[0].address()
    }

    /// It becomes active on these sockets.
    pub(crate) fn set_local(&self, local: Vec<ListenAddress>) {
        // A version becomes active once.
        drop(self.stable.local.set(local));
    }

    /// It takes no new connections.
    pub(crate) fn view(&self) -> VersionView {
        self.view_at(|_| false)
    }

    /// `serves` says of which of its sockets it takes new connections.
    pub(crate) fn view_at(&self, serves: impl Fn(&SocketKey) -> bool) -> VersionView {
        let configured = || {
            let sockets = self.stable.sockets.iter();
            sockets.map(|socket| socket.address().clone()).collect()
        };
        let addresses = (self.stable.local.get().cloned()).unwrap_or_else(configured);
        let is_active = self.state() == VersionState::Active;
        let accepting_at: Vec<_> = (self.stable.sockets.iter().zip(&addresses))
            .filter(|(socket, _)| is_active && serves(socket))
            .map(|(_, address)| address.clone())
            .collect();
        VersionView {
            number: self.number(),
            name: Arc::clone(&self.stable.name),
            version_info: Arc::clone(&self.revision.version_info),
            state: self.state(),
            accepting: !accepting_at.is_empty(),
            accepting_at,
            addresses,
            configured: self.configured().clone(),
            connections: self.group().len(),
            drain: self.drain().event(),
            deadline: self.drain().deadline(),
        }
    }
}

impl<C> fmt::Debug for ListenerVersion<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerVersion")
            .field("name", &self.stable.name)
            .field("number", &self.stable.number)
            .field("version_info", &self.revision.version_info)
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
    /// The xDS `version_info` of the update that brought its configuration.
    pub version_info: Arc<str>,
    /// Where it is in its life.
    pub state: VersionState,
    /// Whether this version takes new connections.
    pub accepting: bool,
    /// Where this version takes new connections, with ports that the kernel chose: all its
    /// addresses while it is active, and those that no newer version has taken over yet when it is
    /// about to drain.
    pub accepting_at: Vec<ListenAddress>,
    /// All its addresses in the configuration's order, with the ports that the kernel chose, also
    /// after its sockets have closed or got another version; as configured while it warms.
    pub addresses: Vec<ListenAddress>,
    /// The first address at which it is configured to listen, port 0 included.
    pub configured: ListenAddress,
    /// How many of its connections are open.
    pub connections: usize,
    /// The facts of its drain, once it has begun.
    pub drain: Option<Arc<DrainEvent>>,
    /// When what is left of it is closed. It may come nearer.
    pub deadline: Option<Instant>,
}
