//! Starts and stops the drain of a listener, or of an HTTP connection manager: a node of the drain tree by the proposal's names.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use conn_tracker::ConnTracker;
use drain_signal::{DEFAULT_DRAIN_TIME, DrainStrategy};
use drain_tree::DrainType;
use drain_tree::{ChildOptions, DrainManager, DrainOutcome, DrainSequence, DrainStart};
use tokio::time::Instant;

use super::{DrainScenario, ListenerDrainContext, ListenerDrainStrategy, ProtocolDrainBehavior};
use crate::serve::SharedBehavior;

/// What a drain is like when it is started.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerDrainState {
    /// When it begins.
    pub started_at: Instant,
    /// One after the other, or everybody at once.
    pub strategy: DrainStrategy,
    /// What connections are told.
    pub protocol_behavior: ProtocolDrainBehavior,
    /// Why.
    pub drain_scenario: DrainScenario,
    /// The listener's type.
    pub drain_type: DrainType,
}

impl ListenerDrainState {
    /// A gradual drain of a `DEFAULT` listener that begins now, in each protocol's own words.
    pub fn new(drain_scenario: DrainScenario) -> Self {
        Self {
            started_at: Instant::now(),
            strategy: DrainStrategy::default(),
            protocol_behavior: ProtocolDrainBehavior::Auto,
            drain_scenario,
            drain_type: DrainType::Default,
        }
    }

