//! Decides an update without changing anything: what each listener would become, and which sockets
//! change hands.
//!
//! For each listener of the update, the first line that is true:
//!
//! | the configuration | becomes |
//! | --- | --- |
//! | is named twice, or was refused by its reader; has no name | a refusal |
//! | is of a direction that was stopped | nothing ([`Change::Stopped`]) |
//! | has the content of the active or the warming version | nothing ([`Change::Unchanged`]) |
//! | comes by LDS and has the name of a static listener; breaks a rule | a refusal |
//! | differs from the active version in filter chains only, and does not warm | [`Step::InPlace`] |
//! | wants an address that another listener keeps, or that cannot be opened | a refusal |
//! | otherwise | a new version ([`Step::Take`]) |

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::Arc;

use super::decision::{Candidate, Decided, Outcome, Step, Wanted};
use super::in_place;
use super::record::{Asked, Origin};
use super::{VersionRecord, VersionSet};
use crate::live::Life;
use crate::update::Resource;
use crate::{Change, FieldError, ListenAddress, ListenerConfig, SocketKey, UpdateError};

mod conflict;
mod exchange;
mod sockets;
mod turns;
use conflict::Taken;
use sockets::Next;
use turns::Turns;

/// A listener's name, and what became of it.
type Reported = (Arc<str>, Result<Change, UpdateError>);

pub(crate) struct Plan<'a, C> {
    set: &'a VersionSet<C>,
    steps: Vec<(Arc<str>, Option<Outcome<C>>)>,
    /// Where the first step of a name stands.
    by_name: HashMap<Arc<str>, usize>,
    released: HashSet<SocketKey>,
    claimed: HashMap<SocketKey, Arc<str>>,
    /// Sockets opened for this update.
    fresh: HashSet<SocketKey>,
    /// Listeners that have not been decided yet, and the sockets that they want.
    waiting: HashMap<Arc<str>, Arc<Asked>>,
    /// How often a listener's addresses were looked at.
    #[cfg(test)]
    pub(super) looks: usize,
}

impl<'a, C: ListenerConfig> Plan<'a, C> {
    pub(crate) fn new(set: &'a VersionSet<C>, removed: &[Arc<str>]) -> Self {
        let mut plan = Self {
            set,
            steps: Vec::new(),
            by_name: HashMap::new(),
            released: HashSet::new(),
            claimed: HashMap::new(),
            fresh: HashSet::new(),
            waiting: HashMap::new(),
            #[cfg(test)]
            looks: 0,
        };
        for name in removed {
            plan.release(name, Next::Gone);
        }
        plan
    }

