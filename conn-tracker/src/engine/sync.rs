//! The primitives whose interleavings matter: std's, or loom's under `--cfg loom`. Everything else
//! in the crate that is atomic (clocks, statistics) orders nothing and uses std directly.

#[cfg(loom)]
pub(crate) use loom::sync::{
    MutexGuard,
    atomic::{AtomicU32, AtomicU64, AtomicUsize},
};
#[cfg(not(loom))]
pub(crate) use std::sync::{
    MutexGuard,
    atomic::{AtomicU32, AtomicU64, AtomicUsize},
};

#[cfg(loom)]
type Inner<T> = loom::sync::Mutex<T>;
#[cfg(not(loom))]
type Inner<T> = std::sync::Mutex<T>;

/// A mutex without poison: by invariant 2 a panic of user code cannot leave half a change behind.
#[derive(Debug)]
pub(crate) struct Mutex<T>(Inner<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Inner::new(value))
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A reference that is set once and then read without a lock.
#[cfg(not(loom))]
pub(crate) type OnceRef<T> = std::sync::OnceLock<&'static T>;

/// The same for loom, which does not know std's.
#[cfg(loom)]
#[derive(Debug)]
pub(crate) struct OnceRef<T: 'static> {
    value: std::sync::OnceLock<&'static T>,
    is_set: loom::sync::atomic::AtomicBool,
}

#[cfg(loom)]
impl<T> OnceRef<T> {
    pub(crate) fn new() -> Self {
        Self {
            value: std::sync::OnceLock::new(),
            is_set: loom::sync::atomic::AtomicBool::new(false),
        }
    }

    pub(crate) fn get(&self) -> Option<&&'static T> {
        // Acquire pairs with the Release in `set`, as in std's `OnceLock`. Without it a model would
        // not report a race that std excludes.
        let is_set = self.is_set.load(std::sync::atomic::Ordering::Acquire);
        self.value.get().filter(|_| is_set)
    }

    pub(crate) fn set(&self, value: &'static T) -> Result<(), &'static T> {
        let set = self.value.set(value);
        // Release pairs with the Acquire in `get`.
        self.is_set
            .store(true, std::sync::atomic::Ordering::Release);
        set
    }
}
