//! Does to sockets and drains what the version set has decided, in its order.

use std::sync::Arc;

use drain_tree::ChildOptions;

use super::driver::{DrainJob, Job, WarmJob};
use super::{Event, Inner, State};
use crate::{Effect, ListenerConfig, ListenerVersion, VersionState};

impl<C: ListenerConfig> Inner<C> {
    /// Does to sockets and drains what the set has decided, in its order.
    pub(crate) fn execute(&self, state: &mut State<C>, effects: Vec<Effect>) {
        let mut drained = Vec::new();
        let mut entrances = Vec::new();
        let warms =
            |effect: &Effect| matches!(effect, Effect::Activate { .. } | Effect::Discard { .. });
        let is_one_warm = effects.iter().any(warms);
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
                    sockets,
                    replaces,
                } => {
                    let opened = sockets.iter().filter(|socket| {
                        let listening = state.listening.get(*socket);
                        socket.is_internal()
                            && listening.is_some_and(|listening| listening.current().is_none())
                    });
                    entrances.extend(opened.cloned());
                    state.activate(version, &sockets);
                    state.record(version, |view| Event::Activated(view, replaces));
                }
                Effect::Discard { version } => {
                    if let Some(discarded) = state.live.remove(&version) {
                        discarded.set_state(VersionState::Drained);
                        state.events.push(Event::Discarded(discarded.view()));
                        state.unused.push(discarded);
                    }
                }
                Effect::Close { socket, last } => {
                    // The version's drain begins later than this, so the guard can still be had.
                    let last =
                        last.and_then(|version| state.live.get(&version)?.drain().watch().ok());
                    if let Some(listening) = state.listening.remove(&socket) {
                        // The other process that has it goes on; an update to come may want it
                        // again.
                        state
                            .inherited
                            .put(listening.local().clone(), listening.close(last));
                    }
                    if socket.is_internal() {
                        entrances.push(socket);
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
                    let start = self.shared.options.drain_start(reason);
                    let sequence = chain.drain().start_drain_sequence(start);
                    state
                        .events
                        .push(Event::ChainDrainStarted(Arc::clone(&chain), reason));
                    self.run(Job::Drain(DrainJob::Chain { chain, sequence }));
                }
                Effect::Drain { version, reason } => {
                    let Some(version) = state.live.get(&version).cloned() else {
                        continue;
                    };
                    version.set_state(VersionState::Draining);
                    let start = self.shared.options.drain_start(reason);
                    let sequence = version.drain().start_drain_sequence(start);
                    state
                        .events
                        .push(Event::DrainStarted(version.view(), reason));
                    drained.push(Arc::clone(&version));
                    self.run(Job::Drain(DrainJob::Version { version, sequence }));
                }
            }
        }
        if is_one_warm {
            self.left_warming();
        }
        self.set_entrances(state, &entrances);
        self.hurry(state, &drained);
    }

    fn create(&self, state: &State<C>, version: u64) -> Option<ListenerVersion<C>> {
        let record = state.set.get(version)?;
        let child = ChildOptions::default()
            .with_drain_type(record.asked.drain_type)
            .with_traffic_direction(record.asked.traffic_direction);
        let group = self.shared.tracker.group(&record.name, version);
        let listener_conns = state.listener_conns(&record.name);
        let drain = self.root.child(child);
        Some(ListenerVersion::new(record, drain, group, listener_conns))
    }

    /// Beyond the soft cap the oldest drains end earlier. None is forgotten, and none ends before
    /// the floor.
    fn hurry(&self, state: &mut State<C>, drained: &[Arc<ListenerVersion<C>>]) {
        let Some(cap) = self.shared.options.cap() else {
            return;
        };
        for name in drained.iter().map(|version| version.name()) {
            let deadline = tokio::time::Instant::now().into_std() + self.shared.options.floor;
            for oldest in state.set.over_cap(name, cap) {
                let Some(version) = state.live.get(&oldest) else {
                    continue;
                };
                if version
                    .drain()
                    .deadline()
                    .is_some_and(|now| now <= deadline)
                {
                    continue;
                }
                version.drain().bring_forward(deadline);
                state.events.push(Event::Hurried(version.view(), deadline));
            }
        }
    }
}
