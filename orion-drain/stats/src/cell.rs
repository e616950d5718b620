//! A number that many threads count and few read: one cache line for each thread, added up when it
//! is read.

use std::{
    cell::Cell,
    fmt,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

pub(super) const SHARDS: usize = 8;

#[derive(Default)]
#[repr(align(64))]
struct Shard(AtomicU64);

/// Threads beyond `SHARDS` share.
pub(super) fn own_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<usize> = Cell::new(NEXT.fetch_add(1, Relaxed) % SHARDS);
    }
    OWN.get()
}

#[derive(Default)]
struct Sum([Shard; SHARDS]);

impl Sum {
    fn add(&self, amount: u64) {
        self.0[own_shard()].0.fetch_add(amount, Relaxed);
    }

    /// A shard may be "negative": what one thread adds another may take away. The sum is exact once
    /// they rest.
    fn sum(&self) -> u64 {
        self.0
            .iter()
            .fold(0, |sum, shard| sum.wrapping_add(shard.0.load(Relaxed)))
    }
}

/// A number that only grows.
#[derive(Default)]
pub struct Counter(Sum);

impl Counter {
    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// `amount` more.
    pub fn add(&self, amount: u64) {
        self.0.add(amount);
    }

    /// How many there were.
    pub fn value(&self) -> u64 {
        self.0.sum()
    }
}

/// A number that goes up and down.
#[derive(Default)]
pub struct Gauge(Sum);

impl Gauge {
    /// One more.
    pub fn inc(&self) {
        self.0.add(1);
    }

    /// One less.
    pub fn dec(&self) {
        self.0.add(1_u64.wrapping_neg());
    }

    /// Exactly so many. For gauges that one task sets; it does not go together with
    /// [`inc`](Self::inc).
    pub fn set(&self, value: u64) {
        let (first, rest) = (&self.0.0[0], &self.0.0[1..]);
        for shard in rest {
            shard.0.store(0, Relaxed);
        }
        first.0.store(value, Relaxed);
    }

    /// How many there are. While others count, a sum that would be below zero is zero.
    pub fn value(&self) -> u64 {
        let sum = self.0.sum();
        if sum > u64::MAX / 2 { 0 } else { sum }
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.value())
    }
}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.value())
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn no_count_is_lost_between_threads() {
        let (counter, gauge) = (Counter::default(), Gauge::default());
        thread::scope(|scope| {
            for _ in 0..2 * SHARDS {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        counter.inc();
                        gauge.inc();
                    }
                });
            }
        });
        assert_eq!(counter.value(), 2000 * SHARDS as u64);
        thread::scope(|scope| {
            scope.spawn(|| (0..1000).for_each(|_| gauge.dec()));
        });
        assert_eq!(gauge.value(), 2000 * SHARDS as u64 - 1000);
    }

    #[test]
    fn a_gauge_that_is_set_says_exactly_that() {
        let gauge = Gauge::default();
        thread::scope(|scope| {
            scope.spawn(|| gauge.set(7));
        });
        assert_eq!(gauge.value(), 7);
        gauge.set(0);
        assert_eq!(gauge.value(), 0);
    }

    #[test]
    fn a_gauge_is_never_below_zero() {
        let gauge = Gauge::default();
        gauge.dec();
        assert_eq!(gauge.value(), 0);
    }
}
