//! What a shard's lock guards: its entries, and who wants to know when a share of them empties.

use crate::{
    counts::Place,
    labels::{ConnLabel, LabelSet},
    ledger::Ledger,
    slab::{Hot, Slab},
};
use std::sync::Arc;

/// What the shard's lock guards, beside its counts.
pub(crate) struct Books {
    pub(crate) slab: Slab,
    pub(crate) excluded: LabelSet,
    /// How many want to know when the whole shard empties.
    pub(crate) watchers: u32,
    /// The last handle on the tracker is gone: nothing is opened any more.
    pub(crate) abandoned: bool,
    pub(crate) ledgers: Vec<Option<Share>>,
}

/// One ledger's share of this shard; the counts are in the ledger's cell.
pub(crate) struct Share {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) watchers: u32,
}

impl Books {
    pub(crate) const fn new() -> Self {
        Self {
            slab: Slab::new(),
            excluded: LabelSet::NONE,
            watchers: 0,
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

    /// How many want to know when this shard's share of the whole tracker, or of one ledger, empties; `None` when the
    /// ledger is gone.
    pub(crate) fn watchers(&mut self, ledger: Option<&Arc<Ledger>>) -> Option<&mut u32> {
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
        self.ledgers[index] = Some(Share { ledger, watchers: 0 });
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
