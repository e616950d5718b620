//! The proposal's listener manager: changes come over channels, versions accept, drain and are
//! reaped.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use conn_tracker::ConnTracker;
use drain_tree::{DrainManager, DrainSequence, DrainStart};
use listener_versions::{
    Accepted, Change, ListenAddress, ListenerConfig, ListenerVersion, Listeners, Update,
    UpdateError, VersionState,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use super::{
    CleanupPolicy, DefaultConnectionManager, DrainSignalingManager, ListenerConfigurationChange,
    ListenerManagerConfig, ListenerServices, Registration, RouteConfigurationChange,
};
use crate::StatsObserver;
use crate::serve::SharedBehavior;
use crate::stats::Stats;

/// What a [`ListenersManager`] shares with the rest of its process.
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
    /// New parts; the drain tree has the drain settings of `config`.
    pub fn new(config: &ListenerManagerConfig) -> Self {
        Self {
            root: DrainManager::root(config.drain_settings()),
            tracker: ConnTracker::new(),
            stats: Stats::new(),
        }
    }

    /// The same parts below another node. The drains of listener versions have the drain time and
    /// the strategy of the manager's `drain_config` nevertheless; those of the whole process have
    /// the node's.
    #[must_use]
    pub fn with_root(mut self, root: DrainManager) -> Self {
        self.root = root;
        self
    }

    /// The same parts with another registry.
    #[must_use]
    pub fn with_tracker(mut self, tracker: ConnTracker) -> Self {
        self.tracker = tracker;
        self
    }

    /// The same parts with other statistics.
    #[must_use]
    pub fn with_stats(mut self, stats: Stats) -> Self {
        self.stats = stats;
        self
    }
}

/// The listeners of a process, whose configuration is `C`. Clones are handles of the same;
/// [`ManagerRun`] does the work.
///
/// [`ServedListener`](crate::listener::ServedListener) is a `C` for Envoy's configuration; a proxy
/// with its own implements [`ListenerConfig`].
pub struct ListenersManager<C: ListenerConfig, S: ListenerServices<C>> {
    shared: Arc<Shared<C, S>>,
}

struct Shared<C: ListenerConfig, S> {
    services: S,
    listeners: Listeners<C>,
    connections: DefaultConnectionManager,
    signaling: DrainSignalingManager,
    config: ListenerManagerConfig,
    behavior: SharedBehavior,
}

/// What an audit has found: nothing, unless a connection is served past its deadline.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Audit {
    /// Connections that were still open after their deadline, and were closed.
    pub overdue: usize,
}

/// The work of a [`ListenersManager`]: takes changes, accepts, paces drains, reaps. It never ends;
/// dropping it stops all of that, and connections go on.
#[must_use = "nothing is accepted and no drain is paced while it is not polled"]
pub struct ManagerRun(Pin<Box<dyn Future<Output = ()> + Send>>);

