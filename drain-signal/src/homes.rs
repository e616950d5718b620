//! Homes are never freed but used again, so that a handle keeps its shard by a plain reference and the count of watchers is
//! the only count there is.

use std::collections::VecDeque;
use std::sync::Arc as StdArc;

use crate::DrainEvent;
use crate::home::Home;
use crate::slab::Slab;
use crate::sync::{self, Ordering};

/// Who is in a home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Tenancy {
    /// A node, and whoever else.
    Kept,
    /// No node any more, but there were watchers or handles when the last one went.
    Left,
    /// Nobody.
    Vacant,
}

/// Homes that may be used again. There are never many more than drains lived at once.
#[derive(Debug)]
pub(crate) struct Homes {
    vacant: Vec<&'static Home>,
    /// Left by their nodes, in that order. Who leaves one last says so as a rule, and these have been vacated since; but if two leave
    /// in the same moment both may see the other still there.
    left: VecDeque<&'static Home>,
}

/// So many of the left are looked at whenever a home is wanted: more than are left in between.
const LOOKS: usize = 4;

/// What is dropped outside of all locks.
pub(crate) type Debris = (Option<StdArc<DrainEvent>>, Vec<Slab>);

impl Homes {
    pub(crate) const fn new() -> Self {
        Self {
            vacant: Vec::new(),
            left: VecDeque::new(),
        }
    }

    fn find(&mut self) -> Option<(&'static Home, Option<Debris>)> {
        for _ in 0..LOOKS {
            let Some(home) = self.left.pop_front() else { break };
            if !home.is(Tenancy::Left) {
                continue;
            }
            if home.is_deserted() {
                return Some((home, Some(home.clean())));
            }
            self.left.push_back(home);
        }
        self.vacant.pop().map(|home| (home, None))
    }
}

impl Home {
    /// A home for a new drain, with one owner: one that is vacant, or a new one.
    pub(crate) fn claim() -> &'static Self {
        sync::prepare();
        let found = sync::homes(|homes| {
            let found = homes.find();
            if let Some((home, _)) = &found {
                home.set(Tenancy::Kept);
            }
            found
        });
        let (home, debris) = found.unwrap_or_else(|| {
            let new: &Self = Box::leak(Box::new(Self::new()));
            new.set(Tenancy::Kept);
            (new, None)
        });
        drop(debris);
        home.owners.store(1, Ordering::Relaxed);
        home
    }

    fn is(&self, tenancy: Tenancy) -> bool {
        self.tenancy.load(Ordering::Relaxed) == tenancy as u8
    }

    fn set(&self, tenancy: Tenancy) {
        self.tenancy.store(tenancy as u8, Ordering::Relaxed);
    }

    /// The last node is gone: nobody opens a watcher any more, nobody waits for the end.
    pub(crate) fn abandon(&'static self) {
        self.completion.clear();
        for shard in self.shards() {
            shard.count().release();
        }
        let debris = sync::homes(|homes| {
            self.set(Tenancy::Left);
            let debris = self.clear_out(homes);
            if debris.is_none() {
                homes.left.push_back(self);
            }
            debris
        });
        drop(debris);
    }

    /// Somebody has left who may have been the last.
    #[cold]
    pub(crate) fn vacate(&'static self) {
        let debris = sync::homes(|homes| self.clear_out(homes));
        drop(debris);
    }

    fn clear_out(&'static self, homes: &mut Homes) -> Option<Debris> {
        if !self.is(Tenancy::Left) || !self.is_deserted() {
            return None;
        }
        self.set(Tenancy::Vacant);
        homes.vacant.push(self);
        Some(self.clean())
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::channel;

    #[test]
    fn a_home_whose_last_watcher_outlives_its_nodes_is_used_again() {
        let count = || sync::homes(|homes| homes.vacant.len() + homes.left.len());
        let kept: Vec<_> = (0..10)
            .map(|_| channel().1.watch().expect("not completed"))
            .collect();
        let before = count();
        for _ in 0..1000 {
            let (trigger, signal) = channel();
            let watch = signal.watch().expect("not completed");
            drop((trigger, signal));
            drop(watch);
        }
        // Other tests may do a little of the same.
        assert!(count() < before + 100, "{} after {before}", count());
        drop(kept);
    }
}
