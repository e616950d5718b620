//! The single steps of which updates are made: a listener gets a version, loses one, and sockets
//! change their server or close.
//!
//! A version drains in one place only, [`VersionSet::drain`], and only once it is no longer the
//! server of any socket. So a socket's server is always an active version.

use std::collections::HashSet;
use std::sync::Arc;

use drain_tree::DrainReason;

use super::decision::{Candidate, Step};
use super::effect::Work;
use super::record::Origin;
use crate::{
    Change, Effect, ListenerConfig, SocketKey, VersionEvent, VersionRecord, VersionSet,
    VersionState,
};

impl<C: ListenerConfig> VersionSet<C> {
    /// Carries out what the plan decided for one listener.
    pub(crate) fn commit(
        &mut self,
        name: &Arc<str>,
        step: Step<C>,
        origin: Origin,
        version_info: &Arc<str>,
        work: &mut Work,
    ) -> Change {
        let Candidate {
            config,
            asked,
            life,
            ..
        } = match step {
            Step::Leave(change) => return change,
            Step::DropWarming(version) => {
                self.discard(name, false, work);
                return Change::WarmingDropped { version };
            }
            Step::InPlace(candidate, kept) => {
                self.discard(name, false, work);
                let change =
                    self.update_in_place(name, candidate, &kept, origin, version_info, work);
                // The plan has just seen the version that is active.
                return change.unwrap_or(Change::Unchanged);
            }
            Step::Take(candidate) => candidate,
        };
        let version = self.next;
        self.next += 1;
        self.discard(name, false, work);
        let warms = asked.warms;
        let record = VersionRecord {
            number: version,
            name: Arc::clone(name),
            chains: self.new_chains(version, &asked.chains),
            config,
            version_info: Arc::clone(version_info),
            state: VersionState::Warming,
            serves: HashSet::new(),
            superseded: None,
            origin,
            asked,
            life,
        };
        self.versions.insert(version, record);
        self.names.entry(Arc::clone(name)).or_default().warming = Some(version);
        work.begin.push(Effect::Create { version });
        if warms {
            return Change::Warming { version };
        }
        match self.activate(name, version, work) {
            Some(replaced) => Change::Modified { version, replaced },
            None => Change::Added { version },
        }
    }

    /// The warming version becomes the active one, and the server of its sockets; the active one,
    /// if any, is superseded.
    pub(crate) fn activate(
        &mut self,
        name: &Arc<str>,
        version: u64,
        work: &mut Work,
    ) -> Option<u64> {
        let asked = Arc::clone(&self.versions.get(&version)?.asked);
        let named = self.names.entry(Arc::clone(name)).or_default();
        named.warming = None;
        let old = named.active.replace(version);
        self.step(version, VersionEvent::Activate);
        work.begin.push(Effect::Activate {
            version,
            sockets: asked.sockets.clone(),
            replaces: old,
        });
        for socket in &asked.sockets {
            let Some(owned) = self.sockets.get_mut(socket) else {
                debug_assert!(
                    false,
                    "version {version} accepts on {socket}, which is closed"
                );
                continue;
            };
            let before = owned.server.replace(version);
            if let Some(record) = self.versions.get_mut(&version) {
                record.serves.insert(socket.clone());
            }
            if let Some(before) = before {
                self.serves_no_more(before, socket, work);
            }
        }
        if let Some(old) = old {
            self.supersede(old, DrainReason::ListenerModify, work);
        }
        old
    }

    /// The version is not its name's any more. It drains at once, or as soon as it is no longer the
    /// server of any socket.
    fn supersede(&mut self, version: u64, reason: DrainReason, work: &mut Work) {
        let Some(record) = self.versions.get_mut(&version) else {
            return;
        };
        record.superseded = Some(reason);
        if !record.accepting() {
            return self.drain(version, reason, work);
        }
        if let Some(named) = self.names.get_mut(&record.name) {
            named.leaving.push(version);
        }
    }

