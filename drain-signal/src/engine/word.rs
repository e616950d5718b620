//! The state word: what every question about the drain's progress is answered from, in one load.
//! Invariant 1.

use crate::phase::Phase;
use crate::{DrainDirection, DrainEvent, DrainSchedule, DrainState, DrainedBy};

/// Zero: nothing drains. Otherwise
///
/// ```text
///  63     32       23       7  6   5  4  2  1  0
/// ┌─────────┬──────┬─────────┬───┬───┬────┬─────┐
/// │ version │  -   │threshold│ n │ e │step│state│
/// └─────────┴──────┴─────────┴───┴───┴────┴─────┘
/// ```
///
/// `threshold` of 65536 places have had their slot; `step`: the phase that all connections have
/// reached; `e`: Envoy 1.40's schedule, whose slots follow the pace instead of the threshold; `n`:
/// narrow, inbound only. The version rises with every change, so that a walk through the parked
/// knows whether it has seen this very word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Word(pub(super) u64);

const STATE: u64 = 0b11;
const STEP_SHIFT: u32 = 2;
const ENVOY: u64 = 1 << 5;
const NARROW: u64 = 1 << 6;
const THRESHOLD_SHIFT: u32 = 7;
const THRESHOLD: u64 = ALL_PLACES as u64 * 2 - 1;
const VERSION_SHIFT: u32 = 32;
const CONTENT: u64 = (1 << VERSION_SHIFT) - 1;

/// The threshold at which every place has had its slot.
pub(crate) const ALL_PLACES: u32 = 1 << 16;

impl Word {
    /// The word after `self` that says how far the drain with `event` has come; `self` if it says
    /// so already and no slot follows the pace.
    pub(crate) fn then(
        self,
        event: &DrainEvent,
        state: DrainState,
        step: Phase,
        threshold: u32,
    ) -> Self {
        let content = state as u64
            | (step as u64) << STEP_SHIFT
            | (u64::from(event.schedule == DrainSchedule::Envoy140) * ENVOY)
            | (u64::from(event.direction == DrainDirection::InboundOnly) * NARROW)
            | u64::from(threshold) << THRESHOLD_SHIFT;
        if content == self.0 & CONTENT && !self.is_envoy() {
            return self;
        }
        Self(((self.0 >> VERSION_SHIFT).wrapping_add(1) << VERSION_SHIFT) | content)
    }

    pub(crate) const fn state(self) -> DrainState {
        match self.0 & STATE {
            0 => DrainState::NotDraining,
            1 => DrainState::Draining,
            _ => DrainState::Completed,
        }
    }

    /// One load and a compare: the whole cost of a drain that has not begun.
    #[inline]
    pub(crate) const fn is_idle(self) -> bool {
        self.0 == 0
    }

    /// The step that all connections have reached; [`Phase::Open`]: none.
    pub(crate) const fn step(self) -> Phase {
        Phase::from_bits((self.0 >> STEP_SHIFT & 7) as u32)
    }

    pub(crate) const fn is_envoy(self) -> bool {
        self.0 & ENVOY != 0
    }

    /// Whether the drain concerns connections that are drained by `by`.
    #[inline]
    pub(crate) const fn concerns(self, by: DrainedBy) -> bool {
        !self.is_idle() && (self.0 & NARROW == 0 || matches!(by, DrainedBy::Any))
    }

    /// What the word says, but for its threshold: zero if nothing drains.
    pub(crate) const fn beside_threshold(self) -> u64 {
        self.0 & CONTENT & !(THRESHOLD << THRESHOLD_SHIFT)
    }

    /// How many of 65536 places have had their slot.
    pub(crate) const fn threshold(self) -> u32 {
        (self.0 >> THRESHOLD_SHIFT & THRESHOLD) as u32
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::DrainReason;

    fn event() -> DrainEvent {
        #[expect(clippy::disallowed_methods, reason = "any instant will do as a start")]
        let start = Instant::now();
        DrainEvent::new(start, Duration::from_secs(60), DrainReason::Admin)
    }

    #[test]
    fn a_word_says_what_was_put_in() {
        let event = event()
            .with_schedule(DrainSchedule::Envoy140)
            .with_direction(DrainDirection::InboundOnly);
        let word = Word::default().then(&event, DrainState::Draining, Phase::Expired, ALL_PLACES);
        assert_eq!(
            (word.state(), word.step()),
            (DrainState::Draining, Phase::Expired)
        );
        assert!(
            word.is_envoy() && word.concerns(DrainedBy::Any) && !word.concerns(DrainedBy::Full)
        );
        assert_eq!(word.threshold(), ALL_PLACES);
    }

    #[test]
    fn the_version_rises_with_a_change_and_not_without() {
        let then =
            |word: Word, places| word.then(&event(), DrainState::Draining, Phase::Open, places);
        let word = then(Word::default(), 7);
        assert_eq!(then(word, 7), word);
        assert!(then(word, 8).0 >> 32 > word.0 >> 32);
        let envoys = event().with_schedule(DrainSchedule::Envoy140);
        let then = |word: Word| word.then(&envoys, DrainState::Draining, Phase::Open, 7);
        assert_ne!(then(then(word)), then(word));
    }
}
