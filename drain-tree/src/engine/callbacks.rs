//! On-drain-close callbacks: called once, with a delay, when a drain covers them.
//!
//! A callback is given a delay; to act on it is its part. Source of the rules: `addOnDrainCloseCb`
//! and `startDrainSequence` of
//! [`drain_manager_impl.cc`](https://github.com/envoyproxy/envoy/blob/main/source/server/drain_manager_impl.cc).

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Weak;
use std::time::Duration;

use drain_signal::DrainDirection;

use super::node::Node;
use crate::schedule::stored_callback_delay;

pub(crate) type Callback = Box<dyn FnOnce(Duration) + Send>;

/// The callbacks of one node, in the order of their registration.
#[derive(Default)]
pub(crate) struct Callbacks {
    next: u64,
    stored: BTreeMap<u64, (DrainDirection, Callback)>,
}

impl Callbacks {
    pub(crate) fn store(&mut self, scope: DrainDirection, callback: Callback) -> u64 {
        let id = self.next;
        self.next += 1;
        self.stored.insert(id, (scope, callback));
        id
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<Callback> {
        self.stored.remove(&id).map(|(_, callback)| callback)
    }

    /// Those that a drain in `direction` covers. It calls them, and no other drain does.
    pub(crate) fn take(&mut self, direction: DrainDirection) -> Vec<Callback> {
        if self.stored.is_empty() {
            return vec![];
        }
        let all = std::mem::take(&mut self.stored);
        let (taken, kept): (BTreeMap<_, _>, _) = all
            .into_iter()
            .partition(|(_, (scope, _))| *scope <= direction);
        self.stored = kept;
        taken.into_values().map(|(_, callback)| callback).collect()
    }
}

/// Calls the callbacks of one node at the start of a drain that has `remaining` to go, with delays
/// that are spread evenly over a quarter of it.
///
/// After a panic the next callbacks are called nevertheless: the panic hook reports it, and it ends
/// here.
pub(crate) fn call(callbacks: Vec<Callback>, remaining: Duration) {
    let count = callbacks.len();
    for (index, callback) in callbacks.into_iter().enumerate() {
        let delay = stored_callback_delay(index, count, remaining);
        catch_unwind(AssertUnwindSafe(|| callback(delay))).ok();
    }
}

/// A registered [`on_drain`](crate::DrainManager::on_drain) callback; dropping it unregisters.
///
/// Dropped while a drain begins on another thread, the callback may already be running, and goes
/// on.
#[must_use = "dropping it unregisters the callback"]
#[derive(Debug)]
pub struct DrainCallback {
    pub(crate) node: Weak<Node>,
    pub(crate) id: u64,
}

impl Drop for DrainCallback {
    fn drop(&mut self) {
        if let Some(node) = self.node.upgrade() {
            let callback = node.lock().callbacks.remove(self.id);
            // What it captured is dropped with nothing locked.
            drop(callback);
        }
    }
}
