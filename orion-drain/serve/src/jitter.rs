//! `drain_timeout_jitter`: how much longer than the others each connection waits for its final
//! GOAWAY.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// 2^32 divided by the golden ratio: each next point falls into the widest gap that is left.
const STEP: u32 = 0x9e37_79b9;

/// Shares out `[0, most)` evenly, however many connections there are. Envoy throws a die for each.
#[derive(Debug)]
pub(super) struct Jitter {
    most: Duration,
    turn: AtomicU32,
}

impl Jitter {
    /// `None`: no connection waits longer.
    pub(super) fn up_to(most: Duration) -> Option<Arc<Self>> {
        (!most.is_zero()).then(|| {
            Arc::new(Self {
                most,
                turn: AtomicU32::new(0),
            })
        })
    }

    /// The share of the next connection.
    pub(super) fn next(&self) -> Duration {
        let point = self.turn.fetch_add(STEP, Ordering::Relaxed);
        self.most
            .mul_f64(f64::from(point) / (f64::from(u32::MAX) + 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_connections_wait_at_ten_places_of_the_jitter() {
        let jitter = Jitter::up_to(Duration::from_secs(10)).expect("a jitter");
        let mut seconds: Vec<_> = (0..10).map(|_| jitter.next().as_secs()).collect();
        seconds.sort_unstable();
        seconds.dedup();
        assert!(
            seconds.len() >= 8 && seconds.iter().all(|second| *second < 10),
            "{seconds:?}"
        );
        assert!(Jitter::up_to(Duration::ZERO).is_none());
    }
}
