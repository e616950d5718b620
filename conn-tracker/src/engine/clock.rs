//! The coarse clock: its owner's ticks, read with one load.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Milliseconds since the tracker was made. It stands still until it is advanced, and never goes
/// back.
///
/// Relaxed throughout: it pairs with nothing and orders nothing. A stamp that misses the newest
/// tick is a tick older, no more.
#[derive(Debug, Default)]
#[repr(align(128))] // read by every event, so it shares its line with nothing that is written more often
pub(crate) struct CoarseClock(AtomicU64);

impl CoarseClock {
    pub(crate) fn reset(&self) {
        self.0.store(0, Relaxed);
    }

    #[inline]
    pub(crate) fn millis(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(crate) fn now(&self) -> Duration {
        Duration::from_millis(self.millis())
    }

    pub(crate) fn advance(&self, elapsed: Duration) {
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        self.0.fetch_max(millis, Relaxed);
    }
}
