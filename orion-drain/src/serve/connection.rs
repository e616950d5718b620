//! What every connection carries: its place in the drain, its entry in the registry, its full decision.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use conn_tracker::{CloseReason, ConnGuard, ConnState};
use drain_signal::{CloseCause, DrainDecision, DrainHandle, DrainWatch};
use drain_tree::{Decision, DrainManager};

/// A connection that is being served. Cheap to clone; it is in every request's extensions, so that a handler can see the
/// drain and its deadline, and so that whatever outlives the connection's task (a tunnel after an upgrade) keeps it open.
///
/// Held means open: the drain waits for it, the registry lists it.
#[derive(Debug, Clone)]
pub struct Connection {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    watch: DrainWatch,
    guard: ConnGuard,
    decision: Decision,
    requests: AtomicU64,
}

impl Connection {
    /// A connection accepted under `node`.
    pub fn new(node: &DrainManager, watch: DrainWatch, guard: ConnGuard) -> Self {
        let decision = node.decision(&watch);
        // Closing it from the registry means that its own deadline is now; there is no other way to force it.
        let handle = watch.handle();
        guard.set_closer(move || {
            handle.force();
        });
        Self {
            inner: Arc::new(Inner {
                watch,
                guard,
                decision,
                requests: AtomicU64::new(0),
            }),
        }
    }

    /// The connection's view of its drain: whether it is on, its deadline, a future of its slot.
    pub fn drain(&self) -> &DrainHandle {
        &self.inner.watch
    }

    /// The connection's entry in the registry.
    pub fn guard(&self) -> &ConnGuard {
        &self.inner.guard
    }

    /// The connection's answer to "should I leave?": its turn in a drain, or failed health.
    pub fn decision(&self) -> &Decision {
        &self.inner.decision
    }

    /// How many requests it has carried so far.
    pub fn requests(&self) -> u64 {
        self.inner.requests.load(Ordering::Relaxed)
    }

    /// A request begins.
    pub(crate) fn request_started(&self) {
        self.inner.requests.fetch_add(1, Ordering::Relaxed);
        self.inner.guard.request_started();
    }

    /// A watch of its own for another task of this connection.
    pub(crate) fn watch(&self) -> DrainWatch {
        self.inner.watch.clone()
    }

    /// Moves the registry entry on; a step it has already passed is no step.
    pub(crate) fn reach(&self, state: ConnState) {
        if self.inner.guard.state() < state {
            // The registry refuses a step back only; two tasks of one connection may arrive at the same step.
            self.inner.guard.set_state(state).ok();
        }
    }

    /// Writes down why the connection ended.
    pub(crate) fn ended(&self, cause: CloseCause) {
        self.inner.guard.set_close_reason(match cause {
            CloseCause::BeforeDrain => CloseReason::Finished,
            CloseCause::Drained | CloseCause::Finished => CloseReason::Drained,
            CloseCause::Forced => CloseReason::Admin,
            _ => CloseReason::Deadline,
        });
    }
}

impl DrainDecision for Connection {
    fn drain_close(&self) -> bool {
        self.inner.decision.drain_close()
    }
}
