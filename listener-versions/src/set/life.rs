//! What happens to versions between updates: one is warm or given up, one is drained, a direction
//! is stopped.

use std::sync::Arc;

use drain_tree::{DrainDirection, TrafficDirection};

use super::decision::Candidate;
use super::effect::Work;
use super::in_place;
use crate::{
    Effect, InvalidTransition, ListenerConfig, SocketKey, VersionEvent, VersionRecord, VersionSet,
    VersionState,
};

/// What becomes of a version that is ready.
#[derive(Debug)]
pub(crate) struct WhenWarm {
    version: u64,
    /// For each of its chains, whether the active version has it unchanged.
    kept: Option<Vec<bool>>,
}

impl<C: ListenerConfig> VersionSet<C> {
    /// What becomes of a version that was warming, now that it is ready: the chains that stay, if
    /// only filter chains differ from the active version, which then goes on with them; otherwise
    /// it takes over. The configurations are asked here, and nothing changes.
    ///
    /// # Errors
    ///
    /// [`InvalidTransition`] if the version is not warming (any more).
    pub(crate) fn when_warm(&self, version: u64) -> Result<WhenWarm, InvalidTransition> {
        let unknown = InvalidTransition {
            state: VersionState::Drained,
            event: VersionEvent::Activate,
        };
        let record = self.versions.get(&version).ok_or(unknown)?;
        record.state.on(VersionEvent::Activate)?;
        let active = self.active(&record.name);
        let kept = active.and_then(|active| in_place::diff(active, &Candidate::of(record)));
        Ok(WhenWarm { version, kept })
    }

    /// A version that was warming is ready: it accepts, and the one that it replaces drains. If
    /// only filter chains differ, the active one goes on with them instead, and the one that was
    /// warming is dropped.
    pub(crate) fn warmed(&mut self, WhenWarm { version, kept }: WhenWarm) -> Vec<Effect> {
        let Some(record) = self.versions.get(&version) else {
            return Vec::new();
        };
        let name = Arc::clone(&record.name);
        let mut work = Work::default();
        if let Some(kept) = kept {
            let (origin, version_info) = (record.origin, Arc::clone(&record.version_info));
            let candidate = Candidate::of(record);
            self.discard(&name, true, &mut work);
            self.update_in_place(&name, candidate, &kept, origin, &version_info, &mut work);
            return work.into_effects();
        }
        let old = self.activate(&name, version, &mut work);
        let left = old.and_then(|old| Some(Arc::clone(&self.versions.get(&old)?.asked)));
        for left in left.iter().flat_map(|asked| &asked.sockets) {
            self.close_unless_needed(&name, left, &mut work);
        }
        work.into_effects()
    }

    /// Gives up a version that is warming, for example because one of its sockets cannot be
    /// listened on: an active one goes on.
    ///
    /// # Errors
    ///
    /// [`InvalidTransition`] if the version is not warming (any more); nothing has changed then.
    pub(crate) fn abandon(&mut self, version: u64) -> Result<Vec<Effect>, InvalidTransition> {
        let unknown = InvalidTransition {
            state: VersionState::Drained,
            event: VersionEvent::Discard,
        };
        let record = self.versions.get(&version).ok_or(unknown)?;
        record.state.on(VersionEvent::Discard)?;
        let (name, asked) = (Arc::clone(&record.name), Arc::clone(&record.asked));
        let mut work = Work::default();
        self.discard(&name, false, &mut work);
        for socket in &asked.sockets {
            self.close_unless_needed(&name, socket, &mut work);
        }
        Ok(work.into_effects())
    }

    /// Nothing is left of a draining version: it is taken out of the set.
    ///
    /// # Errors
    ///
    /// [`InvalidTransition`] if the version does not drain, or has been reaped already.
    pub(crate) fn complete(&mut self, version: u64) -> Result<VersionRecord<C>, InvalidTransition> {
        let state = self
            .versions
            .get(&version)
            .map_or(VersionState::Drained, |record| record.state);
        let state = state.on(VersionEvent::Complete)?;
        // The state came out of this map, so the version is in it.
        let mut record = self.versions.remove(&version).ok_or(InvalidTransition {
            state: VersionState::Drained,
            event: VersionEvent::Complete,
        })?;
        record.state = state;
        if let Some(named) = self.names.get_mut(&record.name) {
            named.draining.retain(|draining| *draining != version);
        }
        self.forget_if_empty(&record.name);
        Ok(record)
    }

    /// Stops listening for this direction, for good: later updates of such listeners change
    /// nothing, as in Envoy.
    ///
    /// The versions that accepted until now are returned. None of them drains by it, unless it was
    /// superseded. Versions that were warming, for this direction or on a socket that closes, are
    /// dropped.
    pub(crate) fn stop(&mut self, direction: DrainDirection) -> (Vec<u64>, Vec<Effect>) {
        self.stopped = self.stopped.max(Some(direction));
        let mut work = Work::default();
        let mut stopped = Vec::new();
        let covered_by =
            |record: &VersionRecord<C>| covers(direction, record.asked.traffic_direction);
        let covered: Vec<u64> = self
            .versions
            .values()
            .filter(|record| match record.state {
                VersionState::Active => record.accepting() && covered_by(record),
                // A version that waits for a socket which closes is dropped with it.
                VersionState::Warming => {
                    let sockets = record.asked.sockets.iter();
                    let servers = sockets.filter_map(|socket| self.get(self.server(socket)?));
                    covered_by(record) || servers.into_iter().any(covered_by)
                }
                VersionState::Draining | VersionState::Drained => false,
            })
            .map(|record| record.number)
            .collect();
        for version in covered {
            let Some(record) = self.versions.get(&version) else {
                continue;
            };
            let (name, asked) = (Arc::clone(&record.name), Arc::clone(&record.asked));
            let is_warming = record.state == VersionState::Warming;
            let serves = |socket: &&SocketKey| record.serves.contains(*socket);
            let served: Vec<_> = asked.sockets.iter().filter(serves).collect();
            if is_warming {
                self.discard(&name, false, &mut work);
                for socket in &asked.sockets {
                    self.close_unless_needed(&name, socket, &mut work);
                }
            } else {
                stopped.push(version);
                for socket in served {
                    self.close(socket, &mut work);
                }
            }
        }
        (stopped, work.into_effects())
    }

    /// Whether listeners of this direction have been stopped.
    pub(crate) fn is_stopped(&self, direction: TrafficDirection) -> bool {
        self.stopped
            .is_some_and(|stopped| covers(stopped, direction))
    }
}

/// Whether a stop or drain of `direction` means a listener with this traffic direction.
fn covers(direction: DrainDirection, traffic: TrafficDirection) -> bool {
    traffic.is_covered_by(direction)
}
