//! Does to sockets and drains what the version set has decided, in its order. Where code runs that
//! is not ours, it is left for [later](super::later).

use std::sync::Arc;

use drain_tree::ChildOptions;

use super::driver::{Job, WarmJob};
use super::{Event, Inner, Later, State};
use crate::{Effect, ListenerConfig, ListenerVersion, VersionState};

impl<C: ListenerConfig> Inner<C> {
    /// Does to sockets and drains what the set has decided, in its order. The caller
    /// [does the rest](Inner::do_later).
    pub(crate) fn execute(&self, state: &mut State<C>, effects: Vec<Effect>) {
        let (mut entrances, mut leave_warming) = (Vec::new(), Vec::new());
        for effect in effects {
            if let Effect::Activate { version, .. } | Effect::Discard { version, .. } = &effect {
                let waited_for = state.warming.remove(version);
                leave_warming.extend(waited_for.map(Later::LeaveWarming));
            }
            match effect {
                Effect::Create { version } => {
                    if let Some(created) = self.create(state, version) {
                        let asked = state.set.get(version).map(|record| &record.asked);
                        if asked.is_some_and(|asked| asked.warms) {
                            let job = WarmJob::new(&created, true);
                            state.later.push(Later::Run(Job::Warm(job)));
                        }
                        state.live.insert(version, Arc::new(created));
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
                Effect::Discard { version, lives_on } => {
                    if let Some(discarded) = state.live.remove(&version) {
                        discarded.set_state(VersionState::Drained);
                        state.events.push(Event::Discarded(discarded.view()));
                        state.later.push(match lives_on {
                            true => Later::Unused(discarded),
                            false => Later::End(discarded),
                        });
                    }
                }
                Effect::Close { socket, last } => {
                    // The version's drain begins later than this, so the guard can still be had.
                    let mut last =
                        last.and_then(|version| state.live.get(&version)?.drain().watch().ok());
                    if let Some(listening) = state.listening.remove(&socket) {
                        // The other process that has it goes on; an update to come may want it
                        // again.
                        let shared = listening.close(&mut last);
                        state.inherited.put(listening.local().clone(), shared);
                        state.later.push(Later::Look(listening, last));
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
                    state.later.push(Later::DrainChain(chain, reason));
                }
                Effect::Drain { version, reason } => {
                    let Some(version) = state.live.get(&version).cloned() else {
                        continue;
                    };
                    version.set_state(VersionState::Draining);
                    state.later.push(Later::Drain(version, reason));
                }
            }
        }
        state.later.extend(leave_warming);
        self.set_entrances(state, &entrances);
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
}