    /// The version is no longer the server of this socket.
    fn serves_no_more(&mut self, version: u64, socket: &SocketKey, work: &mut Work) {
        let Some(record) = self.versions.get_mut(&version) else {
            return;
        };
        record.serves.remove(socket);
        if let Some(reason) = record.superseded.filter(|_| record.serves.is_empty()) {
            self.drain(version, reason, work);
        }
    }

    fn drain(&mut self, version: u64, reason: DrainReason, work: &mut Work) {
        self.step(version, VersionEvent::Drain);
        let name = self.versions.get(&version).map(|record| &record.name);
        if let Some(named) = name.and_then(|name| self.names.get_mut(name)) {
            named.leaving.retain(|leaving| *leaving != version);
            let at = named
                .draining
                .partition_point(|draining| *draining < version);
            named.draining.insert(at, version);
        }
        work.drain.push(Effect::Drain { version, reason });
    }

    /// No listener has the socket any more: it closes.
    pub(crate) fn close(&mut self, socket: &SocketKey, work: &mut Work) {
        let Some(owned) = self.sockets.remove(socket) else {
            return;
        };
        work.close.push(Effect::Close {
            socket: socket.clone(),
            last: owned.server,
        });
        if let Some(server) = owned.server {
            self.serves_no_more(server, socket, work);
        }
    }

    /// Closes the socket if it is this listener's and the listener has no version left that needs
    /// it.
    pub(crate) fn close_unless_needed(
        &mut self,
        name: &Arc<str>,
        socket: &SocketKey,
        work: &mut Work,
    ) {
        let is_owned = self
            .sockets
            .get(socket)
            .is_some_and(|owned| owned.name == *name);
        let named = self.names.get(name);
        let versions = named.map_or([None; 2], |named| [named.active, named.warming]);
        let mut versions = versions
            .into_iter()
            .flatten()
            .filter_map(|version| self.get(version));
        let is_needed = versions.any(|version| {
            version.serves.contains(socket)
                || version.state == VersionState::Warming && version.asked.sockets.contains(socket)
        });
        if is_owned && !is_needed {
            self.close(socket, work);
        }
    }

    pub(crate) fn remove(&mut self, name: &Arc<str>, work: &mut Work) -> Change {
        self.discard(name, false, work);
        let active = self
            .names
            .get_mut(name)
            .and_then(|named| named.active.take());
        if let Some(version) = active {
            self.supersede(version, DrainReason::ListenerRemove, work);
        }
        self.forget_if_empty(name);
        Change::Removed { version: active }
    }

    /// Drops the version of `name` that is warming, if there is one. `lives_on`: the active version
    /// goes on with its configuration.
    pub(crate) fn discard(
        &mut self,
        name: &Arc<str>,
        lives_on: bool,
        work: &mut Work,
    ) -> Option<u64> {
        let version = self.names.get_mut(name)?.warming.take()?;
        self.step(version, VersionEvent::Discard);
        self.versions.remove(&version);
        work.begin.push(Effect::Discard { version, lives_on });
        self.forget_if_empty(name);
        Some(version)
    }

    /// A version takes a step of the table. The lists of [`Named`](super::record::Named) say which
    /// events can come, so an illegal one changes nothing.
    fn step(&mut self, version: u64, event: VersionEvent) {
        if let Some(record) = self.versions.get_mut(&version) {
            let next = record.state.on(event);
            debug_assert!(next.is_ok(), "version {version}: {next:?}");
            record.state = next.unwrap_or(record.state);
        }
    }

    pub(crate) fn forget_if_empty(&mut self, name: &Arc<str>) {
        let empty = self.names.get(name).is_some_and(|named| {
            named.active.is_none()
                && named.warming.is_none()
                && named.leaving.is_empty()
                && named.draining.is_empty()
        });
        if empty {
            self.names.remove(name);
        }
    }
}
