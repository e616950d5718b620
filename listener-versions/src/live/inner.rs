//! What handles, workers and the driver share: the version set, and the sockets and drains that
//! execute its effects.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use conn_tracker::ConnTracker;
use drain_tree::{DrainDirection, DrainManager, DrainOutcome, DrainReason};
use tokio::sync::{mpsc, watch};

use super::driver::WarmJob;
use super::state::offers;
use super::{Event, Job, Later, Reporter, State, without_panic};
use crate::net::{Listening, Shared, Worker};
use crate::set::Wanted;
use crate::{
    Inherited, ListenAddress, ListenerChain, ListenerConfig, ListenerObserver, ListenerVersion,
    ListenersOptions, Update, UpdateError, UpdateReport, VersionSet, VersionState, VersionView,
};

pub(crate) struct Inner<C> {
    pub(crate) root: DrainManager,
    pub(crate) shared: Shared,
    /// How many wait to know which process goes on. Updates wait for none.
    pub(crate) held: watch::Sender<u32>,
    /// The driver's queue. The handles keep it open: when they are gone, nothing more begins to
    /// drain.
    jobs: mpsc::WeakUnboundedSender<Job<C>>,
    /// What connections that the program hands in are given to, by listener. Read without a lock.
    pub(super) entrances: ArcSwap<HashMap<Arc<str>, Arc<Listening<C>>>>,
    state: Mutex<State<C>>,
    /// The thread that has locked the state, by the address of its [`MARK`].
    locked_by: AtomicUsize,
}

thread_local! {
    static MARK: u8 = const { 0 };
}

/// The state, locked.
pub(crate) struct Locked<'a, C> {
    state: MutexGuard<'a, State<C>>,
    locked_by: &'a AtomicUsize,
}

impl<C> Deref for Locked<'_, C> {
    type Target = State<C>;

    fn deref(&self) -> &State<C> {
        &self.state
    }
}

impl<C> DerefMut for Locked<'_, C> {
    fn deref_mut(&mut self) -> &mut State<C> {
        &mut self.state
    }
}

impl<C> Drop for Locked<'_, C> {
    fn drop(&mut self) {
        self.locked_by.store(0, Ordering::Relaxed);
    }
}

impl<C: ListenerConfig> Inner<C> {
    pub(crate) fn new(
        root: DrainManager,
        tracker: ConnTracker,
        options: ListenersOptions,
        observer: Arc<dyn ListenerObserver>,
        jobs: mpsc::WeakUnboundedSender<Job<C>>,
    ) -> Self {
        let shared = Shared {
            tracker,
            options,
            reporter: Reporter::new(observer),
        };
        let state = State {
            set: VersionSet::new(),
            live: HashMap::new(),
            gone: BTreeMap::new(),
            listening: HashMap::new(),
            inherited: Inherited::new(),
            workers: Vec::new(),
            workers_made: 0,
            events: Vec::new(),
            is_reporting: false,
            later: Vec::new(),
            held_back: None,
            warming: HashMap::new(),
        };
        Self {
            root,
            shared,
            held: watch::Sender::new(0),
            jobs,
            entrances: ArcSwap::default(),
            state: Mutex::new(state),
            locked_by: AtomicUsize::new(0),
        }
    }

    pub(crate) fn root(&self) -> &DrainManager {
        &self.root
    }

    /// Gives the update back if it has to wait.
    pub(crate) fn apply(&self, update: Update<C>) -> Result<UpdateReport, Update<C>> {
        let mut fresh = HashMap::new();
        // Refused ones are dropped without the lock.
        let configs = update.configs();
        let mut state = self.lock();
        if *self.held.borrow() > 0 {
            return Err(update);
        }
        let State {
            set,
            inherited,
            listening,
            ..
        } = &mut *state;
        let (report, effects) = set.apply(update, |config, asked, wanted| {
            match wanted {
                Wanted::Bind(socket) => {
                    let options = asked.options_of(socket).cloned().unwrap_or_default();
                    let listening = Listening::open(socket, &options, config, inherited)?;
                    fresh.insert(socket.clone(), Arc::new(listening));
                }
                Wanted::Listen(socket) => {
                    let listening = fresh.get(socket).or_else(|| listening.get(socket));
                    listening.map_or(Ok(()), |listening| listening.listen())?;
                }
                Wanted::Close(socket) => {
                    if let Some(listening) = fresh.remove(socket) {
                        let shared = listening.close(&mut None);
                        inherited.put(listening.local().clone(), shared);
                    }
                }
            }
            Ok(())
        });
        state.listening.extend(fresh);
        self.execute(&mut state, effects);
        let mut state = self.do_later(state);
        let rejected = report.errors().cloned().map(Event::Rejected);
        state.events.extend(rejected);
        self.report(state);
        for config in configs {
            without_panic(|| drop(config));
        }
        Ok(report)
    }

