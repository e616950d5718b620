//! What is counted of the drains of each listener: how long they took, how many ran into their
//! deadline, by which strategy.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use drain_signal::DrainStrategy;

use super::Counter;

/// The upper bounds of the histogram's buckets, in seconds: from a drain without a connection to
/// Envoy's parent shutdown time.
pub(super) const BOUNDS: [u64; 9] = [1, 5, 10, 30, 60, 120, 300, 600, 900];

/// How many listeners that are gone still show how their last drains ended.
const GONE: usize = 32;

/// The drains of all listeners. Locked when a version begins or ends its life, and when statistics
/// are read.
#[derive(Debug, Default)]
pub(crate) struct Drains {
    listeners: Mutex<Listeners>,
    gradual: Counter,
    immediate: Counter,
}

#[derive(Debug, Default)]
struct Listeners {
    known: HashMap<String, OfListener>,
    /// Those without a living version, the one that went first in front.
    gone: VecDeque<String>,
}

/// Of one listener.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OfListener {
    versions: usize,
    pub(super) timeouts: u64,
    pub(super) durations: Histogram,
}

/// Drains by how long they took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Histogram {
    /// As many as there are bounds, each without those below.
    pub(super) buckets: [u64; BOUNDS.len()],
    pub(super) count: u64,
    pub(super) sum: Duration,
}

impl Drains {
    /// A version of the listener begins its life.
    pub(crate) fn version_created(&self, listener: &str) {
        let mut listeners = self.lock();
        listeners.gone.retain(|name| name != listener);
        listeners
            .known
            .entry(listener.to_owned())
            .or_default()
            .versions += 1;
    }

    /// A version is gone.
    pub(crate) fn version_gone(&self, listener: &str) {
        let mut listeners = self.lock();
        let Some(known) = listeners.known.get_mut(listener) else {
            return;
        };
        known.versions = known.versions.saturating_sub(1);
        if known.versions > 0 {
            return;
        }
        listeners.gone.push_back(listener.to_owned());
        if listeners.gone.len() > GONE {
            if let Some(oldest) = listeners.gone.pop_front() {
                listeners.known.remove(&oldest);
            }
        }
    }

    /// A drain begins.
    pub(crate) fn started(&self, strategy: DrainStrategy) {
        match strategy {
            DrainStrategy::Gradual => self.gradual.inc(),
            DrainStrategy::Immediate => self.immediate.inc(),
        }
    }

    /// A drain is over.
    pub(crate) fn ended(&self, listener: &str, took: Duration, timed_out: bool) {
        let mut listeners = self.lock();
        let Some(known) = listeners.known.get_mut(listener) else {
            return;
        };
        known.timeouts += u64::from(timed_out);
        let durations = &mut known.durations;
        durations.count += 1;
        durations.sum += took;
        let bucket = BOUNDS
            .iter()
            .position(|bound| took <= Duration::from_secs(*bound));
        if let Some(bucket) = bucket {
            durations.buckets[bucket] += 1;
        }
    }

    pub(super) fn by_strategy(&self) -> [(&'static str, u64); 2] {
        [
            ("gradual", self.gradual.value()),
            ("immediate", self.immediate.value()),
        ]
    }

    /// By listener, sorted by name.
    pub(super) fn by_listener(&self) -> Vec<(String, OfListener)> {
        let listeners = self.lock();
        let all = listeners.known.iter();
        let mut all: Vec<_> = all.map(|(name, of)| (name.clone(), of.clone())).collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }

    fn lock(&self) -> MutexGuard<'_, Listeners> {
        // Counts are never left half-changed by a panic.
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_that_is_gone_is_forgotten_after_a_bounded_number_of_others() {
        let drains = Drains::default();
        let live = |name: &str| {
            drains.version_created(name);
            drains.ended(name, Duration::from_secs(7), true);
            drains.version_gone(name);
        };
        drains.version_created("stays");
        live("first");
        for other in 0..GONE - 1 {
            live(&other.to_string());
        }
        let known = |name: &str| drains.by_listener().iter().any(|(known, _)| known == name);
        assert!(known("first"), "its last drain can still be read");
        live("one more");
        assert!(!known("first") && known("stays"));
        assert_eq!(drains.by_listener().len(), GONE + 1);
    }

    #[test]
    fn a_listener_that_comes_back_goes_on_counting() {
        let drains = Drains::default();
        for _ in 0..2 {
            drains.version_created("in");
            drains.ended("in", Duration::from_secs(7), true);
            drains.version_gone("in");
        }
        let (_, of) = drains.by_listener().pop().expect("one");
        assert_eq!((of.timeouts, of.durations.count), (2, 2));
        assert_eq!(of.durations.buckets, [0, 0, 2, 0, 0, 0, 0, 0, 0]);
        assert_eq!(drains.lock().gone.len(), 1);
    }
}
