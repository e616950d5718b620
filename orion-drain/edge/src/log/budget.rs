//! How many warnings of other libraries are logged: a client that breaks rules makes h2 or hyper
//! warn as often as it likes.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// How many events are let through in a [`WINDOW`].
const EVENTS: u32 = 90;
const WINDOW: Duration = Duration::from_secs(60);

/// Lets the first events of each minute through.
#[derive(Debug, Default)]
pub(super) struct Budget {
    spent: Mutex<Option<Spent>>,
}

#[derive(Debug)]
struct Spent {
    since: Instant,
    events: u32,
}

impl Budget {
    /// Whether there is room for one more event now.
    pub(super) fn has_room(&self) -> bool {
        self.take(Instant::now())
    }

    /// Whether there is room for one more event at `now`.
    fn take(&self, now: Instant) -> bool {
        // A panic with the lock held is impossible, and a count is valid in any case.
        let mut spent = self
            .spent
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let spent = spent.get_or_insert(Spent {
            since: now,
            events: 0,
        });
        if now.saturating_duration_since(spent.since) >= WINDOW {
            *spent = Spent {
                since: now,
                events: 0,
            };
        }
        spent.events = spent.events.saturating_add(1);
        spent.events <= EVENTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_room_for_so_many_events_and_the_next_one_again() {
        let budget = Budget::default();
        let start = Instant::now();
        let taken = |at: Instant| (0..1000).filter(|_| budget.take(at)).count();
        assert_eq!(taken(start), 90);
        assert_eq!(taken(start + WINDOW / 2), 0);
        assert_eq!(taken(start + WINDOW), 90);
    }
}
