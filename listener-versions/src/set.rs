//! The versions of all listeners: which one of a name accepts, which drain, and who holds which address.
//!
//! Nothing here waits, opens or closes anything. An update is decided whole ([`crate::plan`]), then taken over in one go; what the
//! outside has to do comes back as a list of [`Effect`]s in the order in which they are safe.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::sync::Arc;

use drain_tree::{DrainDirection, DrainReason, TrafficDirection};

use crate::effect::Work;
use crate::in_place;
use crate::plan::{Plan, Step};
use crate::record::{Named, Origin};
use crate::update::Scope;
use crate::{
    Applied, ChainRecord, Change, Effect, InvalidTransition, ListenAddress, ListenerConfig, ListenerReport,
    SocketKey, Stopped, Update, UpdateMode, UpdateReport, VersionEvent, VersionRecord, VersionState,
};

/// The versions of all listeners. A state machine without sockets, time or threads: addresses are opaque keys.
pub struct VersionSet<C> {
    next: u64,
    pub(crate) next_chain: u64,
    pub(crate) names: BTreeMap<Arc<str>, Named>,
    pub(crate) versions: BTreeMap<u64, VersionRecord<C>>,
    /// Filter chains that drain by themselves: their version went on without them.
    pub(crate) draining_chains: BTreeMap<u64, ChainRecord>,
    /// Which listener has which socket open.
    pub(crate) owners: HashMap<SocketKey, Arc<str>>,
    stopped: Option<DrainDirection>,
}

impl<C> Default for VersionSet<C> {
    fn default() -> Self {
        Self {
            next: 1,
            next_chain: 1,
            names: BTreeMap::new(),
            versions: BTreeMap::new(),
            draining_chains: BTreeMap::new(),
            owners: HashMap::new(),
            stopped: None,
        }
    }
}

impl<C> fmt::Debug for VersionSet<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VersionSet")
            .field("names", &self.names)
            .field("owners", &self.owners)
            .field("stopped", &self.stopped)
            .finish_non_exhaustive()
    }
}

impl<C: ListenerConfig> VersionSet<C> {
    /// An empty set. The first version is number 1.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The version with this number, unless it has been reaped.
    #[must_use]
    pub fn get(&self, version: u64) -> Option<&VersionRecord<C>> {
        self.versions.get(&version)
    }

    /// The version of `name` that is active.
    #[must_use]
    pub fn active(&self, name: &str) -> Option<&VersionRecord<C>> {
        self.get(self.names.get(name)?.active?)
    }