    pub(crate) fn warmed(&self, version: u64) -> Result<bool, UpdateError> {
        let mut state = self.lock();
        if *self.held.borrow() > 0 {
            // While it is decided which process goes on, no socket begins to listen.
            let live = state.live.get(&version);
            let live = live.filter(|live| live.state() == VersionState::Warming);
            let job = live.map(|live| WarmJob::new(live, false));
            let is_warming = job.is_some();
            let later = job.map(|job| Later::Run(Job::Warm(job)));
            state.later.extend(later);
            self.report(state);
            return Ok(is_warming);
        }
        // The configurations' own code, before a socket begins to listen.
        let Ok(when_warm) = state.set.when_warm(version) else {
            return Ok(false);
        };
        let listening = state.set.get(version).map_or(Ok(()), |record| {
            record.asked.sockets.iter().try_for_each(|socket| {
                let listening = state.listening.get(socket);
                let listens = listening.map_or(Ok(()), |listening| listening.listen());
                listens.map_err(|source| UpdateError::Bind {
                    listener: Arc::clone(&record.name),
                    field: record.asked.field_of(socket),
                    address: socket.address().clone(),
                    source: Arc::new(source),
                })
            })
        });
        let effects = match &listening {
            Ok(()) => state.set.warmed(when_warm),
            // It is warming.
            Err(_) => state.set.abandon(version).unwrap_or_default(),
        };
        self.execute(&mut state, effects);
        let mut state = self.do_later(state);
        let rejected = listening.as_ref().err().cloned().map(Event::Rejected);
        state.events.extend(rejected);
        self.report(state);
        listening.map(|()| true)
    }

    /// Waits until the version is not warming any more.
    pub(crate) async fn until_warm(&self, version: u64) {
        let is_over = self.lock().leaves_warming(version);
        if let Some(mut is_over) = is_over {
            // Nothing is sent: the sender goes when the version is warm.
            while is_over.changed().await.is_ok() {}
        }
    }

    pub(crate) fn stop(&self, direction: DrainDirection) -> Vec<VersionView> {
        let mut state = self.lock();
        let (stopped, effects) = state.set.stop(direction);
        let views: Vec<VersionView> = stopped
            .iter()
            .filter_map(|version| state.view(*version))
            .collect();
        self.execute(&mut state, effects);
        let mut state = self.do_later(state);
        state
            .events
            .extend(views.iter().cloned().map(Event::Stopped));
        self.report(state);
        views
    }

    /// A drain from above has begun: the connections of these versions are asked to leave.
    pub(crate) fn asked_to_leave(
        &self,
        reason: DrainReason,
        is_asked: impl Fn(&VersionView) -> bool,
    ) {
        let mut state = self.lock();
        let views: Vec<VersionView> = state.views().filter(is_asked).collect();
        let events = views
            .into_iter()
            .map(|view| Event::AskedToLeave(view, reason));
        state.events.extend(events);
        self.report(state);
    }

    /// Gives the driver something to run. Without a driver, which the caller has dropped then, it
    /// is neither paced nor reaped.
    pub(crate) fn run(&self, job: Job<C>) {
        if let Some(jobs) = self.jobs.upgrade() {
            drop(jobs.send(job));
        }
    }

    /// A version's drain is over: it is taken out and reported, once.
    pub(crate) fn reap(&self, version: &ListenerVersion<C>, outcome: DrainOutcome) {
        let mut state = self.lock();
        // The driver has one job for each version that drains, so the version is draining and in
        // the set.
        let reaped = state.set.complete(version.number());
        debug_assert!(reaped.is_ok(), "{version:?}: {reaped:?}");
        let live = state.live.remove(&version.number());
        state.later.extend(live.map(Later::End));
        version.set_state(VersionState::Drained);
        state.events.push(Event::Drained(version.view(), outcome));
        self.report(state);
    }

    /// A filter chain's own drain is over: it is taken out and reported, once.
    pub(crate) fn reap_chain(&self, chain: Arc<ListenerChain>, outcome: DrainOutcome) {
        let mut state = self.lock();
        let reaped = state.set.complete_chain(chain.number());
        debug_assert!(reaped.is_some(), "{chain:?} was reaped before");
        state.gone.remove(&chain.number());
        state.events.push(Event::ChainDrained(chain, outcome));
        self.report(state);
    }

