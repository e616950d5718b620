//! The primitives everything is built on: std's, or the models' under `--cfg loom` and `--cfg
//! shuttle`.

#[cfg(loom)]
use loom as model;
#[cfg(shuttle)]
use shuttle as model;
#[cfg(not(any(loom, shuttle)))]
use std as model;

pub use model::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};
pub use model::sync::{Mutex, MutexGuard};

#[cfg(not(any(loom, shuttle)))]
pub(crate) use once_cell::race::OnceBox;

/// Locks, and goes on after a panic elsewhere: every critical section of the crates that use this
/// leaves its data valid at each step, and calls no code of a user.
#[inline]
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The value of a mutex that its owner has alone, without a lock; as [`lock`] after a panic.
#[inline]
pub fn get_mut<T>(mutex: &mut Mutex<T>) -> &mut T {
    mutex
        .get_mut()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// As much of `once_cell::race::OnceBox` as is used here, and the model's view of it.
#[cfg(any(loom, shuttle))]
#[derive(Debug)]
pub(crate) struct OnceBox<T> {
    value: std::sync::OnceLock<T>,
    ready: AtomicBool,
}

#[cfg(any(loom, shuttle))]
impl<T> OnceBox<T> {
    pub(crate) fn new() -> Self {
        Self {
            value: std::sync::OnceLock::new(),
            ready: AtomicBool::new(false),
        }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        // Acquire pairs with the Release in `set`: a thread that sees the flag sees the value, as
        // in once_cell. Without it a model would not report a race that once_cell excludes.
        if self.ready.load(Ordering::Acquire) {
            self.value.get()
        } else {
            None
        }
    }

    pub(crate) fn set(&self, value: Box<T>) -> Result<(), Box<T>> {
        let lost = self.value.set(*value);
        // Release pairs with the Acquire in `get`. Also by a thread that lost the race: there is a
        // value then.
        self.ready.store(true, Ordering::Release);
        lost.map_err(Box::new)
    }
}
