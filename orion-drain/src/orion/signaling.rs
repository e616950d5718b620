//! Starts and stops the drain of listeners: a node of the drain tree by the proposal's names.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use conn_tracker::{ConnGroup, ConnTracker};
use drain_signal::{DrainEvent, DrainStrategy};
use drain_tree::{
    ChildOptions, DEFAULT_DRAIN_TIME, DrainEnd, DrainManager, DrainOutcome, DrainReason,
    DrainStart, DrainType,
};
use tokio::time::Instant;

use super::{
    DrainScenario, ListenerDrain, ListenerDrainContext, ListenerDrainStrategy,
    ProtocolDrainBehavior,
};
use crate::serve::SharedBehavior;

/// How a drain is started.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerDrainState {
    /// When it begins.
    pub started_at: Instant,
    /// Connections are asked to finish one after the other, or all at once.
    pub strategy: DrainStrategy,
    /// How connections are asked to finish.
    pub protocol_behavior: ProtocolDrainBehavior,
    /// Why.
    pub drain_scenario: DrainScenario,
    /// The listener's type.
    pub drain_type: DrainType,
}

impl ListenerDrainState {
    /// A gradual drain of a `DEFAULT` listener that begins now, by what each connection speaks.
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

/// Drains listeners: a node of the drain tree, and the contexts of what is below it. Cheap to
/// clone.
///
/// [`ListenersManager::signaling`](super::ListenersManager::signaling) gives that of a listener
/// manager, whose contexts are the manager's listeners. Asking whether it drains is an atomic load.
#[derive(Debug, Clone)]
pub struct DrainSignalingManager {
    inner: Arc<Inner>,
}

struct Inner {
    node: DrainManager,
    tracker: ConnTracker,
    global_drain_timeout: Duration,
    default_http_drain_timeout: Duration,
    /// What connections of listeners that a listener manager has share.
    behavior: SharedBehavior,
    managed: Option<FindListener>,
    /// Locked when a drain starts or stops, never for a connection.
    state: Mutex<State>,
    contexts: Mutex<BTreeMap<String, Arc<ListenerDrainContext>>>,
}

/// The drain node and the registry group of a listener's active version, by the listener's name.
pub(super) type FindListener = Box<dyn Fn(&str) -> Option<(DrainManager, ConnGroup)> + Send + Sync>;

#[derive(Debug, Default)]
struct State {
    started: Option<ListenerDrainState>,
    /// Health was in order before this manager failed it.
    failed_health: bool,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("node", &self.node)
            .field("global_drain_timeout", &self.global_drain_timeout)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
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

    /// Drains what is below `node`, within `global_drain_timeout`. The HTTP/2 connections that a
    /// context opens wait for `default_http_drain_timeout` between their two GOAWAYs, unless the
    /// context's strategy says another time.
    pub fn with_timeouts(
        node: DrainManager,
        tracker: ConnTracker,
        global_drain_timeout: Duration,
        default_http_drain_timeout: Duration,
    ) -> Self {
        Self::build(
            node,
            tracker,
            (global_drain_timeout, default_http_drain_timeout),
            SharedBehavior::default(),
            None,
        )
    }

    /// Drains the listeners of a listener manager.
    pub(super) fn managed(
        node: DrainManager,
        tracker: ConnTracker,
        global_drain_timeout: Duration,
        behavior: SharedBehavior,
        find: FindListener,
    ) -> Self {
        let timeouts = (global_drain_timeout, Duration::from_secs(5));
        Self::build(node, tracker, timeouts, behavior, Some(find))
    }

