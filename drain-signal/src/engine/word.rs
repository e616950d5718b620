//! The state word: what every question about the drain's progress is answered from, in one load.
//! Invariant 1.

use crate::phase::Phase;
use crate::{DrainState, DrainedBy};

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
pub(crate) struct Word(u64);

const STATE: u64 = 0b11;
const STEP_SHIFT: u32 = 2;
const ENVOY: u64 = 1 << 5;
const NARROW: u64 = 1 << 6;
const THRESHOLD_SHIFT: u32 = 7;
const VERSION_SHIFT: u32 = 32;
const CONTENT: u64 = (1 << VERSION_SHIFT) - 1;

/// The threshold at which every place has had its slot.
pub(crate) const ALL_PLACES: u32 = 1 << 16;

/// What a word says, before it is packed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    pub(crate) state: DrainState,
    pub(crate) step: Phase,
    pub(crate) envoy: bool,
    pub(crate) narrow: bool,
    pub(crate) threshold: u32,
}

impl Word {
    pub(crate) const IDLE: Self = Self(0);

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    /// The word after `self` that says `progress`; `self` if it says so already.
    pub(crate) fn then(self, progress: Progress) -> Self {
        let flag = |on: bool, bit: u64| if on { bit } else { 0 };
        let content = progress.state as u64
            | (progress.step as u64) << STEP_SHIFT
            | flag(progress.envoy, ENVOY)
            | flag(progress.narrow, NARROW)
            | u64::from(progress.threshold) << THRESHOLD_SHIFT;
        if content == self.0 & CONTENT {
            self
        } else {
            self.renewed(content)
        }
    }

    /// The same content under a new version: slots that follow the pace have moved on.
    pub(crate) const fn touched(self) -> Self {
        self.renewed(self.0 & CONTENT)
    }

    const fn renewed(self, content: u64) -> Self {
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

    /// How many of 65536 places have had their slot.
    pub(crate) const fn threshold(self) -> u32 {
        (self.0 >> THRESHOLD_SHIFT & (ALL_PLACES as u64 * 2 - 1)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_says_what_was_put_in() {
        let progress = Progress {
            state: DrainState::Draining,
            step: Phase::Expired,
            envoy: true,
            narrow: true,
            threshold: ALL_PLACES,
        };
        let word = Word::IDLE.then(progress);
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
        let progress = Progress {
            state: DrainState::Draining,
            step: Phase::Open,
            envoy: false,
            narrow: false,
            threshold: 7,
        };
        let word = Word::IDLE.then(progress);
        assert_eq!(word.then(progress), word);
        let next = word.then(Progress {
            threshold: 8,
            ..progress
        });
        assert!(next.bits() >> 32 > word.bits() >> 32);
        assert_ne!(word.touched(), word);
    }
}
