//! The primitives the tree is built on: std's, or the models' under `--cfg loom` and `--cfg shuttle`.
//!
//! Reference counts stay std's everywhere: nothing here depends on when one reaches zero.

#[cfg(loom)]
use loom as model;
#[cfg(shuttle)]
use shuttle as model;
#[cfg(not(any(loom, shuttle)))]
use std as model;

pub(crate) use model::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
pub(crate) use model::sync::{Mutex, MutexGuard};

/// Locks, and goes on after a panic elsewhere: every critical section here leaves its data valid at each step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
