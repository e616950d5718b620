//! Drain managers in a tree: root, listeners, filter chains, HTTP connection managers.

use std::sync::Arc;
use std::time::Instant;

use drain_signal::{DrainCompleted, DrainEvent, DrainHandle, DrainState, DrainWatch, WatchOptions};

use crate::engine::cascade;
use crate::engine::node::{Node, Shared};
use crate::engine::sequence::Sequence;
use crate::health::{Decision, Health};
use crate::parent::{ParentShutdown, ParentShutdownStart};
use crate::sequence::DrainSequence;
use crate::{ChildOptions, DrainSettings, DrainStart, DrainType, TrafficDirection};

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
/// Cheap to clone; clones are the same node. Dropping the last clone of a parent drains nothing:
/// its children go on and can be drained and have children themselves.
#[derive(Debug, Clone)]
pub struct DrainManager {
    node: Arc<Node>,
}

impl DrainManager {
    /// The root of a new tree: the server.
    pub fn root(settings: DrainSettings) -> Self {
        let shared = Arc::new(Shared {
            health: Health::new(settings.health_ramp),
            settings,
            parent_shutdown: ParentShutdownStart::default(),
        });
        Self {
            node: Arc::new(Node::root(shared)),
        }
    }

    /// A new node below this one. What drains here drains there too, from the same start.
    pub fn child(&self, options: ChildOptions) -> Self {
        let parent = &self.node;
        let drain_type = options.drain_type.unwrap_or(parent.drain_type);
        let traffic_direction = options
            .traffic_direction
            .unwrap_or(parent.traffic_direction);
        Self {
            node: parent.child(drain_type, traffic_direction),
        }
    }

    /// Opens a connection's watch at this node.
    ///
    /// # Errors
    ///
    /// [`DrainCompleted`] once a drain that covers this node is completed.
    #[inline]
    pub fn watch(&self) -> Result<DrainWatch, DrainCompleted> {
        self.node.watch(WatchOptions::default())
    }

    /// Opens a connection's watch with a place or a `drain_timeout` of its own.
    ///
    /// # Errors
    ///
    /// [`DrainCompleted`] once a drain that covers this node is completed.
    pub fn watch_with(&self, options: WatchOptions) -> Result<DrainWatch, DrainCompleted> {
        self.node.watch(options)
    }

    /// The decision of a connection of this node, by all reasons: its slot in a drain, or failed
    /// health. It takes the connection's watch, its handle, or a reference to either.
    pub fn decision<H: AsRef<DrainHandle>>(&self, handle: H) -> Decision<H> {
        let health =
            (self.node.drain_type == DrainType::Default).then(|| self.node.shared.health.clone());
        Decision::new(handle, health)
    }

    /// Begins a drain here and below, at `tokio::time::Instant::now()`; or joins the one that runs.
    ///
    /// A start that a running drain already covers changes nothing and joins it. One that goes
    /// further (a wider direction, or a deadline where the running one has none) is a sequence of
    /// its own: nodes already draining keep their event and their slots, and get the new deadline
    /// if it is nearer.
    ///
    /// The drain has begun when this returns: every node below is draining, and so is every child
    /// that is made later. That costs some 4 000 instructions a node, without a system call. The
    /// returned future paces the drain. A start at a node whose drain is over gets its outcome.
    ///
    /// Stored [`on_drain`](Self::on_drain) callbacks are called here, on this thread.
    #[doc(alias = "startDrainSequence")]
    pub fn start_drain_sequence(&self, start: DrainStart) -> DrainSequence {
        self.start_drain_sequence_at(start, tokio::time::Instant::now().into_std())
    }

    /// [`start_drain_sequence`](Self::start_drain_sequence) at a given time, for callers that drive
    /// the sequence [by hand](DrainSequence::poll_at).
    pub fn start_drain_sequence_at(&self, start: DrainStart, now: Instant) -> DrainSequence {
        let settings = self.settings();
        let (sequence, is_origin) = {
            let mut state = self.node.lock();
            if let Some(joined) = state.running(start.direction, start.end()) {
                (Arc::clone(&joined.sequence), joined.is_origin)
            } else {
                let drain_time = start.drain_time.unwrap_or(settings.drain_time);
                let event = DrainEvent::new(now, drain_time, start.reason)
                    .with_strategy(start.strategy.unwrap_or(settings.strategy))
                    .with_schedule(settings.schedule)
                    .with_direction(start.direction)
                    .with_end(start.end())
                    .with_close_steps(settings.close_steps);
                let minimum = start
                    .minimum
                    .unwrap_or_else(|| settings.minimum(start.reason));
                let sequence = Sequence::new(event, minimum, settings.length);
                state.join(&self.node, &sequence, true);
                (sequence, true)
            }
        };
        cascade::mark(&sequence, &self.node, is_origin, now);
        DrainSequence::new(sequence)
    }

    /// The deadline of what drains here and below comes nearer; never later.
    ///
    /// What drains without one gets this one for as long as a sequence of that drain is polled,
    /// which still lasts its drain time. To close what an operator's drain leaves open, start a
    /// drain that closes, and bring that one forward.
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

    /// How many watches are open here and below.
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

    /// The server's health check fails from now on: Envoy's `/healthcheck/fail`. Tree-wide. Failing
    /// again changes nothing.
    pub fn fail_health(&self) {
        let now = tokio::time::Instant::now().into_std();
        self.node.shared.health.fail(now);
    }

    /// The server is healthy again: Envoy's `/healthcheck/ok`. Connections already signaled go on
    /// leaving.
    pub fn restore_health(&self) {
        self.node.shared.health.restore();
    }

    /// Resolves when the process that this one has replaced is to be asked to end:
    /// `parent_shutdown_time` after the first call of this method in the tree. To ask is the
    /// caller's part; without hot restart, do not call it.
    ///
    /// A timer and no more: it drains nothing. Later calls join the first, as in
    /// [`startParentShutdownSequence`](https://github.com/envoyproxy/envoy/blob/main/source/server/drain_manager_impl.cc),
    /// which may be started once.
    #[doc(alias = "startParentShutdownSequence")]
    pub fn start_parent_shutdown_sequence(&self) -> ParentShutdown {
        let start = self.node.shared.parent_shutdown.start();
        ParentShutdown::new(self.settings().parent_shutdown_at(start))
    }

    /// Whether the server's health check is failed.
    pub fn health_failed(&self) -> bool {
        self.node.shared.health.failed()
    }

    pub(crate) const fn node(&self) -> &Arc<Node> {
        &self.node
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.node.shared
    }
}
