//! std's primitives, a spin lock, barriers, and which shard is whose.

pub(crate) use once_cell::race::OnceRef;
pub(crate) use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
pub(crate) use std::sync::{Mutex, MutexGuard};

use std::cell::Cell;
use std::sync::atomic::compiler_fence;
use std::sync::{LazyLock, OnceLock};

use crate::home::Homes;
use crate::sync::barrier::{Asked, Barriers};
use crate::sync::lock;

/// Excludes for a few nanoseconds, at the cost of one atomic operation a pass where std's mutex takes two. It is held for
/// one entry, for a portion of a walk, at worst for an allocation; nobody else's code runs meanwhile.
///
/// Whoever finds it taken spins, then yields, then sleeps: a holder that lost its processor gets it back even from a thread
/// of a higher priority.
#[derive(Debug)]
pub(crate) struct SpinMutex<T>(spin::mutex::SpinMutex<T>);

pub(crate) type SpinGuard<'a, T> = spin::mutex::SpinMutexGuard<'a, T>;

impl<T> SpinMutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(spin::mutex::SpinMutex::new(value))
    }

    #[inline]
    pub(crate) fn lock(&self) -> SpinGuard<'_, T> {
        match self.0.try_lock() {
            Some(guard) => guard,
            None => self.wait(),
        }
    }

    #[cold]
    #[inline(never)]
    #[expect(
        clippy::disallowed_methods,
        reason = "the holder has lost its processor, perhaps to this thread"
    )]
    fn wait(&self) -> SpinGuard<'_, T> {
        let mut tries = 0_u32;
        loop {
            match tries {
                0..64 => std::hint::spin_loop(),
                64..256 => std::thread::yield_now(),
                _ => std::thread::sleep(std::time::Duration::from_micros(50)),
            }
            if let Some(guard) = self.0.try_lock() {
                return guard;
            }
            tries = tries.saturating_add(1);
        }
    }
}

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
    let mine = is_supported()
        .then(own)
        .flatten()
        .unwrap_or_else(|| SHARDS + SHARING.fetch_add(1, Ordering::Relaxed) % shard_count());
    MINE.set(mine);
    mine % SHARDS
}

/// Whether one thread can order what others have stored: `membarrier`, on Linux. Elsewhere, or where it is forbidden, watchers
/// are opened by read-modify-writes.
fn is_supported() -> bool {
    static SUPPORTED: OnceLock<bool> = OnceLock::new();
    *SUPPORTED.get_or_init(register)
}

/// Asks the system for its barriers, once a process: in one with several threads that takes some milliseconds, which better
/// pass when a drain is made than when a connection comes.
pub(crate) fn prepare() {
    is_supported();
}

#[cfg(target_os = "linux")]
fn register() -> bool {
    use rustix::thread::{MembarrierCommand as Command, membarrier, membarrier_query};
    membarrier_query().contains_command(Command::PrivateExpedited)
        && membarrier(Command::RegisterPrivateExpedited).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn register() -> bool {
    false
}

/// The barrier of whoever is often here.
#[inline]
pub(crate) fn light() {
    compiler_fence(Ordering::SeqCst);
}

/// The barrier of whoever is seldom here, on all threads: some microseconds.
fn heavy() {
    fence(Ordering::SeqCst);
    if is_supported() && !order_all_threads() {
        // It was granted once, and is forbidden since. A store comes out by itself in far less time than this.
        #[expect(
            clippy::disallowed_methods,
            reason = "there is nobody to wake us when a processor has written its stores"
        )]
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    fence(Ordering::SeqCst);
}

#[cfg(target_os = "linux")]
fn order_all_threads() -> bool {
    rustix::thread::membarrier(rustix::thread::MembarrierCommand::PrivateExpedited).is_ok()
}

#[cfg(not(target_os = "linux"))]
const fn order_all_threads() -> bool {
    true
}

static BARRIERS: LazyLock<Barriers> = LazyLock::new(Barriers::new);

/// Asks for a barrier after what this thread has stored.
pub(crate) fn ask() -> Asked {
    BARRIERS.ask()
}

/// Returns when a barrier has passed since it was asked for.
pub(crate) fn pass(asked: Asked) {
    BARRIERS.pass(asked, heavy);
}

/// The homes that may be used again.
pub(crate) fn homes<R>(with: impl FnOnce(&mut Homes) -> R) -> R {
    static HOMES: Mutex<Homes> = Mutex::new(Homes::new());
    with(&mut lock(&HOMES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_found_taken_is_waited_for() {
        const EACH: usize = 20_000;
        let count = SpinMutex::new(0_usize);
        let add = || {
            for _ in 0..EACH {
                let mut count = count.lock();
                let seen = *count;
                // Gives the processor away with the lock held.
                if seen % 1000 == 0 {
                    std::thread::yield_now();
                }
                *count = seen + 1;
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(add);
            }
        });
        assert_eq!(*count.lock(), 4 * EACH);
    }

    /// Two threads store, have a barrier and look for the other's store, a thousand times at once. Without a barrier on one
    /// side, now and then neither sees the other.
    #[test]
    fn of_a_light_and_a_heavy_side_one_sees_the_other() {
        const ROUNDS: usize = 20_000;
        struct Side {
            stored: AtomicUsize,
            seen: AtomicUsize,
            // A side is a few cache lines apart from the next.
            _apart: [u64; 30],
        }
        if !is_supported() {
            return;
        }
        let sides = [(); 2].map(|()| Side {
            stored: AtomicUsize::new(0),
            seen: AtomicUsize::new(0),
            _apart: [0; 30],
        });
        let arrived = AtomicUsize::new(0);
        let meet = |all: usize| {
            arrived.fetch_add(1, Ordering::AcqRel);
            let mut looks = 0_u32;
            while arrived.load(Ordering::Acquire) < all {
                looks += 1;
                if looks % 1000 == 0 {
                    std::thread::yield_now();
                }
            }
        };
        let play = |mine: &Side, other: &Side, barrier: fn()| {
            let mut missed = 0;
            for round in 1..=ROUNDS {
                meet(4 * round - 2);
                mine.stored.store(round, Ordering::Relaxed);
                barrier();
                let seen = other.stored.load(Ordering::Relaxed);
                mine.seen.store(seen, Ordering::Relaxed);
                meet(4 * round);
                missed += usize::from(seen < round && other.seen.load(Ordering::Relaxed) < round);
            }
            missed
        };
        let missed = std::thread::scope(|scope| {
            scope.spawn(|| play(&sides[0], &sides[1], heavy));
            play(&sides[1], &sides[0], light)
        });
        assert_eq!(missed, 0);
    }
}
