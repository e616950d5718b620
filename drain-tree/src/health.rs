//! Failed health: a level that may clear, not a drain.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use drain_signal::{DrainDecision, DrainHandle};

/// Whether the server's health check is failed; one for the whole tree.
#[derive(Debug, Clone, Default)]
pub(crate) struct Health(Arc<AtomicBool>);

impl Health {
    pub(crate) fn set_failed(&self, failed: bool) {
        self.0.store(failed, Ordering::Release);
    }

    pub(crate) fn failed(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A connection's full answer to "should I leave?": its turn in a drain has come, or, for listeners of type `DEFAULT`,
/// the server's health check is failed.
///
/// Health has no ramp and no direction, and reverses: connections not yet told are left alone again once it is restored
/// (Envoy polls it for that reason, see
/// [`drain_close_util.h`](https://github.com/envoyproxy/envoy/blob/main/source/common/network/drain_close_util.h)).
#[derive(Debug, Clone)]
pub struct Decision {
    handle: DrainHandle,
    /// `None` for `MODIFY_ONLY`: there health is not even read.
    health: Option<Health>,
}

impl Decision {
    pub(crate) const fn new(handle: DrainHandle, health: Option<Health>) -> Self {
        Self { handle, health }
    }

    /// The connection's handle.
    pub const fn handle(&self) -> &DrainHandle {
        &self.handle
    }
}

impl DrainDecision for Decision {
    /// Two atomic loads while nothing drains. The first `true` starts the connection's goodbye.
    fn drain_close(&self) -> bool {
        if self.health.as_ref().is_some_and(Health::failed) {
            self.handle.start_now();
            return true;
        }
        self.handle.drain_close()
    }
}
