//! The proposal's listener manager: configuration changes come over channels, versions accept, drain and are reaped.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use conn_tracker::ConnTracker;
use drain_tree::{DrainManager, DrainSequence, DrainStart};
use listener_versions::{
    Change, ListenerConfig as _, Listeners, Update, UpdateError, VersionState,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use super::routes::RouteTable;
use super::{
    CleanupPolicy, ConnectionInfo, ConnectionManager as _, DefaultConnectionManager,
    ListenerManagerConfig, RouteConfigurationChange, Routes,
};
use crate::StatsObserver;
use crate::config::{FilterChain, Listener, NetworkFilter};
use crate::listener::{Entered, ServedListener};
use crate::serve::SharedBehavior;
use crate::stats::Stats;

/// A change of the listeners.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenerConfigurationChange {
    /// This listener is new, or changed.
    Added(Box<Listener>),
    /// This listener is gone.
    Removed(String),
}

/// What serves the connections of a [`ListenersManager`].
pub trait ListenerServices: Send + Sync + 'static {
    /// What serves one filter chain.
    type Service: Send + Sync + 'static;

    /// Makes ready what serves a filter chain; `routes` are those of its HTTP connection manager.
    fn service(
        &self,
        listener: &Listener,
        chain: &FilterChain,
        routes: Option<Routes>,
    ) -> Self::Service;

    /// Serves an accepted connection. It must not block: it spawns, or passes on.
    fn serve(&self, entered: Entered<Self::Service>);
}

/// What a [`ListenersManager`] is made of: how the tree above all listeners and the registry are shared with others.
#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct ManagerParts {
    /// The node above all listeners.
    pub root: DrainManager,
    /// The registry.
    pub tracker: ConnTracker,
    /// Envoy's statistics.
    pub stats: Stats,
}

impl ManagerParts {
    /// Parts of their own, with the drain settings of `config`.
    pub fn new(config: &ListenerManagerConfig) -> Self {
        Self {
            root: DrainManager::root(config.drain_settings()),
            tracker: ConnTracker::new(),
            stats: Stats::new(),
        }
    }
}

/// The listeners of a process. Clones are handles of the same; [`ManagerRun`] does the work.
pub struct ListenersManager<S: ListenerServices> {
    shared: Arc<Shared<S>>,
}

struct Shared<S: ListenerServices> {
    services: S,
    listeners: Listeners<ServedListener<S::Service>>,
    connections: DefaultConnectionManager,
    config: ListenerManagerConfig,
    stats: Stats,
    behavior: SharedBehavior,
    routes: RouteTable,
    /// The drain node of every version that was ever active and is not reaped, for monitors.
    versions: Mutex<Vec<Version>>,
}

#[derive(Clone)]
struct Version {
    name: String,
    number: u64,
    drain: DrainManager,
}

/// What an audit found: nothing, unless a connection is served past its deadline.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Audit {
    /// Connections that had to be forced, because they were still there after their deadline.
    pub overdue: usize,
}

/// The work of a [`ListenersManager`]: takes changes, accepts, paces drains, reaps. It never ends; dropping it stops all of
/// that, and connections go on.
#[must_use = "nothing is accepted and no drain is paced while it is not polled"]
pub struct ManagerRun(Pin<Box<dyn Future<Output = ()> + Send>>);

impl<S: ListenerServices> ListenersManager<S> {
    /// No listeners yet: they come over `listener_changes`, or by [`start_listener`](Self::start_listener).
    pub fn new(
        listener_changes: mpsc::Receiver<ListenerConfigurationChange>,
        route_changes: mpsc::Receiver<RouteConfigurationChange>,
        config: ListenerManagerConfig,
        parts: ManagerParts,
        services: S,
    ) -> (Self, ManagerRun) {
        let ManagerParts {
            root,
            tracker,
            stats,
        } = parts;
        let (listeners, driver) = Listeners::new(
            root,
            tracker.clone(),
            config.listeners_options(),
            StatsObserver::new(stats.clone()),
        );
        let worker = listeners.worker();
        let shared = Arc::new(Shared {
            services,
            listeners,
            connections: DefaultConnectionManager::new(tracker),
            behavior: SharedBehavior::new(&(&config.drain_config.protocol_handling).into()),
            config,
            stats,
            routes: RouteTable::default(),
            versions: Mutex::default(),
        });
        let manager = Self {
            shared: Arc::clone(&shared),
        };
        let changes = Self { shared }.take_changes(listener_changes, route_changes);
        let taker = manager.clone();
        let run = async move {
            let mut work = (
                pin!(driver),
                pin!(worker.run(move |accepted| taker.take(accepted))),
                pin!(changes),
            );
            // None of them ends while a handle of the listeners is held, and this one is.
            poll_fn(|cx| {
                let (Poll::Pending | Poll::Ready(())) = work.0.as_mut().poll(cx);
                let (Poll::Pending | Poll::Ready(())) = work.1.as_mut().poll(cx);
                work.2.as_mut().poll(cx)
            })
            .await;
        };
        (manager, ManagerRun(Box::pin(run)))
    }

