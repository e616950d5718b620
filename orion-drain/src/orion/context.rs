//! One listener's drain, live: its counts are read from the registry, not kept here.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use conn_tracker::{ConnGroup, ConnInfo};
use drain_signal::{DrainCompleted, DrainDirection, DrainState};
use drain_tree::{DrainCallback, DrainManager};

use super::ListenerDrainStrategy;
use crate::serve::{Connection, SharedBehavior};

/// How the drain of one listener goes.
#[derive(Debug)]
pub struct ListenerDrainContext {
    listener_id: String,
    strategy: ListenerDrainStrategy,
    drain: DrainManager,
    group: ConnGroup,
    behavior: SharedBehavior,
    /// How many connections were open when the drain began.
    initial: Arc<OnceLock<usize>>,
    /// Sets `initial`, whichever node above starts the drain.
    _at_start: Option<DrainCallback>,
}

impl ListenerDrainContext {
    /// The drain of a listener whose connections are opened under `drain` and entered in `group`.
    pub fn new(
        listener_id: impl Into<String>,
        strategy: ListenerDrainStrategy,
        drain: DrainManager,
        group: ConnGroup,
        behavior: SharedBehavior,
    ) -> Self {
        let initial = Arc::new(OnceLock::new());
        let at_start = {
            let (initial, group) = (Arc::clone(&initial), group.clone());
            // The narrowest scope: every drain that covers the node calls it.
            drain.on_drain(DrainDirection::InboundOnly, move |_| {
                initial.get_or_init(|| group.len());
            })
        };
        Self {
            listener_id: listener_id.into(),
            strategy,
            drain,
            group,
            behavior,
            initial,
            _at_start: at_start,
        }
    }

    /// Opens a connection of this listener, to be served.
    ///
    /// # Errors
    ///
    /// [`DrainCompleted`] once the drain is over: such a listener takes no more.
    pub fn connection(&self, info: impl Into<ConnInfo>) -> Result<Connection, DrainCompleted> {
        let watch = self.drain.watch()?;
        let connection = Connection::new(&self.drain, watch, self.group.open(info));
        Ok(connection.with_behavior(self.behavior.clone()))
    }

    /// The listener.
    pub fn listener_id(&self) -> &str {
        &self.listener_id
    }

    /// What its filter chains serve, and with which times.
    pub const fn strategy(&self) -> ListenerDrainStrategy {
        self.strategy
    }

    /// When its drain began; `None` while it has not.
    pub fn drain_start(&self) -> Option<Instant> {
        self.drain.event().map(|event| event.start)
    }

    /// How many connections there were when its drain began, also if a node above it was drained;
    /// before that, how many there are.
    pub fn initial_connections(&self) -> usize {
        let initial = self.initial.get().copied();
        initial.unwrap_or_else(|| self.group.len())
    }

    /// How many connections there are.
    pub fn active_connections(&self) -> usize {
        self.group.len()
    }

    /// Whether its drain is over.
    pub fn completed(&self) -> bool {
        self.drain.state() == DrainState::Completed
    }

    /// Its node in the drain tree.
    pub const fn drain(&self) -> &DrainManager {
        &self.drain
    }

    /// Its connections in the registry.
    pub const fn group(&self) -> &ConnGroup {
        &self.group
    }

    pub(super) const fn behavior(&self) -> &SharedBehavior {
        &self.behavior
    }
}
