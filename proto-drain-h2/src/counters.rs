//! Counters: how many connections linger, and how their ends came.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How the HTTP/2 connections of one [`H2Drain`](crate::H2Drain) have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseCounts {
    /// Connections in their delayed close now.
    pub lingering: u64,
    /// Delayed closes that ended because the peer closed.
    pub peer_closed: u64,
    /// Delayed closes in which the peer did not close in time.
    pub timed_out: u64,
    /// Delayed closes that were left out because
    /// [`max_lingering`](crate::H2DrainSettings::max_lingering) others ran.
    pub refused: u64,
    /// Connections given up because their peer took nothing for `delayed_close_timeout`.
    pub stalled: u64,
}

/// Shared by the connections of one server. Relaxed throughout: nothing else is read by what a
/// counter says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters(Arc<Values>);

#[derive(Debug, Default)]
struct Values {
    lingering: AtomicU64,
    peer_closed: AtomicU64,
    timed_out: AtomicU64,
    refused: AtomicU64,
    stalled: AtomicU64,
}

impl Counters {
    pub(crate) fn counts(&self) -> CloseCounts {
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed);
        CloseCounts {
            lingering: load(&self.0.lingering),
            peer_closed: load(&self.0.peer_closed),
            timed_out: load(&self.0.timed_out),
            refused: load(&self.0.refused),
            stalled: load(&self.0.stalled),
        }
    }

    pub(crate) fn stalled(&self) {
        self.0.stalled.fetch_add(1, Ordering::Relaxed);
    }

    /// One of at most `max` delayed closes.
    pub(crate) fn linger(&self, max: u64) -> Option<Lingering> {
        if self.0.lingering.fetch_add(1, Ordering::Relaxed) >= max {
            self.0.lingering.fetch_sub(1, Ordering::Relaxed);
            self.0.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(Lingering {
            counters: self.clone(),
            peer_closed: false,
        })
    }
}

/// A running delayed close; dropping it ends its count.
#[derive(Debug)]
pub(crate) struct Lingering {
    counters: Counters,
    peer_closed: bool,
}

impl Lingering {
    pub(crate) fn peer_closed(&mut self) {
        self.peer_closed = true;
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let values = &*self.counters.0;
        values.lingering.fetch_sub(1, Ordering::Relaxed);
        let ended = if self.peer_closed {
            &values.peer_closed
        } else {
            &values.timed_out
        };
        ended.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_linger_than_may() {
        let counters = Counters::default();
        let mut first = counters.linger(2);
        let second = counters.linger(2);
        assert!(first.is_some() && second.is_some() && counters.linger(2).is_none());
        first.iter_mut().for_each(Lingering::peer_closed);
        drop(first);
        assert!(counters.linger(2).is_some());
        let counts = counters.counts();
        assert_eq!((counts.lingering, counts.refused), (1, 1));
        assert_eq!((counts.peer_closed, counts.timed_out), (1, 1));
        drop(second);
        assert_eq!(counters.counts().lingering, 0);
    }
}
