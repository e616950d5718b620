//! How a drain reaches everything below: a walk in batches, so that a tree of any size stalls nobody.
//!
//! Small trees are told whole before a start returns; what a big one has left is told by whoever polls the sequence, or
//! drops it.

use std::sync::{Arc, Weak};
use std::time::Instant;

use crate::node::Node;
use crate::run::Run;
use crate::sync::{AtomicBool, Mutex, Ordering, lock};

/// How many nodes a start tells before it returns: some 2 ms of work.
pub(crate) const AT_ONCE: usize = 4096;
/// How many nodes one poll of a sequence tells.
pub(crate) const A_POLL: usize = 128;

/// The nodes of a run that are still to be told.
#[derive(Debug)]
pub(crate) struct Cascade {
    /// Cleared under the lock, once; a hint elsewhere.
    under_way: AtomicBool,
    pending: Mutex<Pending>,
}

#[derive(Debug)]
struct Pending {
    nodes: Vec<Weak<Node>>,
    /// How many nodes are being told right now: their children are not in `nodes` yet.
    busy: usize,
}

impl Default for Cascade {
    /// The node that the run starts at is being told.
    fn default() -> Self {
        Self {
            under_way: AtomicBool::new(true),
            pending: Mutex::new(Pending {
                nodes: vec![],
                busy: 1,
            }),
        }
    }
}

impl Cascade {
    /// Whether some node below does not know of the run yet.
    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way.load(Ordering::Acquire)
    }

    /// A node has been told; its children are next. Whether all nodes are told now.
    fn told(&self, children: Vec<Weak<Node>>) -> bool {
        let mut pending = lock(&self.pending);
        pending.busy -= 1;
        pending.nodes.extend(children);
        let done = pending.busy == 0 && pending.nodes.is_empty();
        if done {
            self.under_way.store(false, Ordering::Release);
        }
        done
    }

    fn next(&self) -> Option<Weak<Node>> {
        let mut pending = lock(&self.pending);
        let next = pending.nodes.pop();
        pending.busy += usize::from(next.is_some());
        next
    }
}

impl Run {
    /// The node that the run starts at is told; goes on below, by at most `budget` nodes.
    pub(crate) fn reach_from(self: &Arc<Self>, children: Vec<Weak<Node>>, budget: usize, now: Instant) {
        if !self.cascade.told(children) {
            self.reach(budget, now);
        }
    }

    /// Tells up to `budget` further nodes. Stops early when all are told, or when others are at the rest.
    pub(crate) fn reach(self: &Arc<Self>, budget: usize, now: Instant) {
        if !self.cascade.is_under_way() {
            return;
        }
        for _ in 0..budget {
            let Some(node) = self.cascade.next() else { return };
            let children = node
                .upgrade()
                .map(|node| node.join(self, now))
                .unwrap_or_default();
            if self.cascade.told(children) {
                self.wake();
            }
        }
    }
}
