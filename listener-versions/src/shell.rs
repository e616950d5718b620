//! What handles, workers and the driver share: the version set, and the sockets and drains that carry out its effects.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use conn_tracker::ConnTracker;
use drain_tree::{
    ChildOptions, DrainDirection, DrainManager, DrainOutcome, DrainReason, DrainSequence, DrainStart,
};
use tokio::sync::mpsc;

use crate::listeners::WarmError;
use crate::net::{Seat, Shared, Slot, Worker};
use crate::observer::Teller;
use crate::{
    AcceptPolicy, ChainView, Effect, ListenAddress, ListenerChain, ListenerConfig, ListenerObserver,
    ListenerVersion, ListenersOptions, SocketKey, Update, UpdateError, UpdateReport, VersionSet,
    VersionState, VersionView,
};

/// What the driver is given to run.
pub(crate) enum Job<C> {
    Version {
        version: Arc<ListenerVersion<C>>,
        sequence: DrainSequence,
    },
    Chain {
        chain: Arc<ListenerChain>,
        sequence: DrainSequence,
    },
    Admin {
        sequence: DrainSequence,
        direction: DrainDirection,
        policy: AcceptPolicy,
    },
}

pub(crate) type Jobs<C> = mpsc::UnboundedSender<Job<C>>;

pub(crate) struct Shell<C> {
    root: DrainManager,
    options: ListenersOptions,
    shared: Shared,
    state: Mutex<State<C>>,
}

/// Under one lock, which no accept takes.
struct State<C> {
    set: VersionSet<C>,
    live: HashMap<u64, Arc<ListenerVersion<C>>>,
    /// Filter chains that their version went on without.
    gone: BTreeMap<u64, Arc<ListenerChain>>,
    slots: HashMap<SocketKey, Arc<Slot<C>>>,
    workers: Vec<mpsc::UnboundedSender<Seat<C>>>,
}

/// What the observer is told once the lock is released.
enum News {
    Created(VersionView),
    Activated(VersionView, Option<u64>),
    Discarded(VersionView),
    UpdatedInPlace(VersionView),
    ChainDrainStarted(ChainView, DrainReason),
    DrainStarted(VersionView, DrainReason),
    Hurried(VersionView, Instant),
    Stopped(VersionView),
}

impl<C: ListenerConfig> Shell<C> {
    pub(crate) fn new(
        root: DrainManager,
        tracker: ConnTracker,
        options: ListenersOptions,
        observer: Arc<dyn ListenerObserver>,
    ) -> Self {
        let shared = Shared {
            tracker,
            limits: options.limits.clone(),
            teller: Teller::new(observer),
        };
        let state = State {
            set: VersionSet::new(),
            live: HashMap::new(),
            gone: BTreeMap::new(),
            slots: HashMap::new(),
            workers: Vec::new(),
        };
        Self {
            root,
            options,
            shared,
            state: Mutex::new(state),
        }
    }

    pub(crate) fn root(&self) -> &DrainManager {
        &self.root
    }

    pub(crate) fn apply(&self, update: Update<C>, jobs: &Jobs<C>) -> UpdateReport {
        let mut fresh = HashMap::new();
        let mut news = Vec::new();
        let mut state = self.lock();
        let applied = state.set.apply(update, |key, config| {
            let slot = Slot::bind(key, config.socket_options())?;
            // A version that warms does not listen yet: clients would wait for nobody.
            if !config.warms() {
                slot.listen()?;
            }
            fresh.insert(key.clone(), Arc::new(slot));
            Ok(())
        });
        state.slots.extend(fresh);
        self.carry_out(&mut state, applied.effects, Some(jobs), &mut news);
        drop(state);
        self.tell(news);
        for error in applied.report.errors() {
            self.shared
                .teller
                .tell(|observer| observer.update_rejected(error));
        }
        applied.report
    }

    pub(crate) fn warmed(&self, version: u64, jobs: &Jobs<C>) -> Result<(), WarmError> {
        let mut news = Vec::new();
        let mut state = self.lock();
        let listening = match state
            .set
            .get(version)
            .filter(|record| record.state == VersionState::Warming)
        {
            Some(record) => match state.slots.get(&record.socket).map(|slot| slot.listen()) {
                Some(Err(source)) => {
                    let (listener, address) = (Arc::clone(&record.name), record.config.address().clone());
                    Err(UpdateError::Bind {
                        listener,
                        address,
                        source,
                    })
                }
                _ => Ok(()),
            },
            None => Ok(()),
        };
        let effects = match &listening {
            Ok(()) => state.set.warmed(version)?,
            Err(_) => state.set.abandon(version)?,
        };
        self.carry_out(&mut state, effects, Some(jobs), &mut news);
        drop(state);
        self.tell(news);
        listening.map_err(|error| {
            self.shared
                .teller
                .tell(|observer| observer.update_rejected(&error));
            WarmError::Listen(error)
        })
    }