    fn build(
        node: DrainManager,
        tracker: ConnTracker,
        (global_drain_timeout, default_http_drain_timeout): (Duration, Duration),
        behavior: SharedBehavior,
        managed: Option<FindListener>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                node,
                tracker,
                global_drain_timeout,
                default_http_drain_timeout,
                behavior,
                managed,
                state: Mutex::default(),
                contexts: Mutex::default(),
            }),
        }
    }

    /// Begins the drain of everything below, or joins the one that runs. When it returns, every
    /// listener below is draining: first those whose strategy has a time of its own, or is
    /// [`Immediate`](ListenerDrainStrategy::Immediate), each in its way, then all others.
    ///
    /// The returned future paces the drain and resolves when it is over: poll or spawn it. `None`:
    /// nothing is to be paced, because this type of listener ignores the scenario, or because
    /// failed health is a level without an end.
    ///
    /// A drain that is joined keeps its strategy, its behavior and its
    /// [state](Self::listener_drain_state).
    #[must_use = "a drain is paced only while its sequence is polled"]
    pub fn start_listener_draining(&self, state: ListenerDrainState) -> Option<ListenerDrain> {
        let inner = &*self.inner;
        if !state.drain_scenario.should_drain(state.drain_type) {
            return None;
        }
        let Some(reason) = state.drain_scenario.reason() else {
            inner.health_fails(state);
            return None;
        };
        let strategy = state.strategy;
        let now = state.started_at.min(Instant::now()).into_std();
        let start = DrainStart::new(reason)
            .with_drain_time(inner.global_drain_timeout)
            .with_strategy(strategy);
        inner.drain_starts(state);
        let contexts: Vec<_> = lock(&inner.contexts).values().cloned().collect();
        let own = contexts
            .iter()
            .filter(|context| !context.drain().is_draining())
            .filter_map(|context| {
                let start = inner.own_start(start, context.strategy())?;
                Some(context.drain().start_drain_sequence_at(start, now))
            });
        let own = own.collect();
        let whole = inner.node.start_drain_sequence_at(start, now);
        Some(ListenerDrain::new(whole, own))
    }

    /// Ends the drain now: its deadline is now, and it resolves when the last connection is gone.
    /// Also of an operator's drain from above, which has no deadline of its own. Health that this
    /// manager has failed is restored; health that was failed before is not. A drained listener is
    /// never revived; `None` if none was draining.
    ///
    /// # Cancel safety
    ///
    /// The deadline has come with the first poll. Dropped afterwards, the drain ends as its
    /// [`ListenerDrain`] is polled; an operator's, as long as that is paced.
    pub async fn stop_listener_draining(&self) -> Option<DrainOutcome> {
        let inner = &*self.inner;
        let state = std::mem::take(&mut *lock(&inner.state));
        if state.failed_health {
            inner.node.restore_health();
        }
        let event = inner.node.event()?;
        // It drains, so this joins; unless that drain cuts nothing, as an operator's from above.
        let reason = match event.end {
            DrainEnd::Close => event.reason,
            DrainEnd::Leave => DrainReason::Other("stopped"),
        };
        let start = DrainStart::new(reason).with_direction(event.direction);
        let sequence = inner.node.start_drain_sequence(start);
        inner.node.bring_forward(Instant::now().into_std());
        let outcome = sequence.await;
        // The close steps give drivers this time to drop what is left.
        let contexts: Vec<_> = lock(&inner.contexts).values().cloned().collect();
        for context in contexts {
            let gone = context.group().wait_empty();
            // A connection that no task drives is not waited for.
            if tokio::time::timeout(event.close_steps.drop_after * 2, gone)
                .await
                .is_err()
            {
                break;
            }
        }
        Some(outcome)
    }

    /// Whether its connections are asked to finish: by a drain, or by failed health if the node's
    /// type is `DEFAULT`.
    pub fn is_listener_draining(&self) -> bool {
        let node = &self.inner.node;
        node.is_draining() || node.drain_type() == DrainType::Default && node.health_failed()
    }

    /// Why and how it was started, if it was. A drain that a node above has begun is described by
    /// its event, if its reason is one of [`DrainScenario`].
    pub fn listener_drain_state(&self) -> Option<ListenerDrainState> {
        let inner = &*self.inner;
        let started = lock(&inner.state).started.clone();
        started.or_else(|| {
            let event = inner.node.event()?;
            let scenario = DrainScenario::of(event.reason)?;
            let behavior = inner.behavior.get();
            let state = ListenerDrainState::new(scenario).with_protocol_behavior(behavior);
            Some(joined(state, &event))
        })
    }

    /// A listener below this node: its drain and its counts, by its id.
    ///
    /// Of a [`ListenersManager`](super::ListenersManager), the id is a listener's name, and the
    /// context is that of its active version. Otherwise the context is a new node below this one,
    /// which [opens connections](ListenerDrainContext::connection), and the same id is the same
    /// listener.
    pub fn create_drain_context(
        &self,
        listener_id: &str,
        strategy: ListenerDrainStrategy,
    ) -> Arc<ListenerDrainContext> {
        let inner = &*self.inner;
        let managed = inner.managed.as_ref().and_then(|find| find(listener_id));
        let mut contexts = lock(&inner.contexts);
        let same = |known: &ListenerDrainContext| match &managed {
            Some((_, group)) => known.group().version() == group.version(),
            None => true,
        };
        if let Some(known) = contexts.get(listener_id).filter(|known| same(known)) {
            return Arc::clone(known);
        }
        let (node, group, behavior) = match managed {
            Some((node, group)) => (node, group, inner.behavior.clone()),
            None => {
                let http = strategy.http_drain_timeout();
                let http = http.unwrap_or(inner.default_http_drain_timeout);
                (
                    inner.node.child(ChildOptions::default()),
                    inner.tracker.group(listener_id, 0),
                    SharedBehavior::new(&inner.behavior.get()).with_http_drain_timeout(http),
                )
            }
        };
        let context = ListenerDrainContext::new(listener_id, strategy, node, group, behavior);
        let context = Arc::new(context);
        contexts.insert(listener_id.to_owned(), Arc::clone(&context));
        context
    }

    /// The context of a listener, if one was created.
    pub fn drain_context(&self, listener_id: &str) -> Option<Arc<ListenerDrainContext>> {
        lock(&self.inner.contexts).get(listener_id).cloned()
    }

    /// Forgets a listener; its connections and its drain go on.
    pub fn remove_drain_context(&self, listener_id: &str) -> Option<Arc<ListenerDrainContext>> {
        lock(&self.inner.contexts).remove(listener_id)
    }

    /// The time between the two GOAWAYs of the HTTP/2 connections that a listener's context opens.
    pub fn http2_drain_timeout(&self, listener_id: &str) -> Duration {
        let context = self.drain_context(listener_id);
        let own = context.and_then(|context| context.behavior().http_drain_timeout());
        own.unwrap_or(self.inner.default_http_drain_timeout)
    }
}

