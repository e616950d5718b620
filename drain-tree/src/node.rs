//! A node of the tree: its signal, what runs at it, what is below it.
//!
//! Invariants:
//! 1. A drain flows down only; parents and siblings never learn of it.
//! 2. A node's signal starts at most once; the first event wins, a later one can only bring its deadline nearer.
//! 3. Whatever runs at a node runs at every node below it that it covers, also at children created later.
//! 4. Lock order: a node, then a run. No two nodes are locked at once. No waker and no user code is called under a lock.

use std::sync::{Arc, Weak};
use std::time::Instant;

use drain_signal::{
    DrainCompleted, DrainDirection, DrainEnd, DrainEvent, DrainSignal, DrainTrigger, DrainType, DrainWatch,
    Draining, WatchOptions,
};

use crate::callbacks::{Callback, Callbacks, tell};
use crate::health::Health;
use crate::member::{Unattended, is_open};
use crate::parent::ParentShutdownStart;
use crate::run::Run;
use crate::sync::{Mutex, MutexGuard, lock};
use crate::{DrainSettings, TrafficDirection};

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) signal: DrainSignal,
    pub(crate) drain_type: DrainType,
    pub(crate) traffic_direction: TrafficDirection,
    pub(crate) shared: Arc<Shared>,
    unattended: Arc<Unattended>,
    state: Mutex<State>,
}

/// What the whole tree has in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: DrainSettings,
    pub(crate) health: Health,
    pub(crate) parent_shutdown: ParentShutdownStart,
}

#[derive(Debug)]
pub(crate) struct State {
    drain: Drain,
    /// The runs that reached this node: they cover it or, if not, maybe something below it.
    pub(crate) joined: Vec<Joined>,
    children: Vec<Weak<Node>>,
    /// At how many children the gone ones are swept out.
    sweep_at: usize,
    pub(crate) callbacks: Callbacks,
}

/// A run as it is known at one node.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) run: Arc<Run>,
    /// The node's place among the run's members; `None` if its traffic is not covered.
    member: Option<usize>,
    /// Whether it was started here.
    origin: bool,
}

#[derive(Debug)]
enum Drain {
    Ready(DrainTrigger),
    Begun(Draining),
    /// Only while the trigger is being used, under the lock.
    Starting,
}

/// What is left to do, with no lock held, for a node that has joined a run.
#[must_use]
#[derive(Default)]
pub(crate) struct Joining {
    member: Option<(usize, Draining)>,
    callbacks: Vec<Callback>,
    children: Vec<Weak<Node>>,
}