impl<C: ListenerConfig, S: ListenerServices<C>> ListenersManager<C, S> {
    /// No listeners yet: they come over `listener_changes`, or by
    /// [`start_listener`](Self::start_listener).
    pub fn new(
        listener_changes: mpsc::Receiver<ListenerConfigurationChange<C>>,
        route_changes: mpsc::Receiver<RouteConfigurationChange<S::Routes>>,
        config: ListenerManagerConfig,
        parts: ManagerParts,
        services: S,
    ) -> (Self, ManagerRun) {
        let ManagerParts {
            root,
            tracker,
            stats,
        } = parts;
        let drain = config.drain_config.clone();
        let options = config
            .listeners_options()
            .with_drain_time(drain.drain_time)
            .with_drain_strategy(drain.drain_strategy);
        let observer = StatsObserver::new(stats);
        let (listeners, driver) = Listeners::new(root.clone(), tracker.clone(), options, observer);
        let worker = listeners.worker();
        let behavior = SharedBehavior::new(&(&drain.protocol_handling).into());
        let shared = Arc::new_cyclic(|weak: &Weak<Shared<C, S>>| Shared {
            services,
            connections: DefaultConnectionManager::new(tracker.clone()),
            signaling: {
                let shared = Weak::clone(weak);
                let find = move |name: &str| {
                    let active = shared.upgrade()?.listeners.active(name)?;
                    Some((active.drain().clone(), active.group().clone()))
                };
                let time = drain.drain_time;
                let behavior = behavior.clone();
                DrainSignalingManager::managed(root, tracker, time, behavior, Box::new(find))
            },
            listeners,
            behavior,
            config,
        });
        let http = Arc::downgrade(&shared);
        shared.connections.manage_http(Box::new(move |name| {
            let active = |shared: &Shared<C, S>| {
                let active = shared.listeners.active(name)?;
                Some(shared.services.http_chains(&active))
            };
            let shared = http.upgrade();
            shared
                .and_then(|shared| active(&shared))
                .unwrap_or_default()
        }));
        let manager = Self { shared };
        let changes = manager
            .clone()
            .take_changes(listener_changes, route_changes);
        let taker = manager.clone();
        let run = async move {
            let mut work = (
                pin!(driver),
                pin!(worker.run(move |accepted| taker.take(accepted))),
                pin!(changes),
            );
            // None of them ends while there is a handle of the listeners, and this is one.
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

    /// Drains all listeners, and gives the [context](DrainSignalingManager::create_drain_context)
    /// of each by its name.
    pub fn signaling(&self) -> &DrainSignalingManager {
        &self.shared.signaling
    }

    /// The listeners in all their versions.
    pub fn listeners(&self) -> &Listeners<C> {
        &self.shared.listeners
    }

    /// Takes a new or changed listener: the new version accepts on the same socket, the old one
    /// drains. Where only filter chains differ, only those drain.
    ///
    /// # Errors
    ///
    /// Why it was not taken; its previous version goes on.
    ///
    /// # Cancel safety
    ///
    /// That of [`listener_versions::Listeners::apply`].
    pub async fn start_listener(&self, listener: impl Into<Arc<C>>) -> Result<Change, UpdateError> {
        self.apply(listener.into(), Vec::new()).await
    }

    /// Removes a listener: it accepts no more, and its connections drain. The returned future
    /// follows that drain; polling it is not needed. `None`: there is no such listener.
    ///
    /// # Cancel safety
    ///
    /// That of [`listener_versions::Listeners::apply`]. [`Self::start_drain_monitor`] follows a
    /// drain of which the future was lost.
    pub async fn start_draining(&self, name: &str) -> Option<DrainSequence> {
        let version = self.shared.listeners.active(name)?.number();
        self.shared.listeners.apply(Update::remove(name)).await;
        self.start_drain_monitor(name, version)
    }

    /// Follows the drain of a version to its end: woken by it, without polling. `None` if that
    /// version does not drain.
    pub fn start_drain_monitor(&self, name: &str, version: u64) -> Option<DrainSequence> {
        let versions = self.versions(name);
        let drain = versions
            .iter()
            .find(|known| known.number() == version)?
            .drain();
        let event = drain.event()?;
        // It drains, so this joins.
        let start = DrainStart::new(event.reason).with_direction(event.direction);
        Some(drain.start_drain_sequence(start))
    }

    /// Brings forward the deadlines of the oldest versions of a listener that are more than
    /// `policy` allows, the active one included, and returns their numbers. Every update does the
    /// same with the configured limit.
    pub fn drain_old_listeners(&self, name: &str, policy: CleanupPolicy) -> Vec<u64> {
        let versions = self.versions(name);
        let over = versions.len().saturating_sub(policy.limit().max(1));
        let deadline = (Instant::now() + self.shared.config.listeners_options().floor).into_std();
        let hurried = versions.into_iter().take(over);
        hurried
            .filter(|version| version.drain().is_draining())
            .map(|version| {
                version.drain().bring_forward(deadline);
                version.number()
            })
            .collect()
    }

    /// Takes a listener whose address another one has: the other is removed and drains, and the
    /// new listener takes its socket with the connections that wait in its queue, so that no client
    /// is refused. The names of the removed listeners are returned too.
    ///
    /// # Errors
    ///
    /// As [`start_listener`](Self::start_listener); then no listener was removed.
    ///
    /// # Cancel safety
    ///
    /// That of [`listener_versions::Listeners::apply`].
    pub async fn resolve_address_conflicts(
        &self,
        listener: impl Into<Arc<C>>,
    ) -> Result<(Change, Vec<String>), UpdateError> {
        let listener: Arc<C> = listener.into();
        let others = self.shared.listeners.versions().into_iter();
        let holders: Vec<String> = others
            .filter(|version| version.state() == VersionState::Active)
            .filter(|version| version.name() != listener.name())
            .filter(|version| has_address_of(&**version.config(), &*listener))
            .map(|version| version.name().to_owned())
            .collect();
        let change = self.apply(listener, holders.clone()).await?;
        Ok((change, holders))
    }

    /// Takes a change of routes: requests are routed by it from now on, and nothing drains.
    pub fn change_routes(&self, change: RouteConfigurationChange<S::Routes>) {
        let routes = self.shared.services.routes();
        match change {
            RouteConfigurationChange::Added(name, changed) => routes.set(name, changed),
            RouteConfigurationChange::Removed(name) => routes.remove(&name),
        }
    }

    /// Looks for what must not be. [`ManagerRun`] does so once per `cleanup_interval`.
    pub fn audit(&self) -> Audit {
        let overdue = self.shared.connections.close_overdue();
        Audit { overdue }
    }

    async fn apply(&self, listener: Arc<C>, removed: Vec<String>) -> Result<Change, UpdateError> {
        let shared = &*self.shared;
        let version_info = shared.services.version_info(&listener).to_owned();
        let name = listener.name().to_owned();
        let update = Update::delta(&version_info, [listener], removed).atomic();
        let applied = shared.listeners.apply(update);
        let report = crate::telemetry::in_update(&version_info, applied).await;
        let mut outcomes = report.listeners.into_iter();
        let outcome = outcomes.find(|(listener, _)| **listener == *name);
        outcome.map_or(Ok(Change::Unchanged), |(_, outcome)| outcome)
    }

    /// The versions of a listener, oldest first.
    fn versions(&self, name: &str) -> Vec<Arc<ListenerVersion<C>>> {
        let versions = self.shared.listeners.versions().into_iter();
        versions.filter(|version| version.name() == name).collect()
    }

    fn take(&self, accepted: Accepted<C>) {
        let shared = &*self.shared;
        let registration = Registration {
            connections: shared.connections.clone(),
            behavior: shared.behavior.clone(),
        };
        shared.services.serve(accepted, registration);
    }

    async fn take_changes(
        self,
        mut listeners: mpsc::Receiver<ListenerConfigurationChange<C>>,
        mut routes: mpsc::Receiver<RouteConfigurationChange<S::Routes>>,
    ) {
        // An interval of nothing would never let anything else run.
        let period = self
            .shared
            .config
            .cleanup_interval
            .max(Duration::from_millis(100));
        let mut audits = tokio::time::interval(period);
        audits.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(change) = listeners.recv() => match change {
                    ListenerConfigurationChange::Added(listener) => {
                        // The observer reports a refusal, and the previous version goes on.
                        self.start_listener(*listener).await.ok();
                    }
                    ListenerConfigurationChange::Removed(name) => drop(self.start_draining(&name).await),
                },
                Some(change) = routes.recv() => self.change_routes(change),
                _ = audits.tick() => {
                    self.audit();
                }
            }
        }
    }
}

impl<C: ListenerConfig, S: ListenerServices<C>> Clone for ListenersManager<C, S> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<C: ListenerConfig, S: ListenerServices<C>> fmt::Debug for ListenersManager<C, S> {
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

/// Whether the two have an address in common.
fn has_address_of<C: ListenerConfig>(one: &C, other: &C) -> bool {
    let addresses = |config: &C| -> Vec<ListenAddress> {
        let first = std::iter::once(config.address());
        first
            .chain(config.additional_addresses())
            .cloned()
            .collect()
    };
    let others = addresses(other);
    addresses(one)
        .iter()
        .any(|address| others.contains(address))
}
