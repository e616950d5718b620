//! What follows the decision that a sequence is over: its members are completed, in portions and by
//! one task at a time.

use std::sync::Arc;

use slab::Slab;

use super::ending::Last;
use super::part::Part;
use crate::DrainOutcome;

/// How many members one poll completes.
const PORTION: usize = 512;

pub(crate) enum Progress {
    Running,
    /// Over, and not all members are completed yet.
    Completing(Completing),
    Over(DrainOutcome),
}

pub(crate) struct Completing {
    outcome: DrainOutcome,
    pub(crate) last: Last,
    /// Where the next portion begins; `None` while a task has it.
    next: Option<usize>,
}

impl Completing {
    pub(crate) const fn new(outcome: DrainOutcome, last: Last) -> Self {
        Self {
            outcome,
            last,
            next: Some(0),
        }
    }

    /// The next portion and where it begins, unless another task has it.
    pub(crate) fn take(&mut self, members: &Slab<Arc<Part>>) -> Option<(usize, Vec<Arc<Part>>)> {
        let from = self.next.take()?;
        let to = (from + PORTION).min(members.capacity());
        let parts = (from..to).filter_map(|member| members.get(member).cloned());
        Some((from, parts.collect()))
    }

    /// The portion from `from` on is completed. The outcome, if it was the last.
    pub(crate) fn done(&mut self, from: usize, members: &Slab<Arc<Part>>) -> Option<DrainOutcome> {
        let next = from + PORTION;
        if next < members.capacity() {
            self.next = Some(next);
            return None;
        }
        Some(self.outcome)
    }
}
