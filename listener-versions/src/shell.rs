//! What handles, workers and the driver share: the version set, and the sockets and drains that carry out its effects.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use conn_tracker::ConnTracker;
use drain_tree::{DrainDirection, DrainManager, DrainOutcome, DrainSequence};
use tokio::sync::{mpsc, watch};

use crate::carry::{State, offer};
use crate::listeners::WarmError;
use crate::net::{Shared, Slot, Worker};
use crate::news::News;
use crate::observer::Teller;
use crate::{
    AcceptPolicy, ChainView, Inherited, ListenAddress, ListenerChain, ListenerConfig, ListenerObserver,
    ListenerVersion, ListenersOptions, Update, UpdateError, UpdateReport, VersionSet, VersionState,
    VersionView,
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
    pub(crate) root: DrainManager,
    pub(crate) options: ListenersOptions,
    pub(crate) shared: Shared,
    /// How many wait to know which process goes on. Updates wait for none.
    pub(crate) held: watch::Sender<u32>,
    state: Mutex<State<C>>,
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
            inherited: Inherited::new(),
            workers: Vec::new(),
            workers_made: 0,
        };
        Self {
            root,
            options,
            shared,
            held: watch::Sender::new(0),
            state: Mutex::new(state),
        }
    }

    pub(crate) fn root(&self) -> &DrainManager {
        &self.root
    }

    /// Gives the update back if it has to wait.
    pub(crate) fn apply(&self, update: Update<C>, jobs: &Jobs<C>) -> Result<UpdateReport, Update<C>> {
        let mut fresh = HashMap::new();
        let mut news = Vec::new();
        let mut state = self.lock();
        if *self.held.borrow() > 0 {
            return Err(update);
        }
        let State { set, inherited, .. } = &mut *state;
        let applied = set.apply(update, |key, config| {
            let slot = Slot::open(key, config.socket_options(), inherited.take(key.address()))?;
            // A version that warms does not listen yet: clients would wait for nobody.
            if !config.warms() {
                if let Err(error) = slot.listen() {
                    inherited.put(slot.local().clone(), slot.close(None));
                    return Err(error);
                }
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
        Ok(applied.report)
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
        let number = state.workers_made;
        state.workers_made += 1;
        Worker::new(queue, self.shared.clone(), number)
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

    pub(crate) fn versions(&self) -> Vec<Arc<ListenerVersion<C>>> {
        let state = self.lock();
        let numbers = state.set.iter().map(|record| record.number);
        numbers
            .filter_map(|number| state.live.get(&number).cloned())
            .collect()
    }

    pub(crate) fn local_address(&self, name: &str) -> Option<ListenAddress> {
        let state = self.lock();
        let record = state.set.active(name).filter(|record| record.accepting)?;
        Some(state.slots.get(&record.socket)?.local().clone())
    }

    #[cfg(feature = "__bench")]
    pub(crate) fn slot(&self, name: &str) -> Option<Arc<Slot<C>>> {
        let state = self.lock();
        state.slots.get(&state.set.active(name)?.socket).cloned()
    }

    /// Nobody can update any more: sockets close, workers end.
    pub(crate) fn close_all(&self) {
        let mut state = self.lock();
        state.workers.clear();
        for (_, slot) in state.slots.drain() {
            let last = slot.current().and_then(|version| version.drain().watch().ok());
            drop(slot.close(last));
        }
    }

    fn tell(&self, news: Vec<News>) {
        news.into_iter().for_each(|news| news.tell(&self.shared.teller));
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State<C>> {
        // Observers and handlers are called without it. What can panic under it is the configuration's own code, which runs before
        // anything is changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
