//! The primitives everything here is built on: std's, or loom's under `--cfg loom`.
//!
//! loom has no `OnceLock`; the stand-in below has std's meaning and loom's view of it.

#[cfg(not(loom))]
pub(crate) use std::sync::Arc;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::sync::{Mutex, MutexGuard, OnceLock};

#[cfg(loom)]
pub(crate) use loom::sync::Arc;
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
#[cfg(loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard};

/// Locks, and goes on after a panic elsewhere: every critical section here leaves its data valid at each step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The calling thread's number, counted from 0 in the order of first use.
pub(crate) fn thread_number() -> usize {
    #[cfg(not(loom))]
    {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed);
        }
        NUMBER.with(|number| *number)
    }
    // loom runs its threads one at a time on one thread of the system, and numbers them itself.
    #[cfg(loom)]
    {
        let id = format!("{:?}", loom::thread::current().id());
        usize::from(!id.contains('0'))
    }
}

/// As many shards as cores, at most eight: beyond that the walk at a drain costs more than sharing saves.
pub(crate) fn shard_count() -> usize {
    #[cfg(not(loom))]
    {
        static COUNT: OnceLock<usize> = OnceLock::new();
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        *COUNT.get_or_init(|| cores().next_power_of_two().min(8))
    }
    #[cfg(loom)]
    {
        2
    }
}

/// As much of `std::sync::OnceLock` as is used here.
#[cfg(loom)]
#[derive(Debug)]
pub(crate) struct OnceLock<T> {
    value: std::sync::OnceLock<T>,
    ready: loom::sync::atomic::AtomicBool,
}

#[cfg(loom)]
impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        Self {
            value: std::sync::OnceLock::new(),
            ready: loom::sync::atomic::AtomicBool::new(false),
        }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        if self.ready.load(Ordering::Acquire) {
            self.value.get()
        } else {
            None
        }
    }

    pub(crate) fn set(&self, value: T) -> Result<(), T> {
        self.value.set(value)?;
        self.ready.store(true, Ordering::Release);
        Ok(())
    }

    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        if self.get().is_none() {
            drop(self.set(make()));
        }
        loop {
            match self.get() {
                Some(value) => return value,
                None => loom::thread::yield_now(),
            }
        }
    }
}