    /// Decides every listener. One that wants an address which another is about to leave comes
    /// after it, whatever their order. Those that wait for each other [exchange](Self::exchange)
    /// their addresses.
    ///
    /// Every configuration is asked everything before the first socket is opened.
    pub(crate) fn decide(
        &mut self,
        origin: Origin,
        resources: Vec<Resource<C>>,
        bind: &mut impl FnMut(&C, &Asked, Wanted<'_>) -> io::Result<()>,
    ) {
        let mut open: BTreeMap<usize, Candidate<C>> = BTreeMap::new();
        for (index, resource) in resources.into_iter().enumerate() {
            let name: Arc<str> = match self.set.names.get_key_value(resource.name()) {
                Some((name, _)) => Arc::clone(name),
                None => resource.name().into(),
            };
            let first = *self.by_name.entry(Arc::clone(&name)).or_insert(index);
            let outcome = match resource {
                _ if first != index => Some(Err(UpdateError::DuplicateName {
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
                            .insert(Arc::clone(&name), Arc::clone(&candidate.asked));
                        open.insert(index, candidate);
                        None
                    }
                },
            };
            self.steps.push((name, outcome));
        }
        let mut turns = Turns::default();
        turns.begin(open.keys().copied());
        while let Some(index) = turns.next() {
            let Some(candidate) = open.remove(&index) else {
                continue;
            };
            match self.with_addresses(index, candidate, bind) {
                Ok(outcome) => self.decided(index, outcome, &mut turns),
                Err(candidate) => {
                    let sockets = candidate.asked.sockets.iter().map(|socket| {
                        let owned = self.set.sockets.get(socket);
                        (socket, owned.map(|owned| &owned.name))
                    });
                    turns.wait(index, sockets);
                    open.insert(index, candidate);
                }
            }
        }
        if !open.is_empty() {
            self.exchange(open, turns, bind);
        }
    }

    fn decided(&mut self, index: usize, outcome: Outcome<C>, turns: &mut Turns) {
        let (name, step) = &mut self.steps[index];
        self.waiting.remove(name);
        let taken = match &outcome {
            Ok(Step::Take(candidate)) => &*candidate.asked.sockets,
            _ => &[],
        };
        turns.decided(name, taken);
        *step = Some(outcome);
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.steps
            .iter()
            .any(|(_, outcome)| matches!(outcome, Some(Err(_))))
    }

    /// Of an atomic update nothing is taken: the report, and the sockets that were opened for it.
    pub(crate) fn refuse_all(self) -> (Vec<Reported>, Vec<SocketKey>) {
        let listeners = self.steps.into_iter().map(|(name, outcome)| {
            let outcome = match outcome {
                Some(Err(error)) => Err(error),
                Some(Ok(Step::Leave(change))) => Ok(change),
                _ => Err(UpdateError::NotApplied {
                    listener: Arc::clone(&name),
                }),
            };
            (name, outcome)
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

    /// What can be said before the addresses are looked at; otherwise, the candidate for it.
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
        let mut addresses = std::iter::once(config.address()).chain(config.additional_addresses());
        if let Err(source) = addresses.try_for_each(ListenAddress::check) {
            return invalid(source);
        }
        let asked = Arc::new(Asked::of(&*config, name));
        if let Some(id) = asked.chain_twice() {
            return invalid(FieldError::new(
                "filter_chains",
                format!("{id:?} identifies two of them"),
            ));
        }
        if let Some(socket) = asked.socket_twice() {
            let message = format!("{socket} is an address of this listener twice");
            return invalid(FieldError::new("additional_addresses", message));
        }
        let life = Life::new();
        let mut candidate = Candidate {
            config,
            asked,
            life,
            is_built: false,
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

    /// Whether the listener can have the addresses that it wants. It comes back if another one has
    /// to be decided first.
    fn with_addresses(
        &mut self,
        index: usize,
        mut candidate: Candidate<C>,
        bind: &mut impl FnMut(&C, &Asked, Wanted<'_>) -> io::Result<()>,
    ) -> Result<Outcome<C>, Candidate<C>> {
        #[cfg(test)]
        {
            self.looks += 1;
        }
        let name = Arc::clone(&self.steps[index].0);
        let asked = Arc::clone(&candidate.asked);
        let mut has_to_wait = false;
        for socket in &asked.sockets {
            match self.taken_by(&name, socket) {
                None => {}
                Some(Taken { leaves: true, .. }) => has_to_wait = true,
                Some(taken) => return Ok(Err(self.conflict(&name, &asked, socket, taken.by))),
            }
        }
        if has_to_wait {
            return Err(candidate);
        }
        let possible =
            (self.build(&name, &mut candidate)).and_then(|()| self.open(&name, &candidate, bind));
        Ok(possible.map(|()| self.take(&name, candidate)))
    }

    /// What can be had of the open sockets that it wants, and the configuration's own code.
    fn build(&self, name: &Arc<str>, candidate: &mut Candidate<C>) -> Result<(), UpdateError> {
        let built = match self.field_that_stays(&candidate.asked) {
            Some(field) => Err(FieldError::new(
                field,
                "cannot change while the address stays",
            )),
            None => candidate.build(),
        };
        built.map_err(|source| UpdateError::Invalid {
            listener: Arc::clone(name),
            source,
        })
    }

    /// The sockets are the listener's from now on.
    fn take(&mut self, name: &Arc<str>, candidate: Candidate<C>) -> Step<C> {
        self.release(name, Next::of(&candidate.asked));
        let claimed = candidate.asked.sockets.iter();
        self.claimed
            .extend(claimed.map(|socket| (socket.clone(), Arc::clone(name))));
        Step::Take(candidate)
    }
}
