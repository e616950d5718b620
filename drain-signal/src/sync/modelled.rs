//! loom's and shuttle's primitives. Neither has an `OnceRef` or a spin lock; the stand-ins below have their meaning and the
//! model's view of it.

#[cfg(loom)]
use loom as model;
#[cfg(shuttle)]
use shuttle as model;

pub(crate) use model::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
pub(crate) use model::sync::{Mutex, MutexGuard};

use crate::homes::Homes;
use crate::sync::barrier::{Asked, Barriers};
use crate::sync::lock;

#[derive(Debug)]
pub(crate) struct SpinMutex<T>(Mutex<T>);

pub(crate) type SpinGuard<'a, T> = MutexGuard<'a, T>;

impl<T> SpinMutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> SpinGuard<'_, T> {
        lock(&self.0)
    }
}

pub(crate) const SHARDS: usize = 2;

/// A model runs its threads one at a time on one thread of the system, and numbers them itself.
fn my_number() -> usize {
    let id = format!("{:?}", model::thread::current().id());
    let number = id.bytes().rfind(u8::is_ascii_digit).unwrap_or(b'0');
    usize::from(number - b'0')
}

/// The first threads own one each, the others share them.
pub(crate) fn my_own_shard() -> usize {
    my_number()
}

pub(crate) fn my_shard() -> usize {
    my_number() % SHARDS
}

pub(crate) const fn prepare() {}

/// Sequentially consistent fences both: two light barriers order more here than they do in truth, so nothing may rest on that.
pub(crate) fn light() {
    fence(Ordering::SeqCst);
}

fn heavy() {
    fence(Ordering::SeqCst);
}

model::lazy_static! {
    static ref BARRIERS: Barriers = Barriers::new();
}

pub(crate) fn ask() -> Asked {
    BARRIERS.ask()
}

pub(crate) fn pass(asked: Asked) {
    BARRIERS.pass(asked, heavy);
}

model::lazy_static! {
    static ref HOMES: Mutex<Homes> = Mutex::new(Homes::new());
}

/// The homes that may be used again, in this run of the model.
pub(crate) fn homes<R>(with: impl FnOnce(&mut Homes) -> R) -> R {
    with(&mut lock(&HOMES))
}

/// As much of `once_cell::race::OnceRef` as is used here.
#[derive(Debug)]
pub(crate) struct OnceRef<'a, T> {
    value: std::sync::OnceLock<&'a T>,
    ready: model::sync::atomic::AtomicBool,
}

impl<'a, T> OnceRef<'a, T> {
    pub(crate) fn new() -> Self {
        Self {
            value: std::sync::OnceLock::new(),
            ready: model::sync::atomic::AtomicBool::new(false),
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
