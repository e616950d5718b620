//! The barriers of [`barrier`](crate::sync::barrier), as the system has them.

use std::sync::atomic::compiler_fence;
use std::sync::{LazyLock, OnceLock};

use crate::sync::barrier::{Asked, Barriers};
use crate::sync::{Ordering, fence};

/// Whether one thread can order what others have stored: `membarrier`, on Linux. Elsewhere, or where it is forbidden, watchers
/// are opened by read-modify-writes.
pub(super) fn is_supported() -> bool {
    static SUPPORTED: OnceLock<bool> = OnceLock::new();
    *SUPPORTED.get_or_init(register)
}

/// Asks the system for its barriers, once a process: in one with several threads that takes some milliseconds, which better
/// pass when a drain is made than when a connection comes.
pub(crate) fn prepare() {
    is_supported();
}

#[cfg(target_os = "linux")]
fn register() -> bool {
    use rustix::thread::{MembarrierCommand as Command, membarrier, membarrier_query};
    membarrier_query().contains_command(Command::PrivateExpedited)
        && membarrier(Command::RegisterPrivateExpedited).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn register() -> bool {
    false
}

/// The barrier of whoever is often here.
#[inline]
pub(crate) fn light() {
    compiler_fence(Ordering::SeqCst);
}

/// The barrier of whoever is seldom here, on all threads: some microseconds.
fn heavy() {
    fence(Ordering::SeqCst);
    if is_supported() && !order_all_threads() {
        // It was granted once, and is forbidden since. A store comes out by itself in far less time than this.
        for _ in 0..100 {
            std::thread::yield_now();
        }
    }
    fence(Ordering::SeqCst);
}

#[cfg(target_os = "linux")]
fn order_all_threads() -> bool {
    rustix::thread::membarrier(rustix::thread::MembarrierCommand::PrivateExpedited).is_ok()
}

#[cfg(not(target_os = "linux"))]
const fn order_all_threads() -> bool {
    true
}

static BARRIERS: LazyLock<Barriers> = LazyLock::new(Barriers::new);

/// Asks for a barrier after what this thread has stored.
pub(crate) fn ask() -> Asked {
    BARRIERS.ask()
}

/// Returns when a barrier has passed since it was asked for.
pub(crate) fn pass(asked: Asked) {
    BARRIERS.pass(asked, heavy);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::AtomicUsize;

    /// Two threads store, have a barrier and look for the other's store, a thousand times at once. Without a barrier on one
    /// side, now and then neither sees the other.
    #[test]
    fn of_a_light_and_a_heavy_side_one_sees_the_other() {
        const ROUNDS: usize = 20_000;
        struct Side {
            stored: AtomicUsize,
            seen: AtomicUsize,
            // A side is a few cache lines apart from the next.
            _apart: [u64; 30],
        }
        if !is_supported() {
            return;
        }
        let sides = [(); 2].map(|()| Side {
            stored: AtomicUsize::new(0),
            seen: AtomicUsize::new(0),
            _apart: [0; 30],
        });
        let arrived = AtomicUsize::new(0);
        let meet = |all: usize| {
            arrived.fetch_add(1, Ordering::AcqRel);
            let mut looks = 0_u32;
            while arrived.load(Ordering::Acquire) < all {
                looks += 1;
                if looks % 1000 == 0 {
                    std::thread::yield_now();
                }
            }
        };
        let play = |mine: &Side, other: &Side, barrier: fn()| {
            let mut missed = 0;
            for round in 1..=ROUNDS {
                meet(4 * round - 2);
                mine.stored.store(round, Ordering::Relaxed);
                barrier();
                let seen = other.stored.load(Ordering::Relaxed);
                mine.seen.store(seen, Ordering::Relaxed);
                meet(4 * round);
                missed += usize::from(seen < round && other.seen.load(Ordering::Relaxed) < round);
            }
            missed
        };
        let missed = std::thread::scope(|scope| {
            scope.spawn(|| play(&sides[0], &sides[1], heavy));
            play(&sides[1], &sides[0], light)
        });
        assert_eq!(missed, 0);
    }
}