    /// The connections of all listeners.
    pub fn connections(&self) -> &DefaultConnectionManager {
        &self.shared.connections
    }

    /// The listeners in all their versions.
    pub fn listeners(&self) -> &Listeners<ServedListener<S::Service>> {
        &self.shared.listeners
    }

    /// Takes a new or changed listener: the new version accepts on the same socket, the old one drains. Where only filter
    /// chains differ, only those drain.
    ///
    /// # Errors
    ///
    /// Why it was not taken; its previous version goes on.
    pub async fn start_listener(&self, listener: Listener) -> Result<Change, UpdateError> {
        self.apply(listener, Vec::new()).await
    }

    /// Removes a listener: it accepts no more, and its connections drain, each as its protocol asks. What is returned
    /// follows that drain; polling it is not needed. `None`: there is no such listener.
    pub async fn start_draining(&self, name: &str) -> Option<DrainSequence> {
        let version = self.shared.listeners.active(name)?.number();
        let none: [ServedListener<S::Service>; 0] = [];
        let update = Update::delta("", none, [name]);
        self.shared.listeners.apply(update).await;
        self.shared.connections.unregister_http_managers(name);
        self.start_drain_monitor(name, version)
    }

    /// Follows the drain of a version to its end: woken by it, without polling. `None` if that version does not drain.
    pub fn start_drain_monitor(&self, name: &str, version: u64) -> Option<DrainSequence> {
        let versions = self.versions(name);
        let version = versions.iter().find(|known| known.number == version)?;
        let event = version.drain.event()?;
        // It drains, so this joins.
        let start = DrainStart::new(event.reason).with_direction(event.direction);
        Some(version.drain.start_drain_sequence(start))
    }

    /// Hurries the oldest versions of a listener that are more than `policy` allows, the active one included, and names
    /// them. Every update does the same with the configured limit.
    pub fn drain_old_listeners(&self, name: &str, policy: CleanupPolicy) -> Vec<u64> {
        let versions = self.versions(name);
        let over = versions.len().saturating_sub(policy.limit().max(1));
        let deadline = (Instant::now() + self.shared.config.listeners_options().floor).into_std();
        let hurried = versions.into_iter().take(over);
        hurried
            .filter(|version| version.drain.is_draining())
            .map(|version| {
                version.drain.bring_forward(deadline);
                version.number
            })
            .collect()
    }

    /// Takes a listener whose address another one has: the other is removed and drains, and the socket passes over with
    /// its queue, so that no client is refused. The names of those who gave way are returned too.
    ///
    /// # Errors
    ///
    /// As [`start_listener`](Self::start_listener); then nobody gave way.
    pub async fn resolve_address_conflicts(
        &self,
        listener: Listener,
    ) -> Result<(Change, Vec<String>), UpdateError> {
        let address = listener_versions::ListenAddress::from(&listener.address);
        let holders = self
            .shared
            .listeners
            .snapshot()
            .into_iter()
            .filter(|version| {
                version.state == VersionState::Active && *version.name != *listener.name
            })
            .filter_map(|version| self.shared.listeners.active(&version.name))
            .filter(|version| *version.config().address() == address)
            .map(|version| version.name().to_owned());
        let holders: Vec<String> = holders.collect();
        let change = self.apply(listener, holders.clone()).await?;
        for name in &holders {
            self.shared.connections.unregister_http_managers(name);
        }
        Ok((change, holders))
    }

    /// Takes a change of routes: requests are routed by it from now on, and nothing drains.
    pub fn change_routes(&self, change: RouteConfigurationChange) {
        self.shared.routes.change(change);
    }

