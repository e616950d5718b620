//! Decides an update without changing anything: what each listener would become, and which sockets change hands.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

use crate::in_place;
use crate::record::Origin;
use crate::set::VersionSet;
use crate::update::Resource;
use crate::{Change, FieldError, ListenerConfig, ListenerReport, SocketKey, UpdateError};

/// What is to be done for one listener that is not refused.
pub(crate) enum Step<C> {
    /// Nothing, and why.
    Leave(Change),
    /// Its warming version, this one, goes; the active one stays.
    DropWarming(u64),
    /// The active version goes on; only filter chains differ.
    InPlace(Arc<C>),
    /// A new version, on a socket that is open by now.
    Take { config: Arc<C>, socket: SocketKey },
}

pub(crate) type Outcome<C> = Result<Step<C>, UpdateError>;

/// A decided update.
pub(crate) struct Decided<C> {
    pub(crate) steps: Vec<(Arc<str>, Outcome<C>)>,
    /// Sockets that a listener gives up, with the version that accepted there.
    pub(crate) released: HashMap<SocketKey, Option<u64>>,
    /// Sockets that belong to these listeners from now on.
    pub(crate) claimed: HashMap<SocketKey, Arc<str>>,
}

pub(crate) struct Plan<'a, C> {
    set: &'a VersionSet<C>,
    steps: Vec<(Arc<str>, Option<Outcome<C>>)>,
    released: HashMap<SocketKey, Option<u64>>,
    claimed: HashMap<SocketKey, Arc<str>>,
    /// Sockets opened for this update.
    fresh: HashSet<SocketKey>,
    /// Listeners that have not been decided yet, and the socket that they want.
    waiting: HashMap<Arc<str>, SocketKey>,
}

impl<'a, C: ListenerConfig> Plan<'a, C> {
    pub(crate) fn new(set: &'a VersionSet<C>, removed: &[Arc<str>]) -> Self {
        let mut plan = Self {
            set,
            steps: Vec::new(),
            released: HashMap::new(),
            claimed: HashMap::new(),
            fresh: HashSet::new(),
            waiting: HashMap::new(),
        };
        for name in removed {
            plan.release(name, Next::Gone);
        }
        plan
    }

    /// Decides every listener. One that wants an address which another is about to leave comes after it, whatever their order.
    pub(crate) fn decide(
        &mut self,
        origin: Origin,
        resources: Vec<Resource<C>>,
        bind: &mut impl FnMut(&SocketKey, &C) -> io::Result<()>,
    ) {
        let mut open: Vec<(usize, Arc<C>)> = Vec::new();
        let mut seen: HashSet<Arc<str>> = HashSet::new();
        for (index, resource) in resources.into_iter().enumerate() {
            let name: Arc<str> = match self.set.names.get_key_value(resource.name()) {
                Some((name, _)) => Arc::clone(name),
                None => resource.name().into(),
            };
            let outcome = match resource {
                _ if !seen.insert(Arc::clone(&name)) => Some(Err(UpdateError::DuplicateName {
                    listener: Arc::clone(&name),
                })),
                Resource::Refused { error, .. } => Some(Err(UpdateError::Invalid {
                    listener: Arc::clone(&name),
                    source: error,
                })),
                Resource::Config(config) => {
                    let outcome = self.without_address(origin, &name, &config);
                    if matches!(outcome, Some(Ok(Step::DropWarming(_) | Step::InPlace(_)))) {
                        self.release(&name, Next::ActiveStays);
                    }
                    if outcome.is_none() {
                        self.waiting
                            .insert(Arc::clone(&name), SocketKey::new(&name, config.address()));
                        open.push((index, config));
                    }
                    outcome
                }
            };
            self.steps.push((name, outcome));
        }
        let mut last_round = false;
        while !open.is_empty() {
            let before = open.len();
            open.retain(|(index, config)| {
                let name = Arc::clone(&self.steps[*index].0);
                let outcome = self.with_address(&name, config, last_round, bind);
                if outcome.is_some() {
                    self.waiting.remove(&name);
                    self.steps[*index].1 = outcome;
                }
                self.waiting.contains_key(&name)
            });
            last_round = open.len() == before;
        }
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.steps
            .iter()
            .any(|(_, outcome)| matches!(outcome, Some(Err(_))))
    }

    /// Of an atomic update nothing is taken: the report, and the sockets that were opened for it.
    pub(crate) fn refuse_all(self) -> (Vec<ListenerReport>, Vec<SocketKey>) {
        let listeners = self.steps.into_iter().map(|(name, outcome)| {
            let outcome = match outcome {
                Some(Err(error)) => Err(error),
                Some(Ok(Step::Leave(change))) => Ok(change),
                _ => Err(UpdateError::NotApplied {
                    listener: Arc::clone(&name),
                }),
            };
            ListenerReport { name, outcome }
        });
        (listeners.collect(), self.fresh.into_iter().collect())
    }

    pub(crate) fn finish(self) -> Decided<C> {
        let steps = self.steps.into_iter().map(|(name, outcome)| {
            let undecided = UpdateError::NotApplied {
                listener: Arc::clone(&name),
            };
            (name, outcome.unwrap_or(Err(undecided)))
        });
        Decided {
            steps: steps.collect(),
            released: self.released,
            claimed: self.claimed,
        }
    }

