//! How long things took, by Envoy's buckets.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::cell::{SHARDS, own_shard};

/// The upper bounds of the buckets, in milliseconds: Envoy's.
///
/// Source:
/// [`histogram_impl.cc`](https://github.com/envoyproxy/envoy/blob/main/source/common/stats/histogram_impl.cc).
pub(super) const BOUNDS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// The quantiles that Envoy's `/stats` has of each histogram, in percent.
pub(super) const QUANTILES: [f64; 10] =
    [0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 100.0];

/// Durations, counted by how long they are: each thread has its own buckets, and they are added up
/// when they are read.
#[derive(Default)]
pub struct Histogram([Shard; SHARDS]);

#[derive(Default)]
#[repr(align(64))]
struct Shard {
    /// One more than there are bounds: the last one has what is longer than all.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    microseconds: AtomicU64,
}

/// A histogram at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Durations {
    buckets: [u64; BOUNDS.len() + 1],
    microseconds: u64,
}

impl Histogram {
    /// Something took so long.
    pub fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let millis = took.as_secs_f64() * 1000.0;
        let shard = &self.0[own_shard()];
        let bucket = BOUNDS.partition_point(|bound| *bound < millis);
        // Counts that are only read to be shown: no order among them is needed.
        shard.buckets[bucket].fetch_add(1, Relaxed);
        shard.microseconds.fetch_add(micros, Relaxed);
    }

    pub(super) fn value(&self) -> Durations {
        let mut sum = Durations::default();
        for shard in &self.0 {
            for (sum, bucket) in sum.buckets.iter_mut().zip(&shard.buckets) {
                *sum += bucket.load(Relaxed);
            }
            let micros = shard.microseconds.load(Relaxed);
            sum.microseconds = sum.microseconds.saturating_add(micros);
        }
        sum
    }
}

impl Durations {
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    pub(super) fn sum_millis(&self) -> f64 {
        self.microseconds as f64 / 1000.0
    }

    /// How many are within each bound, those of the bounds below included.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut below = 0;
        BOUNDS.iter().zip(self.buckets).map(move |(bound, count)| {
            below += count;
            (*bound, below)
        })
    }

    /// The duration, in milliseconds, that so many percent do not exceed: within its bucket as if
    /// all of it were spread evenly. What is longer than the last bound counts as that.
    pub(super) fn quantile(&self, percent: f64) -> f64 {
        let wanted = percent / 100.0 * self.count() as f64;
        let (mut below, mut lower) = (0.0, 0.0);
        for (bound, count) in BOUNDS.iter().zip(self.buckets) {
            let count = count as f64;
            if count > 0.0 && below + count >= wanted {
                return lower + (bound - lower) * ((wanted - below) / count);
            }
            (below, lower) = (below + count, *bound);
        }
        lower
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} recorded", self.value().count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_that_is_not_shorter() {
        let histogram = Histogram::default();
        for micros in [0, 500, 501, 1000, 7000, u64::MAX / 2] {
            histogram.record(Duration::from_micros(micros));
        }
        let value = histogram.value();
        assert_eq!(value.count(), 6);
        let first: Vec<_> = value.cumulative().take(4).collect();
        assert_eq!(first, [(0.5, 2), (1.0, 4), (5.0, 4), (10.0, 5)]);
        assert_eq!(
            value.cumulative().last(),
            Some((3_600_000.0, 5)),
            "the last one is longer"
        );
    }

    #[test]
    fn quantiles_lie_in_the_bucket_that_they_fall_into() {
        let histogram = Histogram::default();
        (0..99).for_each(|_| histogram.record(Duration::from_millis(3)));
        histogram.record(Duration::from_millis(400));
        let value = histogram.value();
        assert_eq!(value.quantile(0.0), 1.0);
        assert!((1.0..=5.0).contains(&value.quantile(50.0)));
        assert!((250.0..=500.0).contains(&value.quantile(99.9)));
        assert_eq!(value.quantile(100.0), 500.0);
        assert_eq!(value.sum_millis(), 697.0);
    }
}
