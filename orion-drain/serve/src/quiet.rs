//! When has nothing happened for so long? Pure: moments in, moments out.
//!
//! No clock is read and no timer set each time something happens. While things happen they are
//! looked at every [`PARTS`]th of the time; once nothing has, the rest is slept through, and only
//! the next thing that happens is noted.

use std::time::Duration;

use tokio::time::Instant;

/// How late a quiet connection may be found out: by this part of its time.
const PARTS: u32 = 32;
/// A timer knows no shorter time.
const FINEST: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct Quiet {
    timeout: Duration,
    /// Nothing has happened since then, as far as is known.
    since: Instant,
    rests: bool,
}

/// What a look says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// It has been quiet for the whole time.
    Over,
    Again(Instant),
}

impl Quiet {
    /// From `now` on, and when to look first.
    ///
    /// The first look comes soon, as if something had just happened: a timer that is set nearer
    /// when something does wakes the runtime's driver each time (a write to its eventfd), and a
    /// short connection would cost that.
    pub(super) fn new(timeout: Duration, now: Instant) -> (Self, Instant) {
        let mut quiet = Self {
            // Further than clocks reach is thirty years.
            timeout: timeout.min(Duration::from_secs(30 * 365 * 24 * 3600)),
            since: now,
            rests: false,
        };
        let first = quiet.stirred(now);
        (quiet, first)
    }

    /// Whether it is not looked at until the time is over: then [`Self::stirred`] is to be called
    /// when something happens.
    pub(super) const fn rests(&self) -> bool {
        self.rests
    }

    /// Something happened; when to look.
    pub(super) fn stirred(&mut self, now: Instant) -> Instant {
        self.since = now;
        self.rests = false;
        now + (self.timeout / PARTS).max(FINEST)
    }

    /// The moment to look has come: has anything happened since the last one?
    pub(super) fn look(&mut self, happened: bool, now: Instant) -> Look {
        if happened {
            return Look::Again(self.stirred(now));
        }
        let over = self.since + self.timeout;
        if now >= over {
            return Look::Over;
        }
        self.rests = true;
        Look::Again(over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(32);

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_connection_is_left_alone_for_a_while_however_short_its_time_is() {
        let now = Instant::now();
        let (mut quiet, _) = Quiet::new(Duration::from_nanos(1), now);
        assert_eq!(quiet.look(true, now), Look::Again(now + FINEST));
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_time_ends_at_most_a_small_part_late_and_never_early() {
        for last in 0..400_u64 {
            // Something happens every two seconds up to `last`; it is looked at as asked for.
            let start = Instant::now();
            let (mut quiet, mut next) = Quiet::new(TIMEOUT, start);
            let (mut seen, mut looks) = (0, 0);
            let ended = loop {
                // What happens before the next look.
                let happened =
                    (seen + 1..=last).filter(|second| second % 2 == 0 || *second == last);
                let first = happened
                    .map(|second| at(start, second))
                    .find(|moment| *moment <= next);
                if let (true, Some(moment)) = (quiet.rests(), first) {
                    next = quiet.stirred(moment);
                    seen = (moment - start).as_secs();
                    continue;
                }
                looks += 1;
                let newest = (next - start).as_secs().min(last);
                let happened = (seen + 1..=newest).any(|second| second % 2 == 0 || second == last);
                seen = seen.max(newest);
                match quiet.look(happened, next) {
                    Look::Over => break next,
                    Look::Again(at) => next = at,
                }
            };
            let late = ended - at(start, last);
            assert!(
                late >= TIMEOUT && late <= TIMEOUT + TIMEOUT / PARTS,
                "{last}: {late:?}"
            );
            assert!(looks <= 2 + 2 * last, "{last}: {looks} looks");
        }
    }
}