    pub(crate) fn stop(&self, direction: DrainDirection) -> Vec<VersionView> {
        let mut news = Vec::new();
        let mut state = self.lock();
        let stopped = state.set.stop(direction);
        self.carry_out(&mut state, stopped.effects, None, &mut news);
        let views: Vec<VersionView> = stopped
            .versions
            .iter()
            .filter_map(|version| state.view(*version))
            .collect();
        drop(state);
        news.extend(views.iter().cloned().map(News::Stopped));
        self.tell(news);
        views
    }

    /// A version's drain is over: it is taken out and reported, once.
    pub(crate) fn reap(&self, version: &ListenerVersion<C>, outcome: &DrainOutcome) {
        let mut state = self.lock();
        // The driver has one job for each version that drains, so the version is draining and in the set.
        let reaped = state.set.complete(version.number());
        debug_assert!(reaped.is_ok(), "{version:?}: {reaped:?}");
        state.live.remove(&version.number());
        version.set_state(VersionState::Drained);
        drop(state);
        let view = version.view(None);
        self.shared
            .teller
            .tell(|observer| observer.drained(&view, outcome));
    }

    /// A filter chain's own drain is over: it is taken out and reported, once.
    pub(crate) fn reap_chain(&self, chain: &ListenerChain, outcome: &DrainOutcome) {
        let mut state = self.lock();
        let reaped = state.set.complete_chain(chain.number());
        debug_assert!(reaped.is_some(), "{chain:?} was reaped before");
        state.gone.remove(&chain.number());
        drop(state);
        let view = chain.view();
        self.shared
            .teller
            .tell(|observer| observer.chain_drained(&view, outcome));
    }

    pub(crate) fn worker(&self) -> Worker<C> {
        let (seats, queue) = mpsc::unbounded_channel();
        let mut state = self.lock();
        for slot in state.slots.values().filter(|slot| slot.current().is_some()) {
            offer(&seats, slot);
        }
        state.workers.push(seats);
        Worker::new(queue, self.shared.clone())
    }

    pub(crate) fn snapshot(&self) -> Vec<VersionView> {
        let state = self.lock();
        state
            .set
            .iter()
            .filter_map(|record| state.view(record.number))
            .collect()
    }

    pub(crate) fn draining_chains(&self) -> Vec<ChainView> {
        self.lock().gone.values().map(|chain| chain.view()).collect()
    }

    pub(crate) fn active(&self, name: &str) -> Option<Arc<ListenerVersion<C>>> {
        let state = self.lock();
        state.live.get(&state.set.active(name)?.number).cloned()
    }

    pub(crate) fn local_address(&self, name: &str) -> Option<ListenAddress> {
        let state = self.lock();
        let record = state.set.active(name).filter(|record| record.accepting)?;
        Some(state.slots.get(&record.socket)?.local().clone())
    }

    /// Nobody can update any more: sockets close, workers end.
    pub(crate) fn close_all(&self) {
        let mut state = self.lock();
        state.workers.clear();
        for (_, slot) in state.slots.drain() {
            let last = slot.current().and_then(|version| version.drain().watch().ok());
            slot.close(last);
        }
    }

    /// Does to sockets and drains what the set has decided, in its order.
    fn carry_out(
        &self,
        state: &mut State<C>,
        effects: Vec<Effect>,
        jobs: Option<&Jobs<C>>,
        news: &mut Vec<News>,
    ) {
        let mut drained = Vec::new();
        for effect in effects {
            match effect {
                Effect::Create { version } => {
                    if let Some(created) = self.create(&state.set, version) {
                        state.live.insert(version, Arc::new(created));
                        news.extend(state.view(version).map(News::Created));
                    }
                }
                Effect::Activate {
                    version,
                    socket,
                    replaces,
                } => {
                    state.activate(version, &socket);
                    news.extend(state.view(version).map(|view| News::Activated(view, replaces)));
                }
                Effect::Discard { version } => {
                    if let Some(discarded) = state.live.remove(&version) {
                        discarded.set_state(VersionState::Drained);
                        news.push(News::Discarded(discarded.view(None)));
                    }
                }
                Effect::Close { socket, last } => {
                    // The version's drain begins later than this, so the guard can still be had.
                    let last = last.and_then(|version| state.live.get(&version)?.drain().watch().ok());
                    if let Some(slot) = state.slots.remove(&socket) {
                        slot.close(last);
                    }
                }
                Effect::UpdateInPlace { version } => {
                    state.update_in_place(version);
                    news.extend(state.view(version).map(News::UpdatedInPlace));
                }
                Effect::DrainChain { chain, reason, .. } => {
                    let Some(chain) = state.gone.get(&chain).cloned() else {
                        continue;
                    };
                    chain.leave();
                    let sequence = chain.drain().start_drain_sequence(DrainStart::new(reason));
                    news.push(News::ChainDrainStarted(chain.view(), reason));
                    if let Some(jobs) = jobs {
                        // As below.
                        drop(jobs.send(Job::Chain { chain, sequence }));
                    }
                }
                Effect::Drain { version, reason } => {
                    let Some(version) = state.live.get(&version).cloned() else {
                        continue;
                    };
                    version.set_state(VersionState::Draining);
                    let sequence = version.drain().start_drain_sequence(DrainStart::new(reason));
                    news.push(News::DrainStarted(version.view(None), reason));
                    drained.push(Arc::clone(&version));
                    if let Some(jobs) = jobs {
                        // Without a driver nobody would pace or reap it either: the caller has dropped it.
                        drop(jobs.send(Job::Version { version, sequence }));
                    }
                }
            }
        }
        self.hurry(state, &drained, news);
    }

