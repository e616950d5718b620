//! How often refusals are reported: a control plane that answers each with the same again must not
//! keep both busy.

use std::time::{Duration, Instant};

/// A hundred at once, then ten a second: the numbers of Envoy's `rate_limit_settings`.
const AT_ONCE: u32 = 100;
const EACH: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// When all that were reported so far would have been due, one after the other.
    due: Option<Instant>,
}

impl Refusals {
    /// How long the next one, at this moment, must wait.
    pub(super) fn wait(&mut self, now: Instant) -> Duration {
        let due = self.due.unwrap_or(now).max(now) + EACH;
        self.due = Some(due);
        due.saturating_duration_since(now + EACH * AT_ONCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_refusals_are_told_at_once_and_ten_a_second_after_them() {
        let (mut refusals, now) = (Refusals::default(), tokio::time::Instant::now().into_std());
        assert!((0..AT_ONCE).all(|_| refusals.wait(now).is_zero()));
        assert_eq!(refusals.wait(now), EACH);
        assert_eq!(refusals.wait(now), EACH * 2);
        // One that has waited does not wait for the same again.
        assert_eq!(refusals.wait(now + EACH * 2), EACH);
        let later = now + Duration::from_secs(60);
        assert!((0..AT_ONCE).all(|_| refusals.wait(later).is_zero()));
    }
}
