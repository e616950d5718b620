//! What a shard's lock guards: its entries, and who wants to know when few of them are left.

use crate::{
    counts::{Cell, Place},
    labels::{ConnLabel, LabelSet},
    ledger::Ledger,
    slab::{Hot, Slab},
};
use std::sync::Arc;

/// What the shard's lock guards, beside its counts.
pub(crate) struct Books {
    pub(crate) slab: Slab,
    pub(crate) excluded: LabelSet,
    /// Of the whole shard.
    pub(crate) watchers: Watchers,
    /// The last handle on the tracker is gone: nothing is opened any more.
    pub(crate) abandoned: bool,
    pub(crate) ledgers: Vec<Option<Share>>,
}

/// One ledger's share of this shard; the counts are in the ledger's cell.
pub(crate) struct Share {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) watchers: Watchers,
}

/// Who wants to know when few connections are left in this shard, or in a ledger's share of it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Watchers {
    many: u32,
    /// How many connections are few to any of them: the largest number since there were none.
    few: u64,
}

impl Watchers {
    pub(crate) const NONE: Self = Self { many: 0, few: 0 };

    pub(crate) fn join(&mut self, few: u64) {
        self.many += 1;
        self.few = self.few.max(few);
    }

    pub(crate) fn leave(&mut self) {
        self.many -= 1;
        if self.many == 0 {
            self.few = 0;
        }
    }

    #[inline]
    pub(crate) const fn is_any(self) -> bool {
        self.many > 0
    }

    /// Whether somebody wants to know of what is left in `cell`. Few in all are few in each shard.
    pub(crate) fn want(self, cell: &Cell) -> bool {
        self.many > 0 && cell.held() <= self.few
    }
}

impl Books {
    pub(crate) const fn new() -> Self {
        Self {
            slab: Slab::new(),
            excluded: LabelSet::NONE,
            watchers: Watchers::NONE,
            abandoned: false,
            ledgers: Vec::new(),
        }
    }

    #[inline]
    pub(crate) fn place(&self, hot: &Hot) -> Place {
        Place {
            state: hot.state(),
            protocol: hot.protocol(),
            held: self.holds(hot.label()),
        }
    }

    #[inline]
    pub(crate) fn holds(&self, label: ConnLabel) -> bool {
        !self.excluded.contains(label)
    }

    #[inline]
    pub(crate) fn share(&mut self, index: u32) -> Option<&mut Share> {
        self.ledgers.get_mut(index as usize)?.as_mut()
    }

    /// Who watches this shard's share of the whole tracker, or of one ledger; `None` when the ledger is gone.
    pub(crate) fn watchers(&mut self, ledger: Option<&Arc<Ledger>>) -> Option<&mut Watchers> {
        match ledger {
            None => Some(&mut self.watchers),
            Some(ledger) => {
                let share = self.share(ledger.index)?;
                Arc::ptr_eq(&share.ledger, ledger).then_some(&mut share.watchers)
            }
        }
    }

    pub(crate) fn add_ledger(&mut self, ledger: Arc<Ledger>) {
        let index = ledger.index as usize;
        if self.ledgers.len() <= index {
            self.ledgers.resize_with(index + 1, || None);
        }
        self.ledgers[index] = Some(Share {
            ledger,
            watchers: Watchers::NONE,
        });
    }

    pub(crate) fn remove_ledger(&mut self, index: u32) {
        if let Some(share) = self.ledgers.get_mut(index as usize) {
            *share = None;
        }
    }

    pub(crate) fn ledger(&self, index: u32) -> Option<&Arc<Ledger>> {
        self.ledgers
            .get(index as usize)?
            .as_ref()
            .map(|share| &share.ledger)
    }
}
