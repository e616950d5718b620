//! How long to wait before the next stream: longer each time, and with a random part, so that many
//! processes do not come back at the same moment.

use std::time::Duration;

/// Envoy's: half a second, doubled each time up to half a minute; any part of it is waited.
///
/// Source:
/// [`backoff_strategy.cc`](https://github.com/envoyproxy/envoy/blob/main/source/common/common/backoff_strategy.cc).
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

impl Backoff {
    pub(super) const fn new() -> Self {
        Self { next: FIRST }
    }

    /// The next wait, by a sample of 0 to 1.
    pub(super) fn wait(&mut self, sample: f64) -> Duration {
        let longest = self.next;
        self.next = (self.next * 2).min(LONGEST);
        longest.mul_f64(sample.clamp(0.0, 1.0))
    }

    /// The control plane has answered.
    pub(super) fn reset(&mut self) {
        self.next = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_half_a_second_to_half_a_minute_and_start_again_after_an_answer() {
        let mut backoff = Backoff::new();
        let waits: Vec<u64> = (0..8)
            .map(|_| backoff.wait(1.0).as_millis() as u64)
            .collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        backoff.reset();
        assert_eq!(backoff.wait(0.5), Duration::from_millis(250));
        assert_eq!(backoff.wait(0.0), Duration::ZERO);
    }
}
