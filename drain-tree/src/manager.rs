//! Drain managers in a tree: root, listeners, filter chains, HTTP connection managers.
//!
//! Invariants:
//! 1. A drain flows down only; parents and siblings never learn of it.
//! 2. A node's signal starts at most once; the first event wins, a later one can only bring its deadline nearer.
//! 3. Whatever runs at a node runs at every node below it that it covers, also at children created later.
//! 4. Lock order: a node's state before its children's states, before a sequence's members. No waker and no user code
//!    is called with a node's state locked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use drain_signal::{
    DrainCompleted, DrainDirection, DrainEnd, DrainEvent, DrainSignal, DrainState, DrainTrigger, DrainType,
    DrainWatch, Draining, WatchOptions,
};

use crate::health::{Decision, Health};
use crate::sequence::{DrainSequence, Run};
use crate::{ChildOptions, DrainSettings, DrainStart, TrafficDirection};

/// A node of the drain hierarchy: Envoy's drain manager.
///
/// ```text
///                   root
///            ┌───────┴───────┐
///        listener-1      listener-2
///            │        ┌──────┴──────┐
///      filter-chain  ...      filter-chain ── HCM
/// ```
///
/// Cheap to clone; clones are the same node. Dropping the last clone of a parent drains nothing: its children go on and
/// can be drained and have children themselves.
#[derive(Debug, Clone)]
pub struct DrainManager {
    node: Arc<Node>,
}

#[derive(Debug)]
struct Node {
    signal: DrainSignal,
    drain_type: DrainType,
    traffic_direction: TrafficDirection,
    shared: Arc<Shared>,
    state: Mutex<State>,
}

/// What the whole tree has in common.
#[derive(Debug)]
struct Shared {
    settings: DrainSettings,
    health: Health,
}

#[derive(Debug)]
struct State {
    drain: Drain,
    /// The sequences that cover this node or, if it is not covered itself, something below it.
    runs: Vec<Arc<Run>>,
    children: Vec<Weak<Node>>,
}

#[derive(Debug)]
enum Drain {
    Ready(DrainTrigger),
    Begun(Draining),
    /// Only while the trigger is being used, under the lock.
    Starting,
}

impl DrainManager {
    /// The root of a new tree: the server.
    pub fn root(settings: DrainSettings) -> Self {
        let shared = Arc::new(Shared {
            settings,
            health: Health::default(),
        });
        Self {
            node: Arc::new(Node::new(
                shared,
                DrainType::Default,
                TrafficDirection::Unspecified,
            )),
        }
    }

    /// A new node below this one. What is running here runs there too, from the same start.
    pub fn child(&self, options: ChildOptions) -> Self {
        let parent = &self.node;
        let drain_type = options.drain_type.unwrap_or(parent.drain_type);
        let traffic_direction = options.traffic_direction.unwrap_or(parent.traffic_direction);
        let child = Arc::new(Node::new(
            Arc::clone(&parent.shared),
            drain_type,
            traffic_direction,
        ));
        let mut state = parent.lock();
        state.children.retain(|child| child.strong_count() > 0);
        state.children.push(Arc::downgrade(&child));
        for run in &state.runs {
            child.join(run);
        }
        let runs = state.runs.clone();
        drop(state);
        runs.iter().for_each(|run| run.wake());
        Self { node: child }
    }

    /// Opens a connection's watcher at this node.
    ///
    /// # Errors
    ///
    /// [`DrainCompleted`] once a drain that covers this node is completed.
    pub fn watch(&self) -> Result<DrainWatch, DrainCompleted> {
        self.node.signal.watch()
    }

    /// Opens a connection's watcher with a place or a `drain_timeout` of its own.
    ///
    /// # Errors
    ///
    /// [`DrainCompleted`] once a drain that covers this node is completed.
    pub fn watch_with(&self, options: WatchOptions) -> Result<DrainWatch, DrainCompleted> {
        self.node.signal.watch_with(options)
    }

    /// The full answer for a connection of this node: its turn in a drain, or failed health.
    pub fn decision(&self, watch: &DrainWatch) -> Decision {
        let health = (self.node.drain_type == DrainType::Default).then(|| self.node.shared.health.clone());
        Decision::new(watch.handle(), health)
    }

    /// Begins a drain here and below, at `tokio::time::Instant::now()`; or joins the one that runs.
    ///
    /// A start that a running drain already covers changes nothing and joins it. One that goes further (a wider
    /// direction, or a deadline where the running one has none) is a sequence of its own: nodes already draining keep
    /// their event and their slots, and get the new deadline if it is nearer.
    ///
    /// The drain has begun when this returns, and all nodes below know it; the returned future paces it.
    #[doc(alias = "startDrainSequence")]
    pub fn start_drain_sequence(&self, start: DrainStart) -> DrainSequence {
        self.start_drain_sequence_at(start, tokio::time::Instant::now().into_std())
    }

