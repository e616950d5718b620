//! The primitives everything here is built on: std's, or loom's under `--cfg loom`.
//!
//! loom has no `OnceLock` and no `OnceRef`; the stand-ins below have their meaning and loom's view of it.

use crate::home::Home;

#[cfg(not(loom))]
pub(crate) use once_cell::race::OnceRef;
#[cfg(not(loom))]
pub(crate) use std::sync::Arc;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
#[cfg(not(loom))]
pub(crate) use std::sync::{Mutex, MutexGuard, OnceLock};

#[cfg(loom)]
pub(crate) use loom::sync::Arc;
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
#[cfg(loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard};

/// Locks, and goes on after a panic elsewhere: every critical section here leaves its data valid at each step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// More shards than this cost the walk at a drain more than sharing saves.
#[cfg(not(loom))]
pub(crate) const SHARDS: usize = 8;
#[cfg(loom)]
pub(crate) const SHARDS: usize = 2;

/// How many threads are told apart; a power of two, about the number of cores, at most [`SHARDS`].
#[cfg(not(loom))]
#[inline]
pub(crate) fn shard_count() -> usize {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    match COUNT.load(Ordering::Relaxed) {
        0 => {
            let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            let count = cores.next_power_of_two().min(SHARDS);
            COUNT.store(count, Ordering::Relaxed);
            count
        }
        count => count,
    }
}

#[cfg(loom)]
pub(crate) const fn shard_count() -> usize {
    SHARDS
}

/// The calling thread's number, counted from 1 in the order of first use, and how many watchers it has opened before.
#[cfg(not(loom))]
#[inline]
pub(crate) fn thread_and_turn() -> (usize, u64) {
    thread_local! {
        static TURN: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    }
    #[cold]
    fn first() -> u64 {
        static THREADS: AtomicU64 = AtomicU64::new(0);
        (THREADS.fetch_add(1, Ordering::Relaxed) + 1) << 48
    }
    TURN.with(|turn| {
        let this = match turn.get() {
            0 => first(),
            this => this,
        };
        turn.set(this + 1);
        ((this >> 48) as usize, this)
    })
}

/// loom runs its threads one at a time on one thread of the system, and numbers them itself.
#[cfg(loom)]
pub(crate) fn thread_and_turn() -> (usize, u64) {
    let id = format!("{:?}", loom::thread::current().id());
    (usize::from(!id.contains('0')), 0)
}

/// The calling thread's number.
pub(crate) fn thread_number() -> usize {
    thread_and_turn().0
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

/// As much of `once_cell::race::OnceRef` as is used here.
#[cfg(loom)]
#[derive(Debug)]
pub(crate) struct OnceRef<'a, T>(OnceLock<&'a T>);

#[cfg(loom)]
impl<'a, T> OnceRef<'a, T> {
    pub(crate) fn new() -> Self {
        Self(OnceLock::new())
    }

    pub(crate) fn get(&self) -> Option<&'a T> {
        self.0.get().copied()
    }

    pub(crate) fn set(&self, value: &'a T) -> Result<(), ()> {
        self.0.set(value).map_err(drop)
    }
}