impl Node {
    pub(crate) fn new(
        shared: Arc<Shared>,
        drain_type: DrainType,
        traffic_direction: TrafficDirection,
    ) -> Self {
        let (trigger, signal) = drain_signal::channel();
        let state = State {
            drain: Drain::Ready(trigger),
            joined: vec![],
            children: vec![],
            sweep_at: 8,
            callbacks: Callbacks::default(),
        };
        Self {
            signal,
            drain_type,
            traffic_direction,
            shared,
            unattended: Arc::new(Unattended::new()),
            state: Mutex::new(state),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Opens a watcher, and sees to it that whatever drains this node attends to it.
    pub(crate) fn watch(&self, options: WatchOptions) -> Result<DrainWatch, DrainCompleted> {
        if self.signal.is_draining() && self.unattended.any() {
            self.catch_up();
        }
        let watch = self.signal.watch_with(options)?;
        // Asked of the watch, whose count has just gone up: see `member`.
        if watch.is_draining() && self.unattended.any_after_opening() {
            self.attend();
        }
        Ok(watch)
    }

    /// A node left alone has stopped in time; a new watcher's slot lies between now and the end of the window.
    fn catch_up(&self) {
        let (draining, runs) = {
            let state = self.lock();
            let covering = state.joined.iter().filter(|joined| joined.member.is_some());
            let runs: Vec<_> = covering.map(|joined| Arc::clone(&joined.run)).collect();
            (state.draining(), runs)
        };
        if let (Some(draining), Some(now)) = (draining, runs.iter().map(|run| run.now()).max()) {
            draining.advance(now);
        }
    }

    fn attend(&self) {
        let members: Vec<_> = {
            let state = self.lock();
            let joined = state.joined.iter();
            joined
                .filter_map(|joined| Some((Arc::clone(&joined.run), joined.member?)))
                .collect()
        };
        for (run, member) in members {
            run.attend(member);
        }
    }

    /// Takes part in `run`. The nodes that are to be told next.
    pub(crate) fn join(&self, run: &Arc<Run>, now: Instant) -> Vec<Weak<Self>> {
        let joining = self.lock().join(self, run, false);
        joining.complete(run, now)
    }

    /// A new node below this one, which takes part in whatever runs here.
    pub(crate) fn adopt(&self, child: &Arc<Self>) {
        let runs: Vec<_> = {
            let mut state = self.lock();
            if state.children.len() >= state.sweep_at {
                state.children.retain(|child| child.strong_count() > 0);
                // Half of them may go before it is worth looking again: one look a child, on average.
                state.sweep_at = (state.children.len() * 2).max(8);
            }
            state.children.push(Arc::downgrade(child));
            state
                .joined
                .iter()
                .map(|joined| Arc::clone(&joined.run))
                .collect()
        };
        for run in runs {
            // It has no children yet, so nobody is to be told next.
            drop(child.join(&run, run.now()));
        }
        let (own, inherited) = (self.signal.event(), child.signal.event());
        if let (Some(own), Some(inherited), Some(deadline)) = (own, inherited, self.signal.deadline()) {
            // A nearer deadline of this node's drain is the child's too, but not that of a drain which does not cover it.
            if own.start == inherited.start {
                child.bring_forward(deadline);
            }
        }
    }

    /// The deadline of what drains here and below comes nearer.
    pub(crate) fn bring_forward(&self, deadline: Instant) {
        let mut below = self.bring_own_forward(deadline);
        while let Some(node) = below.pop() {
            if let Some(node) = node.upgrade() {
                below.extend(node.bring_own_forward(deadline));
            }
        }
    }

    /// The deadline of what drains at this node alone; the nodes below it.
    fn bring_own_forward(&self, deadline: Instant) -> Vec<Weak<Self>> {
        let runs: Vec<_> = {
            let state = self.lock();
            state
                .joined
                .iter()
                .map(|joined| (joined.origin, Arc::clone(&joined.run)))
                .collect()
        };
        for (origin, run) in runs {
            // Whoever joins later takes the run's deadline; where this is not its origin, nobody may be left to join.
            if origin && run.event.end == DrainEnd::Close {
                run.bring_forward(deadline);
            } else {
                run.reach(usize::MAX, run.now());
            }
        }
        let (draining, children) = {
            let state = self.lock();
            (state.draining(), state.children.clone())
        };
        if let Some(draining) = draining {
            draining.bring_forward(deadline);
        }
        children
    }

    pub(crate) fn open_watches(&self) -> usize {
        let mut open = self.signal.open_watches();
        let mut below = self.lock().children.clone();
        while let Some(node) = below.pop() {
            if let Some(node) = node.upgrade() {
                open += node.signal.open_watches();
                below.extend_from_slice(&node.lock().children);
            }
        }
        open
    }
}

impl State {
    fn draining(&self) -> Option<Draining> {
        match &self.drain {
            Drain::Begun(draining) => Some(draining.clone()),
            Drain::Ready(_) | Drain::Starting => None,
        }
    }

    /// The run that a start in `direction` that ends as `end` joins here.
    pub(crate) fn running(&self, direction: DrainDirection, end: DrainEnd) -> Option<&Arc<Run>> {
        let mut runs = self.joined.iter().map(|joined| &joined.run);
        runs.find(|run| run.covers(direction, end))
    }

    pub(crate) fn join(&mut self, node: &Node, run: &Arc<Run>, origin: bool) -> Joining {
        if self.joined.iter().any(|joined| Arc::ptr_eq(&joined.run, run)) {
            return Joining::default();
        }
        let covered = node.traffic_direction.is_covered_by(run.event.direction);
        let member = covered.then(|| {
            // Counted before the event is published: whoever opens a watcher from now on sees the one with the other.
            node.unattended.add();
            let draining = self.begin(&run.event);
            let index = run.admit(draining.clone(), Arc::clone(&node.unattended));
            (index, draining)
        });
        self.joined.push(Joined {
            run: Arc::clone(run),
            member: member.as_ref().map(|(index, _)| *index),
            origin,
        });
        Joining {
            member,
            callbacks: self.callbacks.take(run.event.direction),
            children: self.children.clone(),
        }
    }

    /// Begins the node's drain, unless it has begun. Under the lock: whoever could wait for it to begin or end has got no
    /// waker to its signal yet.
    fn begin(&mut self, event: &DrainEvent) -> Draining {
        let draining = match std::mem::replace(&mut self.drain, Drain::Starting) {
            Drain::Ready(trigger) => trigger.start(event.clone()),
            Drain::Begun(draining) => draining,
            Drain::Starting => unreachable!("the state is locked from the replacement to its end"),
        };
        self.drain = Drain::Begun(draining.clone());
        draining
    }
}

impl Joining {
    /// The nodes that are to be told next.
    pub(crate) fn complete(self, run: &Arc<Run>, now: Instant) -> Vec<Weak<Node>> {
        if let Some((index, draining)) = self.member {
            if run.event.direction == DrainDirection::All {
                // Nothing, unless a drain of inbound listeners runs here: then it becomes one of all connections.
                draining.widen();
            }
            if run.event.end == DrainEnd::Close {
                // Read after the event was published: a deadline brought forward since then finds this node begun.
                draining.bring_forward(run.deadline());
            }
            if run.is_over() {
                run.end_late(&draining);
            } else if is_open(&draining) {
                run.attend(index);
            }
        }
        tell(self.callbacks, run.remaining(now));
        self.children
    }
}
