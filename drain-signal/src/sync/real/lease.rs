//! Which shard is whose.

use std::cell::Cell;
use std::sync::OnceLock;

use super::membarrier;
use crate::sync::{AtomicU32, AtomicUsize, Ordering};

/// More shards than this cost the walk at a drain more than sharing saves.
pub(crate) const SHARDS: usize = 8;

/// How many shards a home may have: about the number of cores, a power of two, at most [`SHARDS`].
fn shard_count() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        cores.next_power_of_two().min(SHARDS)
    })
}

thread_local! {
    static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
    static LEASE: Lease = Lease::take();
}

/// A shard of every home, owned as long as a thread lives: nobody else adds to its `opened`.
struct Lease(Option<usize>);

static LEASED: AtomicU32 = AtomicU32::new(0);

impl Lease {
    fn take() -> Self {
        let free = |leased: u32| leased.trailing_ones() as usize;
        let take = |leased| (free(leased) < SHARDS).then(|| leased | 1 << free(leased));
        let taken = LEASED.fetch_update(Ordering::Acquire, Ordering::Relaxed, take);
        Self(taken.ok().map(free))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(shard) = self.0 {
            MINE.set(SHARDS + shard);
            LEASED.fetch_and(!(1 << shard), Ordering::Release);
        }
    }
}

/// Which shard the calling thread owns; no number of a shard if it owns none, or has not asked [`my_shard`] yet.
#[inline]
pub(crate) fn my_own_shard() -> usize {
    MINE.get()
}

/// Which shard the calling thread uses, below [`SHARDS`]: its own if there are barriers and it is one of the first so many,
/// else one of another's, in turns.
pub(crate) fn my_shard() -> usize {
    static SHARING: AtomicUsize = AtomicUsize::new(0);
    let known = MINE.get();
    if known < 2 * SHARDS {
        return known % SHARDS;
    }
    let own = || LEASE.try_with(|lease| lease.0).ok().flatten();
    let mine = membarrier::is_supported()
        .then(own)
        .flatten()
        .unwrap_or_else(|| SHARDS + SHARING.fetch_add(1, Ordering::Relaxed) % shard_count());
    MINE.set(mine);
    mine % SHARDS
}
