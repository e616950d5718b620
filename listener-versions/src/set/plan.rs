//! Decides an update without changing anything: what each listener would become, and which sockets change hands.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

use super::decision::{Candidate, Decided, Outcome, Socket, Step};
use super::in_place;
use super::record::{Asked, Origin};
use super::{VersionRecord, VersionSet};
use crate::live::Life;
use crate::update::Resource;
use crate::{Change, FieldError, ListenerConfig, ListenerReport, SocketKey, UpdateError};

pub(crate) struct Plan<'a, C> {
    set: &'a VersionSet<C>,
    steps: Vec<(Arc<str>, Option<Outcome<C>>)>,
    released: HashSet<SocketKey>,
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
            released: HashSet::new(),
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
    ///
    /// Every configuration is asked everything before the first socket is opened.
    pub(crate) fn decide(
        &mut self,
        origin: Origin,
        resources: Vec<Resource<C>>,
        bind: &mut impl FnMut(&C, &Asked, Socket) -> io::Result<()>,
    ) {
        let mut open: Vec<(usize, Candidate<C>)> = Vec::new();
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
                Resource::Config(config) => match self.without_address(origin, &name, config) {
                    Ok(outcome) => {
                        if matches!(outcome, Ok(Step::DropWarming(_) | Step::InPlace(..))) {
                            self.release(&name, Next::ActiveStays);
                        }
                        Some(outcome)
                    }
                    Err(candidate) => {
                        self.waiting
                            .insert(Arc::clone(&name), candidate.asked.socket.clone());
                        open.push((index, candidate));
                        None
                    }
                },
            };
            self.steps.push((name, outcome));
        }
        let mut last_round = false;
        while !open.is_empty() {
            let before = open.len();
            for (index, candidate) in std::mem::take(&mut open) {
                let name = Arc::clone(&self.steps[index].0);
                match self.with_address(&name, candidate, last_round, bind) {
                    Ok(outcome) => {
                        self.waiting.remove(&name);
                        self.steps[index].1 = Some(outcome);
                    }
                    Err(candidate) => open.push((index, candidate)),
                }
            }
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

    /// What can be said before the address is looked at; otherwise, the candidate for it.
    fn without_address(
        &self,
        origin: Origin,
        name: &Arc<str>,
        config: Arc<C>,
    ) -> Result<Outcome<C>, Candidate<C>> {
        let listener = || Arc::clone(name);
        let invalid = |source| {
            let listener = listener();
            Ok(Err(UpdateError::Invalid { listener, source }))
        };
        let named = self.set.names.get(name);
        let active = named.and_then(|named| self.set.get(named.active?));
        let warming = named.and_then(|named| self.set.get(named.warming?));
        if name.is_empty() {
            return invalid(FieldError::new("name", "must not be empty"));
        }
        if self.set.is_stopped(config.traffic_direction()) {
            return Ok(Ok(Step::Leave(Change::Stopped)));
        }
        if warming.is_some_and(|version| version.config.same_content(&config)) {
            return Ok(Ok(Step::Leave(Change::Unchanged)));
        }
        if active.is_some_and(|version| version.config.same_content(&config)) {
            let unchanged = Step::Leave(Change::Unchanged);
            return Ok(Ok(
                warming.map_or(unchanged, |version| Step::DropWarming(version.number))
            ));
        }
        let is_static = |version: &VersionRecord<C>| version.origin == Origin::Static;
        if origin == Origin::Lds && active.or(warming).is_some_and(is_static) {
            return Ok(Err(UpdateError::Static {
                listener: listener(),
            }));
        }
        if let Err(source) = config.validate() {
            return invalid(source);
        }
        if let Err(source) = config.address().check() {
            return invalid(source);
        }
        let asked = Arc::new(Asked::of(&*config, name));
        if let Some(id) = asked.chain_twice() {
            return invalid(FieldError::new(
                "filter_chains",
                format!("{id:?} identifies two of them", id = id.as_str()),
            ));
        }
        let life = Life::new();
        let mut candidate = Candidate {
            config,
            asked,
            life,
            ready: None,
        };
        // Of a version that warms, this is decided when it is warm.
        let active = active.filter(|_| !candidate.asked.warms);
        match active.and_then(|active| in_place::diff(active, &candidate)) {
            Some(kept) => match candidate.build() {
                Ok(()) => Ok(Ok(Step::InPlace(candidate, kept))),
                Err(source) => invalid(source),
            },
            None => Err(candidate),
        }
    }

    /// Whether the listener can have the address that it wants. It comes back if another one has to be decided first.
    fn with_address(
        &mut self,
        name: &Arc<str>,
        mut candidate: Candidate<C>,
        last_round: bool,
        bind: &mut impl FnMut(&C, &Asked, Socket) -> io::Result<()>,
    ) -> Result<Outcome<C>, Candidate<C>> {
        let asked = Arc::clone(&candidate.asked);
        let socket = asked.socket.clone();
        let conflict = |held_by: &Arc<str>| {
            Ok(Err(UpdateError::AddressConflict {
                listener: Arc::clone(name),
                address: socket.address().clone(),
                held_by: Arc::clone(held_by),
            }))
        };
        if let Some(other) = self.claimed.get(&socket).filter(|other| *other != name) {
            return conflict(other);
        }
        let owner = self.set.sockets.get(&socket).map(|owned| &owned.name);
        if let Some(other) =
            owner.filter(|other| *other != name && !self.released.contains(&socket))
        {
            let leaves = self
                .waiting
                .get(other)
                .is_some_and(|wanted| *wanted != socket);
            return if leaves && !last_round {
                Err(candidate)
            } else {
                conflict(other)
            };
        }
        if let Some(field) = owner.and_then(|owner| self.field_that_stays(owner, &asked)) {
            return Ok(Err(UpdateError::Invalid {
                listener: Arc::clone(name),
                source: FieldError::new(field, "cannot change while the address stays"),
            }));
        }
        if let Err(source) = candidate.build() {
            return Ok(Err(UpdateError::Invalid {
                listener: Arc::clone(name),
                source,
            }));
        }
        let is_open = owner.is_some() || self.fresh.contains(&socket);
        // The socket of a version that warms does not listen yet.
        let listens = self
            .set
            .sockets
            .get(&socket)
            .is_some_and(|owned| owned.server.is_some());
        let wanted = match is_open {
            false => Some(Socket::New),
            true if !listens && !asked.warms => Some(Socket::Open),
            true => None,
        };
        if let Some(wanted) = wanted {
            if let Err(source) = bind(&candidate.config, &asked, wanted) {
                return Ok(Err(UpdateError::Bind {
                    listener: Arc::clone(name),
                    address: socket.address().clone(),
                    source: Arc::new(source),
                }));
            }
            if !is_open {
                self.fresh.insert(socket.clone());
            }
        }
        self.release(
            name,
            if asked.warms {
                Next::Warming(&socket)
            } else {
                Next::Active(&socket)
            },
        );
        self.claimed.insert(socket, Arc::clone(name));
        Ok(Ok(Step::Take(candidate)))
    }

    /// What the candidate wants otherwise of a socket that is open, for `owner` so far. It stays open, with its queue, so it cannot be had.
    fn field_that_stays(&self, owner: &Arc<str>, wanted: &Asked) -> Option<&'static str> {
        let named = self.set.names.get(owner);
        let versions = named.map_or([None; 2], |named| [named.active, named.warming]);
        let mut there = versions
            .into_iter()
            .flatten()
            .filter_map(|version| self.set.get(version))
            .filter(|version| version.socket == wanted.socket);
        there.find_map(|version| wanted.field_that_stays(&version.asked))
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
        let versions = [warming, active].into_iter().flatten();
        let left = versions.filter(|version| !kept(&version.socket));
        self.released
            .extend(left.map(|version| version.socket.clone()));
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