    /// Every version that is not reaped yet, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &VersionRecord<C>> {
        self.versions.values()
    }

    /// How many versions are not reaped yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.versions.len()
    }

    /// Whether there is no version at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    /// The listener that has the socket for `address` open.
    #[must_use]
    pub fn holder(&self, name: &Arc<str>, address: &ListenAddress) -> Option<&str> {
        self.owners
            .get(&SocketKey::new(name, address))
            .map(|name| &**name)
    }

    /// The draining versions of `name` that are too many if at most `max` may live, the active one included: oldest first.
    #[must_use]
    pub fn over_cap(&self, name: &str, max: usize) -> Vec<u64> {
        let Some(named) = self.names.get(name) else {
            return Vec::new();
        };
        let living = usize::from(named.active.is_some()) + named.draining.len();
        named
            .draining
            .iter()
            .copied()
            .take(living.saturating_sub(max))
            .collect()
    }

    /// Takes an update. `bind` opens a socket that is not open yet; if it fails, just that listener is refused.
    ///
    /// In an atomic update that is refused, sockets opened by `bind` come back as [`Effect::Close`].
    pub fn apply(
        &mut self,
        update: Update<C>,
        mut bind: impl FnMut(&SocketKey, &C) -> io::Result<()>,
    ) -> Applied {
        let Update {
            version_info,
            scope,
            mode,
            resources,
        } = update;
        let origin = if scope == Scope::Static {
            Origin::Static
        } else {
            Origin::Lds
        };
        let removed = self.absent(&scope, &resources);
        let mut plan = Plan::new(self, &removed);
        plan.decide(origin, resources, &mut bind);
        if mode == UpdateMode::Atomic && plan.is_refused() {
            let (listeners, fresh) = plan.refuse_all();
            let effects = fresh
                .into_iter()
                .map(|socket| Effect::Close { socket, last: None })
                .collect();
            return Applied {
                report: UpdateReport {
                    version_info,
                    listeners,
                },
                effects,
            };
        }
        let decided = plan.finish();
        let mut work = Work::default();
        let mut listeners = Vec::new();
        for (name, outcome) in decided.steps {
            let outcome = outcome.map(|step| self.commit(&name, step, origin, &version_info, &mut work));
            listeners.push(ListenerReport { name, outcome });
        }
        for name in removed {
            let outcome = Ok(self.remove(&name, &mut work));
            listeners.push(ListenerReport { name, outcome });
        }
        for (socket, last) in decided.released {
            // A socket that another listener of this update has taken over stays open, with its queue.
            if !decided.claimed.contains_key(&socket) {
                self.owners.remove(&socket);
                work.close.push(Effect::Close { socket, last });
            }
        }
        self.owners.extend(decided.claimed);
        Applied {
            report: UpdateReport {
                version_info,
                listeners,
            },
            effects: work.into_effects(),
        }
    }

    /// A version that was warming is ready: it accepts, and the one that it replaces drains. If only filter chains differ, the active
    /// one goes on with them instead, and the one that was warming is dropped.
    ///
    /// # Errors
    ///
    /// [`InvalidTransition`] if the version is not warming (any more); nothing has changed then.
    pub fn warmed(&mut self, version: u64) -> Result<Vec<Effect>, InvalidTransition> {
        let unknown = InvalidTransition {
            state: VersionState::Drained,
            event: VersionEvent::Activate,
        };
        let record = self.versions.get(&version).ok_or(unknown)?;
        record.state.on(VersionEvent::Activate)?;
        let (name, socket) = (Arc::clone(&record.name), record.socket.clone());
        let mut work = Work::default();
        if self
            .active(&name)
            .is_some_and(|active| in_place::applies(active, &record.config))
        {
            let (config, origin) = (Arc::clone(&record.config), record.origin);
            let version_info = Arc::clone(&record.version_info);
            self.discard(&name, &mut work);
            self.update_in_place(&name, config, origin, &version_info, &mut work);
            return Ok(work.into_effects());
        }
        let old = self.activate(&name, version, &socket, &mut work);
        let left = old
            .and_then(|old| Some(self.versions.get(&old)?.socket.clone()))
            .filter(|left| *left != socket);
        if let Some(left) = left.filter(|left| self.give_up(&name, left)) {
            work.close.push(Effect::Close {
                socket: left,
                last: old,
            });
        }
        Ok(work.into_effects())
    }

    /// Gives up a version that is warming, for example because its socket cannot be listened on: an active one goes on.
    ///
    /// # Errors
    ///
    /// [`InvalidTransition`] if the version is not warming (any more); nothing has changed then.
    pub fn abandon(&mut self, version: u64) -> Result<Vec<Effect>, InvalidTransition> {
        let unknown = InvalidTransition {
            state: VersionState::Drained,
            event: VersionEvent::Discard,
        };
        let record = self.versions.get(&version).ok_or(unknown)?;
        record.state.on(VersionEvent::Discard)?;
        let (name, socket) = (Arc::clone(&record.name), record.socket.clone());
        let mut work = Work::default();
        self.discard(&name, &mut work);
        let shared = self
            .get_accepting(&name)
            .is_some_and(|active| active.socket == socket);
        if !shared && self.give_up(&name, &socket) {
            work.close.push(Effect::Close { socket, last: None });
        }
        Ok(work.into_effects())
    }

    /// Nothing is left of a draining version: it is taken out of the set.
    ///
    /// # Errors
    ///
    /// [`InvalidTransition`] if the version does not drain, or has been reaped already.
    pub fn complete(&mut self, version: u64) -> Result<VersionRecord<C>, InvalidTransition> {
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

    /// Stops listening for this direction, for good: later updates of such listeners change nothing, as in Envoy.
    ///
    /// Nothing drains by it. Versions that were warming, for this direction or on a socket that closes, are dropped.
    pub fn stop(&mut self, direction: DrainDirection) -> Stopped {
        self.stopped = self.stopped.max(Some(direction));
        let mut work = Work::default();
        let mut stopped = Vec::new();
        let covered_by = |record: &VersionRecord<C>| covers(direction, record.config.traffic_direction());
        let covered: Vec<u64> = self
            .versions
            .values()
            .filter(|record| match record.state {
                VersionState::Active => record.accepting && covered_by(record),
                // A version that waits for a socket which closes is dropped with it.
                VersionState::Warming => {
                    let active = self
                        .get_accepting(&record.name)
                        .filter(|active| active.socket == record.socket);
                    covered_by(record) || active.is_some_and(covered_by)
                }
                VersionState::Draining | VersionState::Drained => false,
            })
            .map(|record| record.number)
            .collect();
        for version in covered {
            let Some(record) = self.versions.get_mut(&version) else {
                continue;
            };
            let (name, socket) = (Arc::clone(&record.name), record.socket.clone());
            let accepted = std::mem::replace(&mut record.accepting, false);
            if accepted {
                stopped.push(version);
            } else {
                self.discard(&name, &mut work);
            }
            let shared = self
                .get_accepting(&name)
                .is_some_and(|other| other.socket == socket);
            if !shared && self.give_up(&name, &socket) {
                work.close.push(Effect::Close {
                    socket,
                    last: accepted.then_some(version),
                });
            }
        }
        Stopped {
            versions: stopped,
            effects: work.into_effects(),
        }
    }

    /// Whether listeners of this direction have been stopped.
    #[must_use]
    pub fn is_stopped(&self, direction: TrafficDirection) -> bool {
        self.stopped.is_some_and(|stopped| covers(stopped, direction))
    }

    /// Whether the socket was this listener's; then it is nobody's any more.
    fn give_up(&mut self, name: &Arc<str>, socket: &SocketKey) -> bool {
        let owned = self.owners.get(socket) == Some(name);
        if owned {
            self.owners.remove(socket);
        }
        owned
    }

    fn get_accepting(&self, name: &str) -> Option<&VersionRecord<C>> {
        self.active(name).filter(|record| record.accepting)
    }

    /// The names that this update removes by not naming them, or by naming them as removed.
    fn absent(&self, scope: &Scope, resources: &[crate::update::Resource<C>]) -> Vec<Arc<str>> {
        let named = |name: &str| resources.iter().any(|resource| resource.name() == name);
        let removable = |name: &str| {
            let newest = self
                .names
                .get(name)
                .and_then(|named| named.active.or(named.warming));
            newest
                .and_then(|version| self.get(version))
                .is_some_and(|record| record.origin == Origin::Lds)
        };
        match scope {
            Scope::Static => Vec::new(),
            Scope::Delta { removed } => {
                let known = removed.iter().filter(|name| removable(name) && !named(name));
                known
                    .filter_map(|name| Some(Arc::clone(self.names.get_key_value(name.as_str())?.0)))
                    .collect()
            }
            Scope::StateOfTheWorld => {
                let present: std::collections::HashSet<&str> =
                    resources.iter().map(|resource| resource.name()).collect();
                let absent = self
                    .names
                    .keys()
                    .filter(|name| !present.contains(&***name) && removable(name));
                absent.cloned().collect()
            }
        }
    }

    /// Carries out what the plan decided for one listener.
    fn commit(
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
    fn activate(
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

    fn drain(&mut self, name: &Arc<str>, version: u64, reason: DrainReason, work: &mut Work) {
        self.step(version, VersionEvent::Drain);
        if let Some(named) = self.names.get_mut(name) {
            named.draining.push_back(version);
        }
        work.drain.push(Effect::Drain { version, reason });
    }

    fn remove(&mut self, name: &Arc<str>, work: &mut Work) -> Change {
        self.discard(name, work);
        let active = self.names.get_mut(name).and_then(|named| named.active.take());
        if let Some(version) = active {
            self.drain(name, version, DrainReason::ListenerRemove, work);
        }
        self.forget_if_empty(name);
        Change::Removed { version: active }
    }

    /// Drops the version of `name` that is warming, if there is one.
    fn discard(&mut self, name: &Arc<str>, work: &mut Work) -> Option<u64> {
        let version = self.names.get_mut(name)?.warming.take()?;
        self.step(version, VersionEvent::Discard);
        self.versions.remove(&version);
        work.begin.push(Effect::Discard { version });
        self.forget_if_empty(name);
        Some(version)
    }

    /// Moves a version along the table. The lists of [`Named`] say which events can come, so an illegal one changes nothing.
    fn step(&mut self, version: u64, event: VersionEvent) {
        if let Some(record) = self.versions.get_mut(&version) {
            let next = record.state.on(event);
            debug_assert!(next.is_ok(), "version {version}: {next:?}");
            record.state = next.unwrap_or(record.state);
            record.accepting = record.state == VersionState::Active;
        }
    }

    fn forget_if_empty(&mut self, name: &Arc<str>) {
        let empty = self.names.get(name).is_some_and(|named| {
            named.active.is_none() && named.warming.is_none() && named.draining.is_empty()
        });
        if empty {
            self.names.remove(name);
        }
    }
}

/// Whether a stop or drain of `direction` means a listener with this traffic direction.
fn covers(direction: DrainDirection, traffic: TrafficDirection) -> bool {
    traffic.is_covered_by(direction)
}
