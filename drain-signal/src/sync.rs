//! The primitives everything here is built on: std's, or loom's under `--cfg loom`.
//!
//! loom has no `OnceRef` and no spin lock; the stand-ins below have their meaning and loom's view of it.

use crate::home::Home;

#[cfg(not(loom))]
pub(crate) use once_cell::race::OnceRef;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
#[cfg(not(loom))]
pub(crate) use std::sync::{Mutex, MutexGuard};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
#[cfg(loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard};

/// Locks, and goes on after a panic elsewhere: every critical section here leaves its data valid at each step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Excludes for a few nanoseconds, at the cost of one atomic operation a pass where std's mutex takes two. Whoever finds it
/// taken spins, then yields, then sleeps: a holder that lost its processor gets it back even from a thread of a higher
/// priority. Nothing that may block, run somebody else's code or take longer than a walk's portion happens with it held.
#[cfg(not(loom))]
#[derive(Debug)]
pub(crate) struct SpinMutex<T>(spin::mutex::SpinMutex<T>);

#[cfg(not(loom))]
pub(crate) type SpinGuard<'a, T> = spin::mutex::SpinMutexGuard<'a, T>;

#[cfg(not(loom))]
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
        for tries in 0_u32.. {
            match tries {
                0..64 => std::hint::spin_loop(),
                64..256 => std::thread::yield_now(),
                _ => std::thread::sleep(std::time::Duration::from_micros(50)),
            }
            if let Some(guard) = self.0.try_lock() {
                return guard;
            }
        }
        self.0.lock()
    }
}

#[cfg(loom)]
#[derive(Debug)]
pub(crate) struct SpinMutex<T>(Mutex<T>);

#[cfg(loom)]
pub(crate) type SpinGuard<'a, T> = MutexGuard<'a, T>;

#[cfg(loom)]
impl<T> SpinMutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> SpinGuard<'_, T> {
        lock(&self.0)
    }
}

/// More shards than this cost the walk at a drain more than sharing saves.
#[cfg(not(loom))]
pub(crate) const SHARDS: usize = 8;
#[cfg(loom)]
pub(crate) const SHARDS: usize = 2;

/// How many shards a home may have: about the number of cores, a power of two, at most [`SHARDS`].
#[cfg(not(loom))]
fn shard_count() -> usize {
    static COUNT: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *COUNT.get_or_init(|| {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        cores.next_power_of_two().min(SHARDS)
    })
}

/// Which shard is the calling thread's, below [`shard_count`]: threads take turns in the order of first use.
#[cfg(not(loom))]
#[inline]
pub(crate) fn my_shard() -> usize {
    thread_local! {
        /// Counted from 1; 0: not known yet.
        static MINE: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }
    #[cold]
    #[inline(never)]
    fn first() -> usize {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        THREADS.fetch_add(1, Ordering::Relaxed) % shard_count() + 1
    }
    MINE.with(|mine| {
        if mine.get() == 0 {
            mine.set(first());
        }
        mine.get() - 1
    })
}

/// loom runs its threads one at a time on one thread of the system, and numbers them itself.
#[cfg(loom)]
pub(crate) fn my_shard() -> usize {
    let id = format!("{:?}", loom::thread::current().id());
    usize::from(!id.contains('0'))
}

/// The homes that nobody lives in. They stay for the next drains; there are never more than drains lived at once.
pub(crate) fn empty_homes<R>(with: impl FnOnce(&mut Vec<&'static Home>) -> R) -> R {
    #[cfg(not(loom))]
    {
        static HOMES: Mutex<Vec<&'static Home>> = Mutex::new(Vec::new());
        with(&mut lock(&HOMES))
    }
    #[cfg(loom)]
    {
        loom::lazy_static! {
            static ref HOMES: Mutex<Vec<&'static Home>> = Mutex::new(Vec::new());
        }
        with(&mut lock(&HOMES))
    }
}

/// As much of `once_cell::race::OnceRef` as is used here.
#[cfg(loom)]
#[derive(Debug)]
pub(crate) struct OnceRef<'a, T> {
    value: std::sync::OnceLock<&'a T>,
    ready: loom::sync::atomic::AtomicBool,
}

#[cfg(loom)]
impl<'a, T> OnceRef<'a, T> {
    pub(crate) fn new() -> Self {
        Self {
            value: std::sync::OnceLock::new(),
            ready: loom::sync::atomic::AtomicBool::new(false),
        }
    }

    pub(crate) fn get(&self) -> Option<&'a T> {
        if self.ready.load(Ordering::Acquire) {
            self.value.get().copied()
        } else {
            None
        }
    }

    pub(crate) fn set(&self, value: &'a T) -> Result<(), ()> {
        self.value.set(value).map_err(drop)?;
        self.ready.store(true, Ordering::Release);
        Ok(())
    }
}
