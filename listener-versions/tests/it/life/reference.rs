//! What an observer with a notebook knows: who accepts, which versions drain until when, and which
//! connection is on which version.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest_state_machine::ReferenceStateMachine;

/// The drain time, in milliseconds.
pub(crate) const DRAIN: u64 = 1_000;

/// One listener with a socket for all workers, one with a socket for each.
pub(crate) const NAMES: [&str; 2] = ["shared", "own"];

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// This listener is added, or gets other content.
    Update(usize),
    /// The same content again: nothing happens.
    Again(usize),
    Remove(usize),
    /// A client connects; the handler may panic over it.
    Connect {
        name: usize,
        panics: bool,
    },
    /// This client goes.
    HangUp(usize),
    /// An operator closes this connection.
    Force(usize),
    /// All are asked to leave and none is cut (Envoy's `/drain_listeners?graceful&skip_exit`).
    AdminDrain,
    Advance(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    ByClient,
    Forced,
    AtDeadline,
}

#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) version: u64,
    pub(crate) end: Option<End>,
}

#[derive(Clone, Debug)]
pub(crate) struct Notebook {
    pub(crate) now: u64,
    pub(crate) versions: u64,
    pub(crate) active: BTreeMap<usize, u64>,
    /// When what is left of a version is cut.
    pub(crate) draining: BTreeMap<u64, u64>,
    pub(crate) reaped: BTreeSet<u64>,
    pub(crate) connections: Vec<Connection>,
}

impl Notebook {
    pub(crate) fn open(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.connections.len()).filter(|index| self.connections[*index].end.is_none())
    }

    fn end(&mut self, index: usize, end: End) {
        self.connections[index].end = Some(end);
    }

    /// Cuts who is late, and reaps who is empty.
    fn settle(&mut self) {
        let draining = std::mem::take(&mut self.draining);
        for (version, deadline) in draining {
            let left = self
                .connections
                .iter_mut()
                .filter(|connection| connection.version == version && connection.end.is_none());
            let mut open = 0;
            for connection in left {
                if deadline <= self.now {
                    connection.end = Some(End::AtDeadline);
                } else {
                    open += 1;
                }
            }
            if open > 0 {
                self.draining.insert(version, deadline);
            } else {
                assert!(self.reaped.insert(version));
            }
        }
    }
}

impl ReferenceStateMachine for Notebook {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self {
            now: 0,
            versions: 0,
            active: BTreeMap::new(),
            draining: BTreeMap::new(),
            reaped: BTreeSet::new(),
            connections: Vec::new(),
        })
        .boxed()
    }

    fn transitions(state: &Self) -> BoxedStrategy<Step> {
        let name = 0..NAMES.len();
        let open: Vec<usize> = state.open().collect();
        let mut steps = vec![
            (4, name.clone().prop_map(Step::Update).boxed()),
            (1, name.clone().prop_map(Step::Again).boxed()),
            (1, name.clone().prop_map(Step::Remove).boxed()),
            (
                6,
                (name, prop::bool::weighted(0.1))
                    .prop_map(|(name, panics)| Step::Connect { name, panics })
                    .boxed(),
            ),
            (1, Just(Step::AdminDrain).boxed()),
            (
                3,
                (1..=(DRAIN / 100))
                    .prop_map(|tenths| Step::Advance(tenths * 100))
                    .boxed(),
            ),
        ];
        if !open.is_empty() {
            let one = prop::sample::select(open);
            steps.push((2, one.clone().prop_map(Step::HangUp).boxed()));
            steps.push((2, one.prop_map(Step::Force).boxed()));
        }
        prop::strategy::Union::new_weighted(steps).boxed()
    }

    fn preconditions(state: &Self, step: &Step) -> bool {
        match step {
            Step::Again(name) | Step::Remove(name) | Step::Connect { name, .. } => {
                state.active.contains_key(name)
            }
            Step::HangUp(index) | Step::Force(index) => state
                .connections
                .get(*index)
                .is_some_and(|connection| connection.end.is_none()),
            Step::Update(_) | Step::AdminDrain | Step::Advance(_) => true,
        }
    }

    fn apply(mut state: Self, step: &Step) -> Self {
        let deadline = state.now + DRAIN;
        match step {
            Step::Update(name) => {
                state.versions += 1;
                let old = state.active.insert(*name, state.versions);
                state.draining.extend(old.map(|old| (old, deadline)));
            }
            Step::Remove(name) => {
                let old = state.active.remove(name);
                state.draining.extend(old.map(|old| (old, deadline)));
            }
            Step::Connect {
                name,
                panics: false,
            } => state.connections.push(Connection {
                version: state.active[name],
                end: None,
            }),
            Step::HangUp(index) => state.end(*index, End::ByClient),
            Step::Force(index) => state.end(*index, End::Forced),
            // A little more than the step, so that no step ends at the very moment of a deadline.
            Step::Advance(time) => state.now += time + 2,
            Step::Again(_) | Step::AdminDrain | Step::Connect { .. } => {}
        }
        state.settle();
        state
    }
}
