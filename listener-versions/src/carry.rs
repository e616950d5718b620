//! Does to sockets and drains what the version set has decided, in its order.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use drain_tree::{ChildOptions, DrainStart};
use tokio::sync::mpsc;

use crate::events::Event;
use crate::family::Family;
use crate::net::{Seat, Slot};
use crate::shell::{DrainJob, Job, Shell, WarmJob};
use crate::{
    Effect, Inherited, ListenerChain, ListenerConfig, ListenerVersion, SocketKey, VersionSet, VersionState,
    VersionView,
};

/// Under one lock, which no accept takes.
pub(crate) struct State<C> {
    pub(crate) set: VersionSet<C>,
    pub(crate) live: HashMap<u64, Arc<ListenerVersion<C>>>,
    /// Filter chains that their version went on without.
    pub(crate) gone: BTreeMap<u64, Arc<ListenerChain>>,
    pub(crate) slots: HashMap<SocketKey, Arc<Slot<C>>>,
    /// Sockets that other processes opened and no listener wants, or wants no more.
    pub(crate) inherited: Inherited,
    pub(crate) workers: Vec<mpsc::UnboundedSender<Seat<C>>>,
    /// How many workers there have been.
    pub(crate) workers_made: usize,
    /// What has happened and is not reported yet.
    pub(crate) events: Vec<Event>,
    /// Somebody reports events, without the lock, until there are none left.
    pub(crate) is_reporting: bool,
    /// Versions that nothing needs any more. They are dropped without the lock: the code of their configurations is not ours.
    pub(crate) unused: Vec<Arc<ListenerVersion<C>>>,
    /// Slots that no worker gets as long as another process accepts on inherited sockets; `None` if there is no such process.
    pub(crate) held_back: Option<Vec<Arc<Slot<C>>>>,
}

impl<C: ListenerConfig> Shell<C> {
    /// Does to sockets and drains what the set has decided, in its order.
    pub(crate) fn carry_out(&self, state: &mut State<C>, effects: Vec<Effect>) {
        let mut drained = Vec::new();
        for effect in effects {
            match effect {
                Effect::Create { version } => {
                    if let Some(created) = self.create(state, version) {
                        let token = created.token();
                        state.live.insert(version, Arc::new(created));
                        if let Some(ready) = state.set.take_ready(version) {
                            self.run(Job::Warm(WarmJob {
                                version,
                                ready,
                                token,
                            }));
                        }
                        state.record(version, Event::Created);
                    }
                }
                Effect::Activate {
                    version,
                    socket,
                    replaces,
                } => {
                    state.activate(version, &socket);
                    state.record(version, |view| Event::Activated(view, replaces));
                }
                Effect::Discard { version } => {
                    if let Some(discarded) = state.live.remove(&version) {
                        discarded.set_state(VersionState::Drained);
                        state.events.push(Event::Discarded(discarded.view(None)));
                        state.unused.push(discarded);
                    }
                }
                Effect::Close { socket, last } => {
                    // The version's drain begins later than this, so the guard can still be had.
                    let last = last.and_then(|version| state.live.get(&version)?.drain().watch().ok());
                    if let Some(slot) = state.slots.remove(&socket) {
                        // The other process that has it goes on; an update to come may want it again.
                        state.inherited.put(slot.local().clone(), slot.close(last));
                    }
                }
                Effect::UpdateInPlace { version } => {
                    state.update_in_place(version);
                    state.record(version, Event::UpdatedInPlace);
                }
                Effect::DrainChain { chain, reason } => {
                    let Some(chain) = state.gone.get(&chain).cloned() else {
                        continue;
                    };
                    chain.leave();
                    let sequence = chain.drain().start_drain_sequence(DrainStart::new(reason));
                    state.events.push(Event::ChainDrainStarted(chain.view(), reason));
                    self.run(Job::Drain(DrainJob::Chain { chain, sequence }));
                }
                Effect::Drain { version, reason } => {
                    let Some(version) = state.live.get(&version).cloned() else {
                        continue;
                    };
                    version.set_state(VersionState::Draining);
                    let sequence = version.drain().start_drain_sequence(DrainStart::new(reason));
                    state.events.push(Event::DrainStarted(version.view(None), reason));
                    drained.push(Arc::clone(&version));
                    self.run(Job::Drain(DrainJob::Version { version, sequence }));
                }
            }
        }
        self.hurry(state, &drained);
    }