    /// What can be said before the address is looked at.
    fn without_address(&self, origin: Origin, name: &Arc<str>, config: &Arc<C>) -> Option<Outcome<C>> {
        let listener = || Arc::clone(name);
        let named = self.set.names.get(name);
        let active = named.and_then(|named| self.set.get(named.active?));
        let warming = named.and_then(|named| self.set.get(named.warming?));
        if name.is_empty() {
            let source = FieldError::new("name", "must not be empty");
            return Some(Err(UpdateError::Invalid {
                listener: listener(),
                source,
            }));
        }
        if self.set.is_stopped(config.traffic_direction()) {
            return Some(Ok(Step::Leave(Change::Stopped)));
        }
        if warming.is_some_and(|version| version.config.same_content(config)) {
            return Some(Ok(Step::Leave(Change::Unchanged)));
        }
        if active.is_some_and(|version| version.config.same_content(config)) {
            let unchanged = Step::Leave(Change::Unchanged);
            return Some(Ok(
                warming.map_or(unchanged, |version| Step::DropWarming(version.number))
            ));
        }
        let is_static = |version: &crate::VersionRecord<C>| version.origin == Origin::Static;
        if origin == Origin::Lds && active.or(warming).is_some_and(is_static) {
            return Some(Err(UpdateError::Static { listener: listener() }));
        }
        if let Err(source) = config.validate() {
            return Some(Err(UpdateError::Invalid {
                listener: listener(),
                source,
            }));
        }
        // One that has to warm first is told apart when it is warm.
        let in_place = !config.warms() && active.is_some_and(|active| in_place::applies(active, config));
        in_place.then(|| Ok(Step::InPlace(Arc::clone(config))))
    }

    /// Whether the listener can have the address that it wants; `None`: not yet, another one has to be decided first.
    fn with_address(
        &mut self,
        name: &Arc<str>,
        config: &Arc<C>,
        last_round: bool,
        bind: &mut impl FnMut(&SocketKey, &C) -> io::Result<()>,
    ) -> Option<Outcome<C>> {
        let socket = SocketKey::new(name, config.address());
        let conflict = |held_by: &Arc<str>| {
            Some(Err(UpdateError::AddressConflict {
                listener: Arc::clone(name),
                address: config.address().clone(),
                held_by: Arc::clone(held_by),
            }))
        };
        if let Some(other) = self.claimed.get(&socket).filter(|other| *other != name) {
            return conflict(other);
        }
        let owner = self.set.owners.get(&socket);
        if let Some(other) = owner.filter(|other| *other != name && !self.released.contains_key(&socket)) {
            let leaves = self.waiting.get(other).is_some_and(|wanted| *wanted != socket);
            return if leaves && !last_round {
                None
            } else {
                conflict(other)
            };
        }
        if let Some(field) = owner.and_then(|owner| self.field_that_stays(owner, config, &socket)) {
            return Some(Err(UpdateError::Invalid {
                listener: Arc::clone(name),
                source: FieldError::new(field, "cannot change while the address stays"),
            }));
        }
        if owner.is_none() && !self.fresh.contains(&socket) {
            if let Err(source) = bind(&socket, config) {
                let address = config.address().clone();
                return Some(Err(UpdateError::Bind {
                    listener: Arc::clone(name),
                    address,
                    source,
                }));
            }
            self.fresh.insert(socket.clone());
        }
        self.release(
            name,
            if config.warms() {
                Next::Warming(&socket)
            } else {
                Next::Active(&socket)
            },
        );
        self.claimed.insert(socket.clone(), Arc::clone(name));
        Some(Ok(Step::Take {
            config: Arc::clone(config),
            socket,
        }))
    }

    /// What `config` wants otherwise of sockets that are open, for `owner` so far. They stay open, with their queues, so it cannot be had.
    fn field_that_stays(&self, owner: &Arc<str>, config: &C, socket: &SocketKey) -> Option<&'static str> {
        let wanted = config.socket_options();
        let named = self.set.names.get(owner);
        let versions = named.map_or([None; 2], |named| [named.active, named.warming]);
        let mut there = versions
            .into_iter()
            .flatten()
            .filter_map(|version| self.set.get(version))
            .filter(|version| version.socket == *socket);
        there.find_map(|version| wanted.field_that_stays(&version.config.socket_options()))
    }

    /// The listener gives up the sockets that it does not need next.
    fn release(&mut self, name: &Arc<str>, next: Next<'_>) {
        let Some(named) = self.set.names.get(name) else {
            return;
        };
        let active = named
            .active
            .and_then(|version| self.set.get(version))
            .filter(|version| version.accepting);
        let warming = named.warming.and_then(|version| self.set.get(version));
        let kept = |socket: &SocketKey| {
            let is_active = || active.is_some_and(|active| active.socket == *socket);
            match next {
                Next::Gone => false,
                Next::Active(wanted) => wanted == socket,
                Next::Warming(wanted) => wanted == socket || is_active(),
                Next::ActiveStays => is_active(),
            }
        };
        // If both versions share a socket, the entry of the active one is the one that stays.
        for (version, last) in [(warming, false), (active, true)] {
            let Some(version) = version.filter(|version| !kept(&version.socket)) else {
                continue;
            };
            self.released
                .insert(version.socket.clone(), last.then_some(version.number));
        }
    }
}

/// What a listener is about to be, as far as its sockets are concerned.
#[derive(Clone, Copy)]
enum Next<'a> {
    Gone,
    Active(&'a SocketKey),
    Warming(&'a SocketKey),
    ActiveStays,
}