    fn create(&self, set: &VersionSet<C>, version: u64) -> Option<ListenerVersion<C>> {
        let record = set.get(version)?;
        let child = ChildOptions::default()
            .with_drain_type(record.config.drain_type())
            .with_traffic_direction(record.config.traffic_direction());
        let group = self.shared.tracker.group(&record.name, version);
        Some(ListenerVersion::new(record, self.root.child(child), group))
    }

    /// Beyond the soft cap the oldest drains end earlier. None is forgotten, and none ends before the floor.
    fn hurry(&self, state: &State<C>, drained: &[Arc<ListenerVersion<C>>], news: &mut Vec<News>) {
        let Some(cap) = self.options.cap() else { return };
        for name in drained.iter().map(|version| version.name()) {
            let deadline = tokio::time::Instant::now().into_std() + self.options.floor;
            for oldest in state.set.over_cap(name, cap) {
                let Some(version) = state.live.get(&oldest) else {
                    continue;
                };
                if version.drain().deadline().is_some_and(|now| now <= deadline) {
                    continue;
                }
                version.drain().bring_forward(deadline);
                news.push(News::Hurried(version.view(None), deadline));
            }
        }
    }

    fn tell(&self, news: Vec<News>) {
        for news in news {
            self.shared.teller.tell(|observer| match &news {
                News::Created(view) => observer.created(view),
                News::Activated(view, replaced) => observer.activated(view, *replaced),
                News::Discarded(view) => observer.discarded(view),
                News::UpdatedInPlace(view) => observer.in_place_updated(view),
                News::ChainDrainStarted(view, reason) => observer.chain_drain_started(view, *reason),
                News::DrainStarted(view, reason) => observer.drain_started(view, *reason),
                News::Hurried(view, deadline) => observer.drain_hurried(view, *deadline),
                News::Stopped(view) => observer.stopped(view),
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<C>> {
        // Observers and handlers are called without it. What can panic under it is the configuration's own code, which runs before
        // anything is changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: ListenerConfig> State<C> {
    fn activate(&mut self, version: u64, socket: &SocketKey) {
        let (Some(version), Some(slot)) = (self.live.get(&version), self.slots.get(socket)) else {
            return;
        };
        let first = slot.current().is_none();
        // Active before it is served: an accept that finds it must find it ready.
        version.set_state(VersionState::Active);
        slot.serve(Arc::clone(version));
        if first {
            self.workers.retain(|worker| !worker.is_closed());
            self.workers.iter().for_each(|worker| offer(worker, slot));
        }
    }

    /// New connections find the new configuration from now on; the chains that are not in it drain later than this.
    fn update_in_place(&mut self, version: u64) {
        let (Some(live), Some(record)) = (self.live.get(&version), self.set.get(version)) else {
            return;
        };
        let (updated, gone) = live.updated(record);
        let updated = Arc::new(updated);
        if let Some(slot) = self.slots.get(updated.socket()) {
            slot.serve(Arc::clone(&updated));
        }
        self.gone
            .extend(gone.into_iter().map(|chain| (chain.number(), chain)));
        self.live.insert(version, updated);
    }

    fn view(&self, version: u64) -> Option<VersionView> {
        let live = self.live.get(&version)?;
        let accepting = self.set.get(version).filter(|record| record.accepting);
        let slot = accepting.and_then(|_| self.slots.get(live.socket()));
        Some(live.view(slot.map(|slot| slot.local().clone())))
    }
}

fn offer<C>(worker: &mpsc::UnboundedSender<Seat<C>>, slot: &Arc<Slot<C>>) {
    if let Some(seat) = slot.seat() {
        // A worker that is gone gives its seat back by dropping it.
        drop(worker.send(seat));
    }
}