    fn create(&self, state: &State<C>, version: u64) -> Option<ListenerVersion<C>> {
        let record = state.set.get(version)?;
        let child = ChildOptions::default()
            .with_drain_type(record.asked.drain_type)
            .with_traffic_direction(record.asked.traffic_direction);
        let group = self.shared.tracker.group(&record.name, version);
        let family = state.family(&record.name);
        let drain = self.root.child(child);
        Some(ListenerVersion::new(record, drain, group, family))
    }

    /// Beyond the soft cap the oldest drains end earlier. None is forgotten, and none ends before the floor.
    fn hurry(&self, state: &mut State<C>, drained: &[Arc<ListenerVersion<C>>]) {
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
                state.events.push(Event::Hurried(version.view(None), deadline));
            }
        }
    }
}

impl<C: ListenerConfig> State<C> {
    /// What the living versions of a listener share; of a new one, something new.
    fn family(&self, name: &str) -> Arc<Family> {
        let named = self.set.names.get(name);
        let versions = named.map(|named| {
            named
                .draining
                .iter()
                .rev()
                .chain(&named.leaving)
                .chain(&named.active)
                .chain(&named.warming)
        });
        let live = versions.and_then(|mut versions| versions.find_map(|version| self.live.get(version)));
        live.map(|version| Arc::clone(version.family()))
            .unwrap_or_default()
    }

    fn activate(&mut self, version: u64, socket: &SocketKey) {
        let (Some(version), Some(slot)) = (self.live.get(&version), self.slots.get(socket)) else {
            return;
        };
        let first = slot.current().is_none();
        // Active before it is served: an accept that finds it must find it ready.
        version.set_state(VersionState::Active);
        if let Some(record) = self.set.get(version.number()) {
            slot.set_backlog(record.asked.socket_options.backlog);
        }
        slot.serve(Arc::clone(version));
        if first {
            match &mut self.held_back {
                Some(held_back) => held_back.push(Arc::clone(slot)),
                None => {
                    self.workers.retain(|worker| !worker.is_closed());
                    self.workers.iter().for_each(|worker| offer(worker, slot));
                }
            }
        }
    }

    /// No other process accepts any more: workers get what was held back.
    pub(crate) fn release(&mut self) {
        self.workers.retain(|worker| !worker.is_closed());
        for slot in self.held_back.take().unwrap_or_default() {
            self.workers.iter().for_each(|worker| offer(worker, &slot));
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
            slot.set_backlog(record.asked.socket_options.backlog);
            slot.serve(Arc::clone(&updated));
        }
        self.gone
            .extend(gone.into_iter().map(|chain| (chain.number(), chain)));
        self.unused.extend(self.live.insert(version, updated));
    }

    /// Writes down what has happened to a version.
    fn record(&mut self, version: u64, event: impl FnOnce(VersionView) -> Event) {
        self.events.extend(self.view(version).map(event));
    }

    /// Every version that is not reaped yet, oldest first.
    pub(crate) fn views(&self) -> impl Iterator<Item = VersionView> {
        self.set.iter().filter_map(|record| self.view(record.number))
    }

    pub(crate) fn view(&self, version: u64) -> Option<VersionView> {
        let live = self.live.get(&version)?;
        let accepting = self.set.get(version).filter(|record| record.accepting);
        let slot = accepting.and_then(|_| self.slots.get(live.socket()));
        Some(live.view(slot.map(|slot| slot.local().clone())))
    }
}

pub(crate) fn offer<C>(worker: &mpsc::UnboundedSender<Seat<C>>, slot: &Arc<Slot<C>>) {
    if let Some(seat) = slot.seat() {
        // A worker that is gone gives its seat back by dropping it.
        drop(worker.send(seat));
    }
}