    /// Looks for what must not be. [`ManagerRun`] does so once per `cleanup_interval`.
    pub fn audit(&self) -> Audit {
        let overdue = self.shared.connections.close_overdue();
        self.forget_reaped();
        Audit { overdue }
    }

    async fn apply(&self, listener: Listener, removed: Vec<String>) -> Result<Change, UpdateError> {
        let shared = &*self.shared;
        let name = listener.name.clone();
        let version_info = listener.version_info.clone().unwrap_or_default();
        let served = ServedListener::new(listener, &shared.stats, |listener, chain| {
            let routes = match chain.terminal() {
                Some(NetworkFilter::HttpConnectionManager(manager)) => {
                    Some(shared.routes.of(manager))
                }
                _ => None,
            };
            shared.services.service(listener, chain, routes)
        });
        let served = served.with_behavior(shared.behavior.clone());
        let update = Update::delta(&version_info, [served], removed).atomic();
        let report =
            crate::telemetry::in_update(&version_info, shared.listeners.apply(update)).await;
        let outcome = report.listeners.into_iter().find(|one| *one.name == *name);
        let change = outcome.map_or(Ok(Change::Unchanged), |one| one.outcome)?;
        self.remember(&name);
        Ok(change)
    }

    /// Notes the active version of a listener, and the nodes of its HTTP connection managers.
    fn remember(&self, name: &str) {
        self.forget_reaped();
        let Some(active) = self.shared.listeners.active(name) else {
            return;
        };
        let chains = active.config().listener().all_chains().zip(active.chains());
        let http = chains.filter(|(chain, _)| {
            matches!(
                chain.terminal(),
                Some(NetworkFilter::HttpConnectionManager(_))
            )
        });
        let http = http.map(|(_, chain)| chain.drain().clone()).collect();
        self.shared.connections.register_http_managers(name, http);
        let mut versions = self.shared.lock();
        if !versions.iter().any(|known| known.number == active.number()) {
            versions.push(Version {
                name: name.to_owned(),
                number: active.number(),
                drain: active.drain().clone(),
            });
        }
    }

    fn forget_reaped(&self) {
        let alive: Vec<u64> = self
            .shared
            .listeners
            .snapshot()
            .iter()
            .map(|version| version.number)
            .collect();
        self.shared
            .lock()
            .retain(|version| alive.contains(&version.number));
    }

    /// The versions of a listener, oldest first.
    fn versions(&self, name: &str) -> Vec<Version> {
        let versions = self.shared.lock();
        versions
            .iter()
            .filter(|version| version.name == name)
            .cloned()
            .collect()
    }

    fn take(&self, accepted: listener_versions::Accepted<ServedListener<S::Service>>) {
        let shared = &*self.shared;
        let version = Arc::clone(&accepted.version);
        let Some(entered) = Entered::new(accepted) else {
            return;
        };
        let info = ConnectionInfo::of(&entered.connection);
        shared
            .connections
            .on_connection_established(version.name(), info);
        shared.services.serve(entered);
    }

    async fn take_changes(
        self,
        mut listeners: mpsc::Receiver<ListenerConfigurationChange>,
        mut routes: mpsc::Receiver<RouteConfigurationChange>,
    ) {
        // An interval of nothing would never let anything else run.
        let period = self
            .shared
            .config
            .cleanup_interval
            .max(Duration::from_millis(100));
        let mut audits = tokio::time::interval(period);
        audits.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let started = Instant::now();
        loop {
            tokio::select! {
                Some(change) = listeners.recv() => match change {
                    ListenerConfigurationChange::Added(listener) => {
                        // What is refused is told to the observer, and the previous version goes on.
                        self.start_listener(*listener).await.ok();
                    }
                    ListenerConfigurationChange::Removed(name) => drop(self.start_draining(&name).await),
                },
                Some(change) = routes.recv() => self.change_routes(change),
                _ = audits.tick() => {
                    self.shared.connections.tracker().advance(started.elapsed());
                    self.audit();
                }
            }
        }
    }
}

impl<S: ListenerServices> Shared<S> {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Version>> {
        // A list is never left half-changed by a panic.
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: ListenerServices> Clone for ListenersManager<S> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<S: ListenerServices> fmt::Debug for ListenersManager<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenersManager")
            .field("listeners", &self.shared.listeners)
            .finish_non_exhaustive()
    }
}

impl Future for ManagerRun {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for ManagerRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagerRun").finish_non_exhaustive()
    }
}