    /// Does what is left to do, and reports what has happened, in that order. The lock is not held
    /// meanwhile.
    ///
    /// If another thread reports already, that one goes on with these events too.
    pub(crate) fn report<'a>(&'a self, mut state: Locked<'a, C>) {
        loop {
            state = self.do_later(state);
            if state.is_reporting || state.events.is_empty() {
                return;
            }
            state.is_reporting = true;
            let events = std::mem::take(&mut state.events);
            drop(state);
            for event in events {
                // With its drop, which may be code of others too.
                self.shared.reporter.report(move |observer| {
                    event.report(observer);
                    drop(event);
                });
            }
            state = self.lock();
            state.is_reporting = false;
        }
    }

    pub(crate) fn worker(&self) -> Worker<C> {
        let (acceptors, queue) = mpsc::unbounded_channel();
        let mut state = self.lock();
        let held_back = state.held_back.iter().flatten();
        let held_back: HashSet<_> = held_back.map(Arc::as_ptr).collect();
        let there = (state.listening.values()).filter(|listening| {
            listening.current().is_some() && !held_back.contains(&Arc::as_ptr(listening))
        });
        let acceptor = std::slice::from_ref(&acceptors);
        let later: Vec<_> = there.flat_map(|there| offers(acceptor, there)).collect();
        state.later.extend(later);
        state.workers.push(acceptors);
        let number = state.workers_made;
        state.workers_made += 1;
        self.report(state);
        Worker::new(queue, self.shared.clone(), number)
    }

    pub(crate) fn snapshot(&self) -> Vec<VersionView> {
        self.lock().views().collect()
    }

    pub(crate) fn draining_chains(&self) -> Vec<Arc<ListenerChain>> {
        self.lock().gone.values().cloned().collect()
    }

    pub(crate) fn active(&self, name: &str) -> Option<Arc<ListenerVersion<C>>> {
        let state = self.lock();
        state.live.get(&state.set.active(name)?.number).cloned()
    }

    pub(crate) fn warming(&self, name: &str) -> Option<Arc<ListenerVersion<C>>> {
        let state = self.lock();
        let warming = state.set.names.get(name)?.warming?;
        state.live.get(&warming).cloned()
    }

    pub(crate) fn versions(&self) -> Vec<Arc<ListenerVersion<C>>> {
        let state = self.lock();
        let numbers = state.set.iter().map(|record| record.number);
        numbers
            .filter_map(|number| state.live.get(&number).cloned())
            .collect()
    }

    pub(crate) fn local_addresses(&self, name: &str) -> Vec<ListenAddress> {
        let state = self.lock();
        let Some(record) = state.set.active(name) else {
            return Vec::new();
        };
        let sockets = record.asked.sockets.iter();
        let listening = sockets.filter_map(|socket| state.listening_of(record, socket));
        listening
            .map(|listening| listening.local().clone())
            .collect()
    }

    #[cfg(feature = "__bench")]
    pub(crate) fn listening(&self, name: &str) -> Option<Arc<Listening<C>>> {
        let state = self.lock();
        state
            .listening
            .get(state.set.active(name)?.asked.sockets.first()?)
            .cloned()
    }

    /// No update can come any more: sockets close, workers end.
    pub(crate) fn close_all(&self) {
        let mut state = self.lock();
        let workers = std::mem::take(&mut state.workers);
        let listening = std::mem::take(&mut state.listening);
        self.entrances.store(Arc::default());
        drop(state);
        // Which wakes them.
        drop(workers);
        for listening in listening.into_values() {
            let current = listening.current();
            let mut last = current.and_then(|version| version.drain().watch().ok());
            drop(listening.close(&mut last));
            listening.look_again();
        }
    }

    /// # Panics
    ///
    /// If this thread has locked it: code of a configuration has called
    /// [`Listeners`](crate::Listeners), which would wait for ever.
    pub(crate) fn lock(&self) -> Locked<'_, C> {
        let thread = MARK.with(|mark| std::ptr::from_ref(mark).addr());
        // Relaxed, as all of it: only this thread writes its own mark.
        assert_ne!(
            self.locked_by.load(Ordering::Relaxed),
            thread,
            "a configuration's method has called its Listeners"
        );
        // What can panic under it is the configuration's own code, which runs before anything is
        // changed.
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.locked_by.store(thread, Ordering::Relaxed);
        Locked {
            state,
            locked_by: &self.locked_by,
        }
    }
}
