//! The primitives whose interleavings matter: std's, or loom's under `--cfg loom`. Everything else in the crate
//! that is atomic (clocks, statistics) orders nothing and uses std directly.

use crate::registry::Registry;

#[cfg(loom)]
pub(crate) use loom::sync::{
    MutexGuard,
    atomic::{AtomicU32, AtomicUsize},
};
#[cfg(not(loom))]
pub(crate) use std::sync::{
    MutexGuard,
    atomic::{AtomicU32, AtomicUsize},
};

#[cfg(loom)]
type Inner<T> = loom::sync::Mutex<T>;
#[cfg(not(loom))]
type Inner<T> = std::sync::Mutex<T>;

/// A mutex that does not know poison: nothing of the caller's ever runs under one of our locks, so a panic
/// cannot leave half a change behind.
#[derive(Debug)]
pub(crate) struct Mutex<T>(Inner<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Inner::new(value))
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A small number that differs between threads; it picks the shard, nothing depends on it for correctness.
#[cfg(not(loom))]
#[inline]
pub(crate) fn thread_index() -> usize {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicUsize, Ordering};

    static NEXT: AtomicUsize = AtomicUsize::new(0);
    const UNSET: usize = usize::MAX;
    thread_local!(static INDEX: Cell<usize> = const { Cell::new(UNSET) });

    INDEX.with(|cell| match cell.get() {
        UNSET => {
            let index = NEXT.fetch_add(1, Ordering::Relaxed) & (UNSET >> 1);
            cell.set(index);
            index
        }
        index => index,
    })
}

/// Under loom every model thread gets the next number, counted anew in each execution.
#[cfg(loom)]
pub(crate) fn thread_index() -> usize {
    loom::lazy_static! {
        static ref NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    }
    loom::thread_local!(static INDEX: usize = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    INDEX.with(|index| *index)
}

/// The books that no tracker uses. They stay for the next ones; there are never more than trackers lived at once.
pub(crate) fn unused_books<R>(with: impl FnOnce(&mut Vec<&'static Registry>) -> R) -> R {
    #[cfg(not(loom))]
    {
        static UNUSED: std::sync::Mutex<Vec<&'static Registry>> = std::sync::Mutex::new(Vec::new());
        with(&mut UNUSED.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
    #[cfg(loom)]
    {
        loom::lazy_static! {
            static ref UNUSED: Mutex<Vec<&'static Registry>> = Mutex::new(Vec::new());
        }
        with(&mut UNUSED.lock())
    }
}
