//! std's primitives, a spin lock, and which shard is whose.

pub(crate) use once_cell::race::OnceRef;
pub(crate) use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
pub(crate) use std::sync::{Mutex, MutexGuard};

use crate::home::Home;
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
    static COUNT: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *COUNT.get_or_init(|| {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        cores.next_power_of_two().min(SHARDS)
    })
}

thread_local! {
    static MINE: std::cell::Cell<usize> = const { std::cell::Cell::new(usize::MAX) };
}

/// Which shard is the calling thread's: below [`SHARDS`] once it has asked [`my_shard`], nonsense before.
#[inline]
pub(crate) fn my_known_shard() -> usize {
    MINE.get()
}

/// Which shard is the calling thread's, below [`SHARDS`]: threads take turns in the order of first use.
pub(crate) fn my_shard() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    if MINE.get() >= SHARDS {
        MINE.set(THREADS.fetch_add(1, Ordering::Relaxed) % shard_count());
    }
    MINE.get()
}

/// The homes that nobody lives in. They stay for the next drains; there are never more than drains lived at once.
pub(crate) fn empty_homes<R>(with: impl FnOnce(&mut Vec<&'static Home>) -> R) -> R {
    static HOMES: Mutex<Vec<&'static Home>> = Mutex::new(Vec::new());
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
}