    fn start_drain_sequence_at(&self, start: DrainStart, now: Instant) -> DrainSequence {
        let settings = &self.node.shared.settings;
        let mut state = self.node.lock();
        if let Some(running) = state
            .runs
            .iter()
            .find(|run| run.covers(start.direction, start.reason.end()))
        {
            return DrainSequence::new(Arc::clone(running));
        }
        let event = DrainEvent::new(now, start.drain_time.unwrap_or(settings.drain_time), start.reason)
            .with_strategy(start.strategy.unwrap_or(settings.strategy))
            .with_schedule(settings.schedule)
            .with_direction(start.direction)
            .with_ladder(settings.ladder);
        let minimum = start.minimum.unwrap_or_else(|| settings.minimum(start.reason));
        let run = Arc::new(Run::new(event, minimum, settings.length));
        self.node.join_locked(&mut state, &run);
        drop(state);
        DrainSequence::new(run)
    }

    /// The deadline of what drains here and below comes nearer; never later.
    pub fn bring_forward(&self, deadline: Instant) {
        self.node.bring_forward(deadline);
    }

    /// Whether a drain covers this node: one atomic load.
    pub fn is_draining(&self) -> bool {
        self.node.signal.is_draining()
    }

    /// The node's state: not draining, draining, completed.
    pub fn state(&self) -> DrainState {
        self.node.signal.state()
    }

    /// The facts of the drain that covers this node.
    pub fn event(&self) -> Option<Arc<DrainEvent>> {
        self.node.signal.event()
    }

    /// When what is left at this node is closed; may come nearer.
    pub fn deadline(&self) -> Option<Instant> {
        self.node.signal.deadline()
    }

    /// How many watchers are open here and below.
    pub fn open_watches(&self) -> usize {
        self.node.open_watches()
    }

    /// Whether failed health drains connections of this node.
    pub fn drain_type(&self) -> DrainType {
        self.node.drain_type
    }

    /// Whose traffic this node's listener takes.
    pub fn traffic_direction(&self) -> TrafficDirection {
        self.node.traffic_direction
    }

    /// The settings of the tree.
    pub fn settings(&self) -> &DrainSettings {
        &self.node.shared.settings
    }

    /// The server's health check fails from now on: Envoy's `/healthcheck/fail`. Tree-wide.
    pub fn fail_health(&self) {
        self.node.shared.health.set_failed(true);
    }

    /// The server is healthy again: Envoy's `/healthcheck/ok`. Connections already told go on leaving.
    pub fn restore_health(&self) {
        self.node.shared.health.set_failed(false);
    }

    /// Whether the server's health check is failed.
    pub fn health_failed(&self) -> bool {
        self.node.shared.health.failed()
    }
}

impl Node {
    fn new(shared: Arc<Shared>, drain_type: DrainType, traffic_direction: TrafficDirection) -> Self {
        let (trigger, signal) = drain_signal::channel();
        let state = State {
            drain: Drain::Ready(trigger),
            runs: vec![],
            children: vec![],
        };
        Self {
            signal,
            drain_type,
            traffic_direction,
            shared,
            state: Mutex::new(state),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self, run: &Arc<Run>) {
        self.join_locked(&mut self.lock(), run);
    }

    /// Takes part in `run`, with everything below.
    fn join_locked(&self, state: &mut State, run: &Arc<Run>) {
        state.runs.retain(|running| !running.is_over());
        state.runs.push(Arc::clone(run));
        if self.traffic_direction.is_covered_by(run.event().direction) {
            run.add(state.begin(run.event()));
        }
        for child in state.children.iter().filter_map(Weak::upgrade) {
            child.join(run);
        }
    }

    fn bring_forward(&self, deadline: Instant) {
        let (draining, children) = {
            let state = self.lock();
            let draining = if let Drain::Begun(draining) = &state.drain {
                Some(draining.clone())
            } else {
                None
            };
            (draining, state.children.clone())
        };
        if let Some(draining) = draining {
            draining.bring_forward(deadline);
        }
        children
            .iter()
            .filter_map(Weak::upgrade)
            .for_each(|child| child.bring_forward(deadline));
    }

    fn open_watches(&self) -> usize {
        let children = self.lock().children.clone();
        let below: usize = children
            .iter()
            .filter_map(Weak::upgrade)
            .map(|child| child.open_watches())
            .sum();
        self.signal.open_watches() + below
    }
}

impl State {
    /// Begins the node's drain, or brings the deadline of the one that runs nearer.
    fn begin(&mut self, event: &DrainEvent) -> Draining {
        let draining = match std::mem::replace(&mut self.drain, Drain::Starting) {
            Drain::Ready(trigger) => trigger.start(event.clone()),
            Drain::Begun(draining) => {
                if let Some(deadline) = event.deadline() {
                    draining.bring_forward(deadline);
                }
                draining
            }
            Drain::Starting => unreachable!("the state is locked from the replacement to its end"),
        };
        self.drain = Drain::Begun(draining.clone());
        draining
    }
}

impl Run {
    /// Whether a start in `direction` that ends as `end` has nothing to add to this run.
    fn covers(&self, direction: DrainDirection, end: DrainEnd) -> bool {
        let event = self.event();
        !self.is_over()
            && direction <= event.direction
            && (event.end == DrainEnd::Close || end == DrainEnd::Leave)
    }
}