    /// With another strategy.
    #[must_use]
    pub fn with_strategy(mut self, strategy: DrainStrategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// With another behaviour of its connections.
    #[must_use]
    pub fn with_protocol_behavior(mut self, behavior: ProtocolDrainBehavior) -> Self {
        self.protocol_behavior = behavior;
        self
    }

    /// For a listener of another type.
    #[must_use]
    pub fn with_drain_type(mut self, drain_type: DrainType) -> Self {
        self.drain_type = drain_type;
        self
    }
}

/// Drains a listener: a node of the drain tree, and the contexts of what is below it. Cheap to clone.
///
/// Asking whether it drains is an atomic load; nothing polls.
#[derive(Debug, Clone)]
pub struct DrainSignalingManager {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    node: DrainManager,
    tracker: ConnTracker,
    global_drain_timeout: Duration,
    default_http_drain_timeout: Duration,
    behavior: SharedBehavior,
    /// Looked at when a drain starts or stops, never by a connection.
    state: Mutex<Option<ListenerDrainState>>,
    contexts: Mutex<BTreeMap<String, Arc<ListenerDrainContext>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing below it is left half-changed by a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DrainSignalingManager {
    /// Drains what is below `node`, with the proposal's timeouts: 600 s, and 5 s for HTTP.
    pub fn new(node: DrainManager, tracker: ConnTracker) -> Self {
        Self::with_timeouts(node, tracker, DEFAULT_DRAIN_TIME, Duration::from_secs(5))
    }

    /// Drains what is below `node`, within `global_drain_timeout`.
    pub fn with_timeouts(
        node: DrainManager,
        tracker: ConnTracker,
        global_drain_timeout: Duration,
        default_http_drain_timeout: Duration,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                node,
                tracker,
                global_drain_timeout,
                default_http_drain_timeout,
                behavior: SharedBehavior::default(),
                state: Mutex::new(None),
                contexts: Mutex::default(),
            }),
        }
    }

    /// Begins the drain of everything below, or joins the one that runs; when it returns, all connections know.
    ///
    /// What it returns paces the drain and resolves when it is over: poll or spawn it. `None`: nothing is to be paced,
    /// because this type of listener ignores the scenario, or because failed health is a level without an end.
    #[must_use = "a drain is paced only while its sequence is polled"]
    pub fn start_listener_draining(&self, state: ListenerDrainState) -> Option<DrainSequence> {
        let inner = &*self.inner;
        if !state.drain_scenario.should_drain(state.drain_type) {
            return None;
        }
        inner.behavior.set(&state.protocol_behavior);
        for context in lock(&inner.contexts).values() {
            context.begins();
        }
        let (reason, started_at) = (state.drain_scenario.reason(), state.started_at);
        let start = reason.map(|reason| {
            DrainStart::new(reason)
                .with_drain_time(inner.global_drain_timeout)
                .with_strategy(state.strategy)
        });
        *lock(&inner.state) = Some(state);
        let Some(start) = start else {
            inner.node.fail_health();
            return None;
        };
        let started_at = started_at.min(Instant::now()).into_std();
        Some(inner.node.start_drain_sequence_at(start, started_at))
    }

    /// Ends the drain now: its deadline is now, and it resolves when the last connection is gone. Failed health is
    /// restored. A drained listener is never revived; `None` if none was draining.
    ///
    /// # Cancel safety
    ///
    /// The deadline has come with the first poll; dropped afterwards, whoever polls the drain's sequence ends it.
    pub async fn stop_listener_draining(&self) -> Option<DrainOutcome> {
        let inner = &*self.inner;
        let state = lock(&inner.state).take();
        if state.is_some_and(|state| state.drain_scenario == DrainScenario::HealthCheckFail) {
            inner.node.restore_health();
        }
        let event = inner.node.event()?;
        // It drains, so this joins.
        let start = DrainStart::new(event.reason).with_direction(event.direction);
        let sequence = inner.node.start_drain_sequence(start);
        inner.node.bring_forward(Instant::now().into_std());
        let outcome = sequence.await;
        // The drivers have what the ladder gives them to drop what is left.
        let contexts: Vec<_> = lock(&inner.contexts).values().cloned().collect();
        for context in contexts {
            let gone = context.group().wait_empty();
            // A connection that nobody drives is not waited for.
            if tokio::time::timeout(event.ladder.drop_after * 2, gone)
                .await
                .is_err()
            {
                break;
            }
        }
        Some(outcome)
    }

    /// Whether its connections are asked to leave: by a drain, or by failed health if they heed that.
    pub fn is_listener_draining(&self) -> bool {
        let node = &self.inner.node;
        node.is_draining() || node.drain_type() == DrainType::Default && node.health_failed()
    }

    /// Why and how it was started, if it was.
    pub fn listener_drain_state(&self) -> Option<ListenerDrainState> {
        lock(&self.inner.state).clone()
    }

    /// A listener below this node: its place in the drain tree and in the registry, by its id. The same id is the same
    /// listener.
    pub fn create_drain_context(
        &self,
        listener_id: &str,
        strategy: ListenerDrainStrategy,
    ) -> Arc<ListenerDrainContext> {
        let inner = &*self.inner;
        let mut contexts = lock(&inner.contexts);
        let context = contexts.entry(listener_id.to_owned()).or_insert_with(|| {
            Arc::new(ListenerDrainContext::new(
                listener_id,
                strategy,
                inner.node.child(ChildOptions::default()),
                inner.tracker.group(listener_id, 0),
                inner.behavior.clone(),
            ))
        });
        Arc::clone(context)
    }

    /// The context of a listener, if there is one.
    pub fn drain_context(&self, listener_id: &str) -> Option<Arc<ListenerDrainContext>> {
        lock(&self.inner.contexts).get(listener_id).cloned()
    }

    /// Forgets a listener; its connections and its drain go on.
    pub fn remove_drain_context(&self, listener_id: &str) -> Option<Arc<ListenerDrainContext>> {
        lock(&self.inner.contexts).remove(listener_id)
    }

    /// The time between the two GOAWAYs of a listener's HTTP/2 connections.
    pub fn http2_drain_timeout(&self, listener_id: &str) -> Duration {
        let strategy = self
            .drain_context(listener_id)
            .map(|context| context.strategy());
        strategy
            .and_then(ListenerDrainStrategy::http_drain_timeout)
            .unwrap_or(self.inner.default_http_drain_timeout)
    }
}
