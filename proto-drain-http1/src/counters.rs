//! How connections ended, counted: six ends that exclude each other; and how many linger now.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of the ways in which connections were closed; clones share the counts, and the bound on
/// how many linger.
///
/// One value for a listener, a filter chain or a process, as the caller chooses. Touched once per
/// connection, at its end.
#[derive(Clone, Default)]
pub struct CloseCounters {
    inner: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    staged: AtomicU64,
    timed_out: AtomicU64,
    byte_bounded: AtomicU64,
    aborted: AtomicU64,
    stalled: AtomicU64,
    refused: AtomicU64,
    lingering: AtomicU64,
}

/// What [`CloseCounters`] had counted at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseCounts {
    /// Staged closes that the peer ended: everything we wrote was there to be read before the
    /// connection went.
    pub staged: u64,
    /// Staged closes that `delayed_close_timeout` ended (Envoy:
    /// `downstream_cx_delayed_close_timeout`).
    pub timed_out: u64,
    /// Staged closes that the byte bound ended: the peer went on sending without reading.
    pub byte_bounded: u64,
    /// Connections dropped without a staged close while the peer was still there, or with a request
    /// unanswered.
    pub aborted: u64,
    /// Closes that ended because the peer took nothing of what was flushed for
    /// `delayed_close_timeout`: it got RST.
    pub stalled: u64,
    /// Connections closed at once because [`max_lingering`](crate::LingerSettings::max_lingering)
    /// others lingered.
    pub refused: u64,
}

impl CloseCounters {
    /// Counters at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The counts now. Each is exact; they are read one after the other, not in one instant.
    #[must_use]
    pub fn counts(&self) -> CloseCounts {
        // Relaxed: counts order nothing else.
        CloseCounts {
            staged: self.inner.staged.load(Ordering::Relaxed),
            timed_out: self.inner.timed_out.load(Ordering::Relaxed),
            byte_bounded: self.inner.byte_bounded.load(Ordering::Relaxed),
            aborted: self.inner.aborted.load(Ordering::Relaxed),
            stalled: self.inner.stalled.load(Ordering::Relaxed),
            refused: self.inner.refused.load(Ordering::Relaxed),
        }
    }

    /// How many connections wait for their peers' end now.
    #[must_use]
    pub fn lingering(&self) -> u64 {
        self.inner.lingering.load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self, end: End) {
        let counter = match end {
            End::Staged => &self.inner.staged,
            End::TimedOut => &self.inner.timed_out,
            End::ByteBounded => &self.inner.byte_bounded,
            End::Aborted => &self.inner.aborted,
            End::Stalled => &self.inner.stalled,
            End::Refused => &self.inner.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// One more connection lingers, if fewer than `most` do. Relaxed: the count bounds, it
    /// publishes nothing.
    pub(crate) fn place(&self, most: u64) -> Option<Place> {
        let before = self.inner.lingering.fetch_add(1, Ordering::Relaxed);
        let place = Place(self.clone());
        (before < most).then_some(place)
    }
}

/// A connection that lingers; counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Place(CloseCounters);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.inner.lingering.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for CloseCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.counts().fmt(f)
    }
}

/// One connection's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Staged,
    TimedOut,
    ByteBounded,
    Aborted,
    Stalled,
    Refused,
}
