//! The versions of all listeners: which one of a name accepts, which drain, and which address is
//! whose.
//!
//! Nothing here waits, opens or closes anything. An update is decided whole ([`plan`]), then taken
//! over in one go; what the outside has to do comes back as a list of [`Effect`]s in the order in
//! which they are safe.

mod chain_diff;
mod decision;
mod effect;
mod in_place;
mod life;
mod plan;
mod record;
mod state;
mod steps;
#[cfg(test)]
mod tests;

pub(crate) use decision::Wanted;
pub(crate) use effect::Effect;
pub(crate) use record::{Asked, ChainRecord, Origin, VersionRecord};
pub use state::VersionState;
pub(crate) use state::{InvalidTransition, VersionEvent};

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::io;
use std::sync::Arc;

use drain_tree::DrainDirection;

use crate::update::Scope;
use crate::{ListenerConfig, SocketKey, Update, UpdateReport};
use effect::Work;
use plan::Plan;
use record::Named;

/// The versions of all listeners. A state machine without sockets, time or threads: addresses are
/// opaque keys.
pub(crate) struct VersionSet<C> {
    pub(crate) next: u64,
    pub(crate) next_chain: u64,
    pub(crate) names: BTreeMap<Arc<str>, Named>,
    pub(crate) versions: BTreeMap<u64, VersionRecord<C>>,
    /// Filter chains that drain by themselves: their version went on without them.
    pub(crate) draining_chains: BTreeMap<u64, ChainRecord>,
    /// The sockets that are open.
    pub(crate) sockets: HashMap<SocketKey, Owned>,
    pub(crate) stopped: Option<DrainDirection>,
}

/// An open socket.
///
/// The server is always an active version: it drains only once it has another server after it, or
/// none because the socket closes; of every socket, if it has several.
#[derive(Debug)]
pub(crate) struct Owned {
    /// The listener whose update claimed it last.
    pub(crate) name: Arc<str>,
    /// The version that takes what comes: of another listener, if the owner's version there is
    /// still warming.
    pub(crate) server: Option<u64>,
}

impl<C> Default for VersionSet<C> {
    fn default() -> Self {
        Self {
            next: 1,
            next_chain: 1,
            names: BTreeMap::new(),
            versions: BTreeMap::new(),
            draining_chains: BTreeMap::new(),
            sockets: HashMap::new(),
            stopped: None,
        }
    }
}

impl<C> fmt::Debug for VersionSet<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VersionSet")
            .field("names", &self.names)
            .field("sockets", &self.sockets)
            .field("stopped", &self.stopped)
            .finish_non_exhaustive()
    }
}

impl<C: ListenerConfig> VersionSet<C> {
    /// An empty set. The first version is number 1.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The version with this number, unless it has been reaped.
    pub(crate) fn get(&self, version: u64) -> Option<&VersionRecord<C>> {
        self.versions.get(&version)
    }

    /// The version of `name` that is active.
    pub(crate) fn active(&self, name: &str) -> Option<&VersionRecord<C>> {
        self.get(self.names.get(name)?.active?)
    }

    /// Every version that is not reaped yet, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &VersionRecord<C>> {
        self.versions.values()
    }

    /// The version that takes what comes on this socket.
    pub(crate) fn server(&self, socket: &SocketKey) -> Option<u64> {
        self.sockets.get(socket)?.server
    }

    /// The draining versions of `name` that are too many if at most `max` may live, the active one
    /// included: oldest first.
    pub(crate) fn over_cap(&self, name: &str, max: usize) -> Vec<u64> {
        let Some(named) = self.names.get(name) else {
            return Vec::new();
        };
        let living =
            usize::from(named.active.is_some()) + named.leaving.len() + named.draining.len();
        named
            .draining
            .iter()
            .copied()
            .take(living.saturating_sub(max))
            .collect()
    }

    /// Takes an update. `bind` does to sockets what the decision needs beforehand; if it fails,
    /// just that listener is refused.
    ///
    /// In an atomic update that is refused, sockets opened by `bind` come back as
    /// [`Effect::Close`].
    pub(crate) fn apply(
        &mut self,
        update: Update<C>,
        mut bind: impl FnMut(&C, &Asked, Wanted<'_>) -> io::Result<()>,
    ) -> (UpdateReport, Vec<Effect>) {
        let Update {
            version_info,
            scope,
            atomic,
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
        if atomic && plan.is_refused() {
            let (listeners, fresh) = plan.refuse_all();
            let effects = fresh
                .into_iter()
                .map(|socket| Effect::Close { socket, last: None })
                .collect();
            let report = UpdateReport {
                version_info,
                listeners,
            };
            return (report, effects);
        }
        let decided = plan.finish();
        let mut work = Work::default();
        let kept: HashSet<&SocketKey> = decided.claimed.keys().collect();
        let left = decided
            .released
            .into_iter()
            .filter(|socket| !kept.contains(socket));
        let left: Vec<SocketKey> = left.collect();
        for (socket, name) in decided.claimed {
            // Another listener's socket stays open, with its queue and its server.
            let owned = self.sockets.entry(socket).or_insert_with(|| Owned {
                name: Arc::clone(&name),
                server: None,
            });
            owned.name = name;
        }
        let mut listeners = Vec::new();
        for (name, outcome) in decided.steps {
            let outcome =
                outcome.map(|step| self.commit(&name, step, origin, &version_info, &mut work));
            listeners.push((name, outcome));
        }
        for name in removed {
            let outcome = Ok(self.remove(&name, &mut work));
            listeners.push((name, outcome));
        }
        for socket in left {
            self.close(&socket, &mut work);
        }
        let report = UpdateReport {
            version_info,
            listeners,
        };
        (report, work.into_effects())
    }

    /// The names that this update removes by not naming them, or by naming them as removed.
    fn absent(&self, scope: &Scope, resources: &[crate::update::Resource<C>]) -> Vec<Arc<str>> {
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
                let mut named: HashSet<&str> =
                    resources.iter().map(|resource| resource.name()).collect();
                // One that is named twice is removed once.
                let known = removed
                    .iter()
                    .filter(|name| removable(name) && named.insert(name.as_str()));
                known
                    .filter_map(|name| Some(Arc::clone(self.names.get_key_value(name.as_str())?.0)))
                    .collect()
            }
            Scope::StateOfTheWorld => {
                let present: HashSet<&str> =
                    resources.iter().map(|resource| resource.name()).collect();
                let absent = self
                    .names
                    .keys()
                    .filter(|name| !present.contains(&***name) && removable(name));
                absent.cloned().collect()
            }
        }
    }
}