impl Inner {
    /// Notes how the drain is started, unless one runs: that one is joined. No lock is held when
    /// the drain itself begins, which calls callbacks.
    fn drain_starts(&self, state: ListenerDrainState) {
        let mut stored = lock(&self.state);
        let started = stored.started.as_ref();
        if started.is_some_and(|state| state.drain_scenario.reason().is_some()) {
            return;
        }
        match self.node.event() {
            // A node above has begun it: what it is like is that drain's.
            Some(event) => stored.started = Some(joined(state, &event)),
            None => {
                self.behave(&state.protocol_behavior);
                stored.started = Some(state);
            }
        }
    }

    fn health_fails(&self, state: ListenerDrainState) {
        let mut stored = lock(&self.state);
        if !self.node.health_failed() {
            self.node.fail_health();
            stored.failed_health = true;
        }
        if stored.started.is_none() && !self.node.is_draining() {
            self.behave(&state.protocol_behavior);
            stored.started = Some(state);
        }
    }

    /// From now on connections are asked to finish like this.
    fn behave(&self, behavior: &ProtocolDrainBehavior) {
        self.behavior.set(behavior);
        for context in lock(&self.contexts).values() {
            context.behavior().set(behavior);
        }
    }

    /// How a listener's drain differs from that of all; `None` if it does not.
    fn own_start(&self, all: DrainStart, strategy: ListenerDrainStrategy) -> Option<DrainStart> {
        match strategy.global_timeout() {
            None => Some(all.with_strategy(DrainStrategy::Immediate)),
            Some(time) if time < self.global_drain_timeout => Some(all.with_drain_time(time)),
            Some(_) => None,
        }
    }
}

/// A state that joins the running drain, which decides how and since when.
fn joined(mut state: ListenerDrainState, event: &DrainEvent) -> ListenerDrainState {
    state.started_at = Instant::from_std(event.start);
    state.strategy = event.strategy;
    state
}
