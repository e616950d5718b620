//! A connection's slot, in 32 bits: its place in the queue and what else was fixed when its watch
//! opened; and where that puts the connection at a given word.

use std::time::Duration;

use super::word::{ALL_PLACES, Word};
use crate::phase::Phase;
use crate::schedule::{
    Place, ceil_seconds, envoy_slot, micros, push_slot, ramp_is_due, signal_window,
};
use crate::{DrainEvent, DrainSchedule, DrainedBy};

/// ```text
///  31  29  28  27      17      16      15        0
/// ┌──────┬────┬─────────┬─────────┬──────────────┐
/// │ tag  │late│ timeout │  full   │    place     │
/// └──────┴────┴─────────┴─────────┴──────────────┘
/// ```
///
/// `full`: only a full drain concerns the connection. `late`: it opened too late for a slot. The
/// tag is a phase: an entry keeps there which one its wait waits to pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Slot(u32);

const FULL: u32 = 1 << 16;
const TIMEOUT_SHIFT: u32 = 17;
const IN_SECONDS: u32 = 1 << 10;
const LATE: u32 = 1 << 28;
const TAG_SHIFT: u32 = 29;
const UNTAGGED: u32 = (1 << TAG_SHIFT) - 1;

/// What a slot depends on besides the word; read only under Envoy 1.40's schedule. Microseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Clock {
    pub(crate) drain_time: u64,
    pub(crate) pace: u64,
}

/// Whether the slot with this [`Slot::key`], which was still to come, has come by now.
pub(crate) fn has_come(key: u64, word: Word, clock: Clock) -> bool {
    match word.is_envoy() {
        true => key <= clock.pace,
        false => key < u64::from(word.threshold()),
    }
}

impl Slot {
    #[inline]
    pub(crate) fn new(place: Place, by: DrainedBy, drain_timeout: Duration) -> Self {
        let full = by as u32 * FULL;
        let timeout = (!drain_timeout.is_zero()).then(|| timeout_code(drain_timeout));
        Self(u32::from(place.0) | full | timeout.unwrap_or(0) << TIMEOUT_SHIFT)
    }

    #[inline]
    pub(crate) const fn tag(self) -> Phase {
        Phase::from_bits(self.0 >> TAG_SHIFT)
    }

    #[inline]
    pub(crate) const fn tagged(self, phase: Phase) -> Self {
        Self(self.0 & UNTAGGED | (phase as u32) << TAG_SHIFT)
    }

    pub(crate) const fn place(self) -> Place {
        Place::new((self.0 & 0xffff) as u16)
    }

    /// Which drains concern the connection.
    #[inline]
    pub(crate) const fn drained_by(self) -> DrainedBy {
        if self.0 & FULL == 0 {
            DrainedBy::Any
        } else {
            DrainedBy::Full
        }
    }

    const fn is_late(self) -> bool {
        self.0 & LATE != 0
    }

    fn drain_timeout(self) -> Duration {
        let code = self.0 >> TIMEOUT_SHIFT & (2 * IN_SECONDS - 1);
        if code & IN_SECONDS == 0 {
            Duration::from_millis(10 * u64::from(code))
        } else {
            Duration::from_secs((code & !IN_SECONDS).into())
        }
    }

    /// The slot of a connection that opens `opened` after the start of a drain that concerns it: in
    /// what is left of the window, or late.
    pub(crate) fn opened_during(self, event: &DrainEvent, opened: Duration) -> Self {
        let Some(slot) = push_slot(event, self.place(), Some(opened), self.drain_timeout()) else {
            return Self(self.0 | LATE);
        };
        if event.schedule == DrainSchedule::Envoy140 {
            return self;
        }
        let window = signal_window(event);
        Self(self.0 & !0xffff | u32::from(Place::at(micros(slot), micros(window)).0))
    }

    /// How far the drain has brought this connection (invariant 1).
    #[inline]
    pub(crate) fn phase(self, word: Word, clock: impl FnOnce() -> Clock) -> Phase {
        if !word.concerns(self.drained_by()) {
            return Phase::Open;
        }
        match word.step() {
            Phase::Open if self.has_come(word, clock) => Phase::Signaled,
            step => step,
        }
    }

    fn has_come(self, word: Word, clock: impl FnOnce() -> Clock) -> bool {
        if !word.is_envoy() {
            return !self.is_late() && u32::from(self.place().0) < word.threshold();
        }
        let clock = clock();
        self.envoy_slot(clock).is_some_and(|at| at <= clock.pace)
    }

    /// Orders slots that are still to come: by place, or by microseconds since the start under
    /// Envoy 1.40's schedule.
    pub(crate) fn key(self, word: Word, clock: Clock) -> Option<u64> {
        if !word.concerns(self.drained_by()) || word.step() != Phase::Open {
            None
        } else if word.is_envoy() {
            self.envoy_slot(clock).filter(|&slot| slot > clock.pace)
        } else {
            let place = self.place().0;
            (!self.is_late() && u32::from(place) >= word.threshold()).then(|| place.into())
        }
    }

    fn envoy_slot(self, clock: Clock) -> Option<u64> {
        let drain_time = Duration::from_micros(clock.drain_time);
        let (place, is_late) = (self.place(), self.is_late());
        envoy_slot(drain_time, place, is_late, self.drain_timeout()).map(micros)
    }

    /// Whether a response says goodbye.
    pub(crate) fn response_leaves(self, word: Word, clock: Clock) -> bool {
        if !word.is_envoy() || word.step() > Phase::Open {
            return self.is_late() || self.phase(word, || clock) > Phase::Open;
        }
        let [drain_time, elapsed] = [clock.drain_time, clock.pace].map(Duration::from_micros);
        word.threshold() == ALL_PLACES || ramp_is_due(drain_time / 2, elapsed, || fastrand::u64(..))
    }
}

/// Eleven bits: steps of 10 ms up to 10 s, of a second up to 17 minutes; rounded up.
#[cold]
fn timeout_code(timeout: Duration) -> u32 {
    let steps = timeout.as_millis().div_ceil(10);
    if steps < u128::from(IN_SECONDS) {
        return steps as u32;
    }
    let seconds = ceil_seconds(timeout).as_secs();
    IN_SECONDS | seconds.min(u64::from(IN_SECONDS) - 1) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_timeout_is_kept_to_ten_milliseconds_or_a_second() {
        let kept = |ms| {
            Slot::new(Place::new(0), DrainedBy::Full, Duration::from_millis(ms)).drain_timeout()
        };
        assert_eq!(kept(5_000), Duration::from_secs(5));
        assert_eq!(kept(1), Duration::from_millis(10));
        assert_eq!(kept(60_500), Duration::from_secs(61));
        assert_eq!(kept(10_000_000), Duration::from_secs(1023));
        assert_eq!(kept(u64::MAX), Duration::from_secs(1023));
    }

    #[test]
    fn the_tag_leaves_the_rest_alone() {
        let slot = Slot::new(Place::new(0xbeef), DrainedBy::Full, Duration::from_secs(5));
        let tagged = slot.tagged(Phase::Overdue);
        assert_eq!(
            (tagged.tag(), tagged.place()),
            (Phase::Overdue, slot.place())
        );
        assert_eq!(
            (tagged.drained_by(), tagged.drain_timeout()),
            (DrainedBy::Full, Duration::from_secs(5))
        );
        assert_eq!(tagged.tagged(Phase::Open), slot);
    }
}
