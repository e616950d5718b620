//! What all handles of a tracker share: the shards, the groups, the clock, and the tasks that wait
//! for the last connections.

use super::{
    clock::CoarseClock,
    counters::Counters,
    groups::{Group, GroupTable, Key},
    pool::pool,
    shard::{Low, Shard},
    waiters::Waiters,
};
use crate::{counts::ConnCounts, labels::LabelSet};
use drain_sync::{AtomicUsize, Mutex, Ordering, PerShard, lock, wake_each};
use std::{fmt, sync::Arc, task::Waker};

pub(crate) struct Registry {
    shards: PerShard<Shard>,
    built: Mutex<Built>,
    pub(crate) clock: CoarseClock,
    table: Mutex<GroupTable>,
    /// Of the whole tracker.
    pub(crate) waiters: Waiters,
    /// Public handles (not guards).
    pub(crate) handles: AtomicUsize,
    /// See invariant 8: the handles as one, and each shard in which a connection may be open.
    holders: AtomicUsize,
}

/// Which shards there are: the list of parts of the whole tracker.
struct Built {
    /// One bit each.
    shards: u64,
    excluded: LabelSet,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("shards", &self.shards.len())
            .finish_non_exhaustive()
    }
}

impl Registry {
    fn new(shards: usize) -> Self {
        debug_assert!(shards.is_power_of_two());
        Self {
            shards: PerShard::with_len(shards),
            built: Mutex::new(Built {
                shards: 0,
                excluded: LabelSet::NONE,
            }),
            clock: CoarseClock::default(),
            table: Mutex::new(GroupTable::default()),
            waiters: Waiters::new(),
            handles: AtomicUsize::new(0),
            holders: AtomicUsize::new(0),
        }
    }

    // === claimed by a tracker, and recycled (invariant 8) ===

