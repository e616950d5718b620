//! The single moves of which updates are made: a listener gets a version, loses one, gives up a socket.

use std::sync::Arc;

use drain_tree::DrainReason;

use crate::effect::Work;
use crate::plan::Step;
use crate::record::Origin;
use crate::{
    Change, Effect, ListenerConfig, SocketKey, VersionEvent, VersionRecord, VersionSet, VersionState,
};

impl<C: ListenerConfig> VersionSet<C> {
    /// Whether the socket was this listener's; then it is nobody's any more.
    pub(crate) fn give_up(&mut self, name: &Arc<str>, socket: &SocketKey) -> bool {
        let owned = self.owners.get(socket) == Some(name);
        if owned {
            self.owners.remove(socket);
        }
        owned
    }

    pub(crate) fn get_accepting(&self, name: &str) -> Option<&VersionRecord<C>> {
        self.active(name).filter(|record| record.accepting)
    }

    /// Carries out what the plan decided for one listener.
    pub(crate) fn commit(
        &mut self,
        name: &Arc<str>,
        step: Step<C>,
        origin: Origin,
        version_info: &Arc<str>,
        work: &mut Work,
    ) -> Change {
        let (config, socket) = match step {
            Step::Leave(change) => return change,
            Step::DropWarming(version) => {
                self.discard(name, work);
                return Change::WarmingDropped { version };
            }
            Step::InPlace(config) => {
                self.discard(name, work);
                let change = self.update_in_place(name, config, origin, version_info, work);
                // The plan has just seen the version that is active.
                return change.unwrap_or(Change::Unchanged);
            }
            Step::Take { config, socket } => (config, socket),
        };
        let version = self.next;
        self.next += 1;
        let warms = config.warms();
        self.discard(name, work);
        let record = VersionRecord {
            number: version,
            name: Arc::clone(name),
            chains: self.new_chains(version, &config),
            config,
            version_info: Arc::clone(version_info),
            state: VersionState::Warming,
            socket: socket.clone(),
            accepting: false,
            origin,
        };
        self.versions.insert(version, record);
        self.names.entry(Arc::clone(name)).or_default().warming = Some(version);
        work.begin.push(Effect::Create { version });
        if warms {
            return Change::Warming { version };
        }
        match self.activate(name, version, &socket, work) {
            Some(replaced) => Change::Modified { version, replaced },
            None => Change::Added { version },
        }
    }

    /// The warming version becomes the active one; the active one, if any, drains.
    pub(crate) fn activate(
        &mut self,
        name: &Arc<str>,
        version: u64,
        socket: &SocketKey,
        work: &mut Work,
    ) -> Option<u64> {
        let named = self.names.entry(Arc::clone(name)).or_default();
        named.warming = None;
        let old = named.active.replace(version);
        self.step(version, VersionEvent::Activate);
        work.begin.push(Effect::Activate {
            version,
            socket: socket.clone(),
            replaces: old,
        });
        if let Some(old) = old {
            self.drain(name, old, DrainReason::ListenerModify, work);
        }
        old
    }

    pub(crate) fn drain(&mut self, name: &Arc<str>, version: u64, reason: DrainReason, work: &mut Work) {
        self.step(version, VersionEvent::Drain);
        if let Some(named) = self.names.get_mut(name) {
            named.draining.push_back(version);
        }
        work.drain.push(Effect::Drain { version, reason });
    }

    pub(crate) fn remove(&mut self, name: &Arc<str>, work: &mut Work) -> Change {
        self.discard(name, work);
        let active = self.names.get_mut(name).and_then(|named| named.active.take());
        if let Some(version) = active {
            self.drain(name, version, DrainReason::ListenerRemove, work);
        }
        self.forget_if_empty(name);
        Change::Removed { version: active }
    }

    /// Drops the version of `name` that is warming, if there is one.
    pub(crate) fn discard(&mut self, name: &Arc<str>, work: &mut Work) -> Option<u64> {
        let version = self.names.get_mut(name)?.warming.take()?;
        self.step(version, VersionEvent::Discard);
        self.versions.remove(&version);
        work.begin.push(Effect::Discard { version });
        self.forget_if_empty(name);
        Some(version)
    }

    /// Moves a version along the table. The lists of [`Named`](crate::record::Named) say which events can come, so an illegal
    /// one changes nothing.
    fn step(&mut self, version: u64, event: VersionEvent) {
        if let Some(record) = self.versions.get_mut(&version) {
            let next = record.state.on(event);
            debug_assert!(next.is_ok(), "version {version}: {next:?}");
            record.state = next.unwrap_or(record.state);
            record.accepting = record.state == VersionState::Active;
        }
    }

    pub(crate) fn forget_if_empty(&mut self, name: &Arc<str>) {
        let empty = self.names.get(name).is_some_and(|named| {
            named.active.is_none() && named.warming.is_none() && named.draining.is_empty()
        });
        if empty {
            self.names.remove(name);
        }
    }
}
