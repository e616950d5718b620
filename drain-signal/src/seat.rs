//! What is fixed about a connection when its watcher opens, in 32 bits; and where that puts it at a given word.

use std::time::Duration;

use crate::phase::Phase;
use crate::schedule::{Place, envoy_slot, micros, place_at, push_slot, response_slot};
use crate::word::{ALL_PLACES, Word};
use crate::{DrainDirection, DrainEvent, DrainSchedule};

/// Its place, its `drain_timeout`, whether only a drain in every direction concerns it, and whether it came too late for
/// a slot.
///
/// ```text
///  31  29  28  27      17      16      15        0
/// ┌──────┬────┬─────────┬─────────┬──────────────┐
/// │ tag  │late│ timeout │ outside │    place     │
/// └──────┴────┴─────────┴─────────┴──────────────┘
/// ```
///
/// The tag belongs to whoever stores the seat: a handle keeps its hold there, the slab the phase parked in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seat(u32);

const OUTSIDE: u32 = 1 << 16;
const TIMEOUT_SHIFT: u32 = 17;
const IN_SECONDS: u32 = 1 << 10;
const LATE: u32 = 1 << 28;
const TAG_SHIFT: u32 = 29;
const UNTAGGED: u32 = (1 << TAG_SHIFT) - 1;

/// What a seat's phase depends on besides the word; read only under Envoy 1.40's schedule.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Clock {
    pub(crate) drain_time: u64,
    pub(crate) pace: u64,
}

impl Seat {
    #[inline]
    pub(crate) fn new(place: Place, scope: DrainDirection, drain_timeout: Duration) -> Self {
        let outside = match scope {
            DrainDirection::InboundOnly => 0,
            DrainDirection::All => OUTSIDE,
        };
        let timeout = if drain_timeout.is_zero() {
            0
        } else {
            timeout_code(drain_timeout)
        };
        Self(u32::from(place.numerator()) | outside | timeout << TIMEOUT_SHIFT)
    }

    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    pub(crate) const fn bits(self) -> u32 {
        self.0
    }

    #[inline]
    pub(crate) const fn tag(self) -> u32 {
        self.0 >> TAG_SHIFT
    }

    #[inline]
    pub(crate) const fn tagged(self, tag: u32) -> Self {
        Self(self.0 & UNTAGGED | tag << TAG_SHIFT)
    }

    pub(crate) const fn place(self) -> Place {
        Place::new((self.0 & 0xffff) as u16)
    }

    /// Whether a drain of inbound listeners leaves this connection alone.
    #[inline]
    pub(crate) const fn is_outside(self) -> bool {
        self.0 & OUTSIDE != 0
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

    /// The seat of a connection that opens `opened` after the start of a drain that concerns it: its slot lies in what
    /// is left of the window, or it is late.
    pub(crate) fn opened_during(self, event: &DrainEvent, opened: Duration) -> Self {
        let Some(slot) = push_slot(event, self.place(), Some(opened), self.drain_timeout()) else {
            return Self(self.0 | LATE);
        };
        if event.schedule == DrainSchedule::Envoy140 {
            return self;
        }
        let window = crate::schedule::telling_window(event);
        debug_assert!(response_slot(event, self.place(), Some(opened)) == slot);
        Self(self.0 & !0xffff | u32::from(place_at(micros(slot), micros(window)).numerator()))
    }

    /// Whether the drain that `word` speaks of concerns this connection.
    #[inline]
    pub(crate) const fn is_concerned(self, word: Word) -> bool {
        !(word.is_idle() || word.is_narrow() && self.is_outside())
    }

    /// How far the drain has brought this connection. As words and paces follow each other it only moves forward.
    pub(crate) fn phase(self, word: Word, clock: impl FnOnce() -> Clock) -> Phase {
        if !self.is_concerned(word) {
            return Phase::Open;
        }
        match word.step() {
            Phase::Open => {}
            step => return step,
        }
        let told = if word.is_envoy() {
            let clock = clock();
            self.envoy_slot(clock).is_some_and(|slot| slot <= clock.pace)
        } else {
            !self.is_late() && u32::from(self.place().numerator()) < word.threshold()
        };
        if told { Phase::Signaled } else { Phase::Open }
    }

    /// The key of this connection's slot if it is still to come: its place, or microseconds since the start under Envoy
    /// 1.40's schedule.
    pub(crate) fn slot_key(self, word: Word, clock: Clock) -> Option<u64> {
        if !self.is_concerned(word) || word.step() != Phase::Open {
            None
        } else if word.is_envoy() {
            self.envoy_slot(clock).filter(|&slot| slot > clock.pace)
        } else {
            let place = self.place().numerator();
            (!self.is_late() && u32::from(place) >= word.threshold()).then(|| place.into())
        }
    }

    fn envoy_slot(self, clock: Clock) -> Option<u64> {
        let drain_time = Duration::from_micros(clock.drain_time);
        envoy_slot(drain_time, self.place(), self.is_late(), self.drain_timeout()).map(micros)
    }

    /// Whether a response says goodbye under [`DrainSchedule::FirstQuarter`].
    #[inline]
    pub(crate) const fn response_leaves(self, word: Word) -> bool {
        self.is_late()
            || word.threshold() == ALL_PLACES
            || (self.0 & 0xffff) < word.threshold()
            || !matches!(word.step(), Phase::Open)
    }
}

/// Eleven bits: steps of 10 ms up to 10 s, of a second up to 17 minutes; rounded up.
#[cold]
fn timeout_code(timeout: Duration) -> u32 {
    let steps = timeout.as_millis().div_ceil(10);
    if steps < u128::from(IN_SECONDS) {
        return steps as u32;
    }
    let seconds = timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0);
    IN_SECONDS | seconds.min(u64::from(IN_SECONDS) - 1) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_timeout_is_kept_to_ten_milliseconds_or_a_second() {
        let kept =
            |ms| Seat::new(Place::FIRST, DrainDirection::All, Duration::from_millis(ms)).drain_timeout();
        assert_eq!(kept(5_000), Duration::from_secs(5));
        assert_eq!(kept(1), Duration::from_millis(10));
        assert_eq!(kept(60_500), Duration::from_secs(61));
        assert_eq!(kept(10_000_000), Duration::from_secs(1023));
    }

    #[test]
    fn the_tag_leaves_the_rest_alone() {
        let seat = Seat::new(Place::new(0xbeef), DrainDirection::All, Duration::from_secs(5));
        let tagged = seat.tagged(6);
        assert_eq!((tagged.tag(), tagged.place()), (6, seat.place()));
        assert!(tagged.is_outside() && tagged.drain_timeout() == Duration::from_secs(5));
        assert_eq!(tagged.tagged(0), seat);
    }
}