    /// A registry for a new tracker, with one handle: one from the pool, or a new one.
    pub(crate) fn claim(shards: usize, excluded: LabelSet) -> &'static Self {
        let pooled = pool(|pool| {
            let at = pool
                .iter()
                .position(|registry| registry.shards.len() == shards)?;
            Some(pool.swap_remove(at))
        });
        let registry = pooled.unwrap_or_else(|| Box::leak(Box::new(Self::new(shards))));
        registry.clock.reset();
        *lock(&registry.table) = GroupTable::default();
        let mut built = lock(&registry.built);
        built.excluded = excluded;
        for shard in registry.shards_in(built.shards) {
            shard.reset(excluded);
        }
        // Relaxed, both: the claiming thread owns the registry; other threads get it with a handle,
        // and so after these stores.
        let holders = built.shards.count_ones() as usize + 1;
        registry.holders.store(holders, Ordering::Relaxed);
        registry.handles.store(1, Ordering::Relaxed);
        drop(built);
        registry
    }

    /// The last handle is gone: nothing is opened any more, and the end of the last connection
    /// recycles the registry.
    pub(crate) fn abandon(&'static self) {
        let built = lock(&self.built).shards;
        for shard in self.shards_in(built) {
            if shard.abandon() {
                self.release();
            }
        }
        self.release();
    }

    /// One holder less; after the last one the registry is for the next tracker.
    #[cold]
    pub(crate) fn release(&'static self) {
        // AcqRel pairs with itself in the other holders' releases: the last one sees all that they
        // did. The pool's lock passes that on to the next tracker.
        if self.holders.fetch_sub(1, Ordering::AcqRel) == 1 {
            pool(|pool| pool.push(self));
        }
    }

    // === shards ===

    /// The shard of the calling thread. Only through a handle.
    #[inline]
    pub(crate) fn my_shard(&'static self) -> &'static Shard {
        match self.shards.mine() {
            Some(shard) => shard,
            None => self.build(),
        }
    }

    #[cold]
    fn build(&'static self) -> &'static Shard {
        let mut built = lock(&self.built);
        let index = self.shards.my_index();
        self.shards.mine_or_init(|| {
            // Relaxed: the handle through which this is called keeps the count above zero.
            self.holders.fetch_add(1, Ordering::Relaxed);
            built.shards |= 1 << index;
            Shard::new(self, index, built.excluded)
        })
    }

    pub(crate) fn shard(&self, index: usize) -> Option<&Shard> {
        self.shards.get(index)
    }

    /// The shards that are in use, in order.
    pub(crate) fn shards(&self) -> impl Iterator<Item = &Shard> {
        self.shards.iter()
    }

    pub(crate) fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// Those of a list of parts.
    fn shards_in(&self, parts: u64) -> impl Iterator<Item = &Shard> {
        let listed = (0..self.shards.len()).filter(move |index| parts & 1 << index != 0);
        listed.filter_map(|index| self.shards.get(index))
    }

    pub(crate) fn counts(&self) -> ConnCounts {
        ConnCounts::sum(self.shards().map(|shard| &shard.counters))
    }

    // === groups come and go (invariant 7) ===

    /// Finds or makes the group of `key` and takes a handle on it.
    pub(crate) fn group(&self, key: Key) -> Arc<Group> {
        let mut table = lock(&self.table);
        let Some(entry) = table.find(&key) else {
            return table.add(key);
        };
        // Relaxed: from zero to one only under the table's lock, and otherwise as `Handle::clone`.
        entry.group.handles.fetch_add(1, Ordering::Relaxed);
        let group = Arc::clone(&entry.group);
        let was_retired = std::mem::take(&mut entry.is_retired);
        if was_retired {
            group.waiters.set_retired(false);
        }
        group
    }

    /// Releases a handle. A group without handles is removed with its last connection.
    pub(crate) fn release_handle(&self, group: &Arc<Group>) {
        // Release pairs with the Acquire in `Group::has_no_handle`. Without it the group could be
        // removed before a connection that was opened through this handle is counted, and its index
        // be given to another group.
        if group.handles.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        let mut table = lock(&self.table);
        match table.entry_of(group) {
            Some(entry) if group.has_no_handle() && !entry.is_retired => entry.is_retired = true,
            _ => return,
        }
        // From here on the end of a connection looks whether it was the last; see invariant 5.
        group.waiters.set_retired(true);
        self.remove_if_gone(&mut table, group);
    }

    fn remove_if_gone(&self, table: &mut GroupTable, group: &Arc<Group>) {
        match table.entry_of(group) {
            Some(entry) if entry.is_retired => {}
            _ => return,
        }
        // One pass is exact: without a handle nothing is opened, so each counter only falls.
        let mut parts = self.shards_in(group.shards());
        if parts.any(|shard| shard.read(Some(group), Counters::open) > 0) {
            return;
        }
        for shard in self.shards_in(group.shards()) {
            shard.lock().parts.remove(group.index);
        }
        table.remove(group);
    }

    pub(crate) fn groups(&self) -> Vec<Arc<Group>> {
        lock(&self.table).groups().cloned().collect()
    }

    // === few are left (invariants 5 and 6) ===

    /// The tasks that wait for the whole tracker, or for one group.
    pub(crate) fn waiters<'a>(&'a self, group: Option<&'a Arc<Group>>) -> &'a Waiters {
        group.map_or(&self.waiters, |group| &group.waiters)
    }

    /// How many connections that completion waits for were open at most, at a moment during this
    /// call.
    pub(crate) fn at_most(&self, group: Option<&Arc<Group>>) -> u64 {
        let went = self.sum(group, Counters::went);
        let came = self.sum(group, Counters::came);
        came.wrapping_sub(went)
    }

    fn sum(&self, group: Option<&Arc<Group>>, of: impl Fn(&Counters) -> u64) -> u64 {
        let parts = match group {
            None => lock(&self.built).shards,
            Some(group) => group.shards(),
        };
        self.shards_in(parts)
            .map(|shard| shard.read(group, &of))
            .sum()
    }

    /// Called with nothing locked, after a shard saw that one of the numbers tasks wait for is low.
    #[cold]
    pub(crate) fn look(&self, low: Low) {
        let mut wakers = vec![];
        if low.total {
            wakers = self.release_waiters(None);
        }
        for group in low.groups.into_iter().flatten() {
            wakers.extend(self.release_waiters(Some(&group)));
            if group.has_no_handle() {
                self.remove_if_gone(&mut lock(&self.table), &group);
            }
        }
        wake_each(wakers);
    }

    fn release_waiters(&self, group: Option<&Arc<Group>>) -> Vec<Waker> {
        let waiters = self.waiters(group);
        let line = waiters.line();
        waiters.release(line, self.at_most(group))
    }
}
