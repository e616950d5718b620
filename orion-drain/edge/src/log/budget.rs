//! How many lines there are of what others can cause as often as they like: a client that breaks
//! rules, or a control plane that says the same again and again.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How many events found no room.
static WITHHELD: AtomicU64 = AtomicU64::new(0);

/// How many events found no room in their budget.
pub(crate) fn withheld() -> u64 {
    WITHHELD.load(Ordering::Relaxed)
}

/// Room for so many events at once, and then for one after the other at an even pace.
#[derive(Debug)]
pub(crate) struct Budget {
    at_once: u32,
    each: Duration,
    /// When all that were let through would have been due at that pace.
    due: Mutex<Option<Instant>>,
}

impl Budget {
    /// In any minute there is room for both together.
    pub(crate) const fn new(at_once: u32, a_minute: u32) -> Self {
        Self {
            at_once,
            each: Duration::from_millis(60_000 / a_minute as u64),
            due: Mutex::new(None),
        }
    }

    /// Whether there is room for one more event now; one for which there is none is counted.
    pub(crate) fn has_room(&self) -> bool {
        let has_room = self.take(Instant::now());
        if !has_room {
            WITHHELD.fetch_add(1, Ordering::Relaxed);
        }
        has_room
    }

    /// Whether there is room for one more event at `now`.
    fn take(&self, now: Instant) -> bool {
        // A panic with the lock held is impossible, and a moment is valid in any case.
        let mut last = self
            .due
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let due = last.unwrap_or(now).max(now) + self.each;
        let has_room = due <= now + self.each * self.at_once;
        if has_room {
            *last = Some(due);
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_events_have_room_at_once_and_then_so_many_a_minute() {
        let budget = Budget::new(30, 20);
        let start = Instant::now();
        let taken = |at: Instant| (0..1000).filter(|_| budget.take(at)).count();
        assert_eq!(taken(start), 30);
        assert_eq!(taken(start + Duration::from_secs(2)), 0);
        assert_eq!(taken(start + Duration::from_secs(3)), 1);
        assert_eq!(taken(start + Duration::from_secs(63)), 20);
        assert_eq!(taken(start + Duration::from_secs(3600)), 30);
    }
}
