//! Failed health: a level that may clear, not a drain.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use drain_signal::{DrainDecision, DrainHandle, DrainStrategy};

use crate::schedule::{Rounding, polled_is_due};

/// Whether the server's health check is failed; one for the whole tree.
#[derive(Debug, Clone)]
pub(crate) struct Health(Arc<Level>);

#[derive(Debug)]
struct Level {
    /// Over how much time connections are asked to leave; none at all: at once.
    ramp: Duration,
    /// The first failure; later ones are kept as the time after it.
    first: OnceLock<Instant>,
    /// 0: healthy. Otherwise microseconds from `first` to the failure, plus one.
    failed: AtomicU64,
}

impl Health {
    pub(crate) fn new(ramp: Duration) -> Self {
        Self(Arc::new(Level {
            ramp,
            first: OnceLock::new(),
            failed: AtomicU64::new(0),
        }))
    }

    /// Fails at `now`, unless it is failed already.
    pub(crate) fn fail(&self, now: Instant) {
        let first = *self.0.first.get_or_init(|| now);
        let since = now.saturating_duration_since(first).as_micros();
        let failed = u64::try_from(since)
            .unwrap_or(u64::MAX - 1)
            .saturating_add(1);
        // The Release half pairs with the Acquire loads in `failed` and `is_due`: a thread that
        // sees the level sees `first`; the Acquire half with the Release in `restore`. Relaxed if
        // it fails: failed before, the ramp goes on from there, and nothing is read.
        self.0
            .failed
            .compare_exchange(0, failed, Ordering::AcqRel, Ordering::Relaxed)
            .ok();
    }

    /// Release pairs with the Acquire loads below: what made the server healthy happened before.
    /// Without it a connection that sees healthy could still see the server as it was.
    pub(crate) fn restore(&self) {
        self.0.failed.store(0, Ordering::Release);
    }

    /// Acquire pairs with the Release in `fail` and `restore`.
    #[inline]
    pub(crate) fn failed(&self) -> bool {
        self.0.failed.load(Ordering::Acquire) != 0
    }

    /// Whether failed health makes a connection that asks leave. `now` is asked for only if there
    /// is a ramp, `sample` only inside it.
    #[inline]
    pub(crate) fn is_due(
        &self,
        now: impl FnOnce() -> Instant,
        sample: impl FnOnce() -> u64,
    ) -> bool {
        // Acquire pairs with the Release half in `fail`: without it `first` could be missing, and
        // the ramp be left out.
        let failed = self.0.failed.load(Ordering::Acquire);
        if failed == 0 || self.0.ramp.is_zero() {
            return failed != 0;
        }
        let Some(first) = self.0.first.get() else {
            return true;
        };
        let since_first = now().saturating_duration_since(*first);
        let elapsed = since_first.saturating_sub(Duration::from_micros(failed - 1));
        polled_is_due(
            DrainStrategy::Gradual,
            self.0.ramp,
            elapsed,
            Rounding::Millis,
            sample,
        )
    }
}

/// Whether a connection should leave, by all reasons that a tree knows: its slot in a drain has
/// come, or, for listeners of type `DEFAULT`, the server's health check is failed.
///
/// Health has no direction, no ramp unless
/// [`DrainSettings::health_ramp`](crate::DrainSettings::health_ramp) gives it one, and reverses:
/// connections not yet signaled are left alone again once it is restored (Envoy polls it for that
/// reason, see
/// [`drain_close_util.h`](https://github.com/envoyproxy/envoy/blob/main/source/common/network/drain_close_util.h)).
///
/// `H` is the connection's watch, its handle, or a reference to either.
#[derive(Debug, Clone)]
pub struct Decision<H = DrainHandle> {
    handle: H,
    /// `None` for `MODIFY_ONLY`: there health is not even read.
    health: Option<Health>,
}

impl<H: AsRef<DrainHandle>> Decision<H> {
    pub(crate) const fn new(handle: H, health: Option<Health>) -> Self {
        Self { handle, health }
    }

    /// The connection's handle.
    pub fn handle(&self) -> &DrainHandle {
        self.handle.as_ref()
    }
}

impl<H: AsRef<DrainHandle>> DrainDecision for Decision<H> {
    /// Two atomic loads while nothing drains.
    #[inline]
    fn is_due(&self) -> bool {
        let now = || tokio::time::Instant::now().into_std();
        let unhealthy = |health: &Health| health.is_due(now, || fastrand::u64(..));
        self.health.as_ref().is_some_and(unhealthy) || self.handle().is_due()
    }

    /// Two atomic loads while nothing drains. The first `true` starts the connection's goodbye.
    #[inline]
    fn leave_if_due(&self) -> bool {
        let is_due = self.is_due();
        if is_due {
            self.handle().start_now();
        }
        is_due
    }

    #[inline]
    fn progress(&self) -> Option<u16> {
        self.handle().progress()
    }

    fn leave_early(&self) -> bool {
        self.handle().leave_early()
    }
}
