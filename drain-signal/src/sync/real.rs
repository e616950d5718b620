//! std's primitives and a spin lock.

mod lease;
mod membarrier;

pub(crate) use once_cell::race::OnceRef;
pub(crate) use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
pub(crate) use std::sync::{Mutex, MutexGuard};

pub(crate) use lease::{SHARDS, my_own_shard, my_shard};
pub(crate) use membarrier::{ask, light, pass, prepare};

use crate::homes::Homes;
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
}
