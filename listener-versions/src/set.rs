//! The versions of all listeners: which one of a name accepts, which drain, and who holds which address.
//!
//! Nothing here waits, opens or closes anything. An update is decided whole ([`crate::plan`]), then taken over in one go; what the
//! outside has to do comes back as a list of [`Effect`]s in the order in which they are safe.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::io;
use std::sync::Arc;

use drain_tree::DrainDirection;

use crate::effect::Work;
use crate::plan::Plan;
use crate::record::{Named, Origin};
use crate::update::Scope;
use crate::{
    Applied, ChainRecord, Effect, ListenAddress, ListenerConfig, ListenerReport, SocketKey, Update,
    UpdateMode, UpdateReport, VersionRecord,
};

/// The versions of all listeners. A state machine without sockets, time or threads: addresses are opaque keys.
pub struct VersionSet<C> {
    pub(crate) next: u64,
    pub(crate) next_chain: u64,
    pub(crate) names: BTreeMap<Arc<str>, Named>,
    pub(crate) versions: BTreeMap<u64, VersionRecord<C>>,
    /// Filter chains that drain by themselves: their version went on without them.
    pub(crate) draining_chains: BTreeMap<u64, ChainRecord>,
    /// Which listener has which socket open.
    pub(crate) owners: HashMap<SocketKey, Arc<str>>,
    pub(crate) stopped: Option<DrainDirection>,
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
                let named: HashSet<&str> = resources.iter().map(|resource| resource.name()).collect();
                let known = removed
                    .iter()
                    .filter(|name| removable(name) && !named.contains(name.as_str()));
                known
                    .filter_map(|name| Some(Arc::clone(self.names.get_key_value(name.as_str())?.0)))
                    .collect()
            }
            Scope::StateOfTheWorld => {
                let present: HashSet<&str> = resources.iter().map(|resource| resource.name()).collect();
                let absent = self
                    .names
                    .keys()
                    .filter(|name| !present.contains(&***name) && removable(name));
                absent.cloned().collect()
            }
        }
    }
}
