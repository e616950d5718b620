//! A share of the connections, with its own lock, counts and cache lines. Threads open connections in the shard
//! of their own, so that as a rule nobody else wants its lock.

use crate::{
    counts::{Cell, Place, Reasons},
    id::ConnId,
    info::{Closer, ConnInfo, PackedPeer},
    labels::{CloseReason, ConnLabel, ConnProtocol, LabelSet},
    ledger::Ledger,
    registry::Registry,
    slab::{Cold, Hot, NONE, Page, Slab},
    state::{ConnState, InvalidTransition},
    sync::{Arc, Mutex, MutexGuard},
};
use std::sync::Arc as StdArc;

#[repr(align(128))]
pub(crate) struct Shard {
    books: Mutex<Books>,
    index: usize,
    excluded: LabelSet,
    pub(crate) counts: Cell,
    pub(crate) reasons: Reasons,
}

/// What the shard's lock guards.
pub(crate) struct Books {
    pub(crate) slab: Slab,
    total: Tide,
    ledgers: Vec<Option<Share>>,
}

/// Connections that hold up completion, as they came and went. Two counts that only grow instead of one that
/// moves: see [`Registry::was_empty`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tide {
    pub(crate) came: u64,
    pub(crate) went: u64,
    /// How many want to know when this empties.
    pub(crate) watchers: u32,
}

/// One ledger's share of this shard.
struct Share {
    ledger: StdArc<Ledger>,
    tide: Tide,
    /// All connections, excluded ones too.
    open: u32,
}

/// Which counts may just have reached zero everywhere, as seen from one shard.
#[derive(Default)]
#[must_use = "someone may be waiting for it"]
pub(crate) struct MaybeEmpty {
    pub(crate) total: bool,
    pub(crate) ledgers: [Option<StdArc<Ledger>>; 2],
}

impl Tide {
    #[inline]
    fn moved(&mut self, was_held: bool, is_held: bool) {
        self.came += u64::from(is_held && !was_held);
        self.went += u64::from(was_held && !is_held);
    }

    #[inline]
    fn is_watched_and_low(&self) -> bool {
        self.watchers > 0 && self.came == self.went
    }
}

impl Books {
    #[inline]
    fn share(&mut self, index: u32) -> Option<&mut Share> {
        self.ledgers.get_mut(index as usize)?.as_mut()
    }

    /// This shard's tide of the whole tracker, or of one ledger; `None` when the ledger is gone.
    pub(crate) fn tide(&mut self, ledger: Option<&StdArc<Ledger>>) -> Option<&mut Tide> {
        match ledger {
            None => Some(&mut self.total),
            Some(ledger) => {
                let share = self.share(ledger.index)?;
                StdArc::ptr_eq(&share.ledger, ledger).then_some(&mut share.tide)
            }
        }
    }

    pub(crate) fn open_in(&mut self, ledger: &StdArc<Ledger>) -> u32 {
        match self.share(ledger.index) {
            Some(share) if StdArc::ptr_eq(&share.ledger, ledger) => share.open,
            _ => 0,
        }
    }

    pub(crate) fn add_ledger(&mut self, ledger: StdArc<Ledger>) {
        let index = ledger.index as usize;
        if self.ledgers.len() <= index {
            self.ledgers.resize_with(index + 1, || None);
        }
        self.ledgers[index] = Some(Share {
            ledger,
            tide: Tide::default(),
            open: 0,
        });
    }

    pub(crate) fn remove_ledger(&mut self, index: u32) {
        if let Some(share) = self.ledgers.get_mut(index as usize) {
            *share = None;
        }
    }

    pub(crate) fn ledger(&self, index: u32) -> Option<&StdArc<Ledger>> {
        self.ledgers
            .get(index as usize)?
            .as_ref()
            .map(|share| &share.ledger)
    }
}

impl Shard {
    pub(crate) fn new(index: usize, excluded: LabelSet) -> Self {
        let books = Books {
            slab: Slab::new(),
            total: Tide::default(),
            ledgers: Vec::new(),
        };
        Self {
            books: Mutex::new(books),
            index,
            excluded,
            counts: Cell::default(),
            reasons: Reasons::default(),
        }
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock()
    }

    #[inline]
    fn place(&self, hot: &Hot) -> Place {
        Place {
            state: hot.state(),
            protocol: hot.protocol(),
            held: self.holds(hot.label()),
        }
    }

    #[inline]
    fn holds(&self, label: ConnLabel) -> bool {
        !self.excluded.contains(label)
    }

    #[inline]
    pub(crate) fn open(
        &self,
        registry: &Arc<Registry>,
        group: &Ledger,
        info: ConnInfo,
        now: u64,
    ) -> (Arc<Page>, ConnId) {
        let ConnInfo {
            peer,
            protocol,
            label,
            closer,
        } = info;
        let held = self.holds(label);
        let peer = PackedPeer::pack(peer);
        let mut books = self.lock();
        let (slot, page, cold) = books.slab.take(registry);
        let page = Arc::clone(page);
        cold.peer = peer;
        cold.closer = closer;
        cold.established = now;
        cold.group = group.index;
        let id = ConnId::new(self.index, slot, cold.generation);
        page.hot(slot).begin(protocol, label, now);
        let place = Place {
            state: ConnState::Active,
            protocol,
            held,
        };
        self.counts.joined(place);
        group.cells[self.index].joined(place);
        books.total.moved(false, held);
        if let Some(share) = books.share(group.index) {
            share.tide.moved(false, held);
            share.open += 1;
        }
        (page, id)
    }

    /// The last guard is gone. Returns what the caller drops and does outside the lock.
    #[inline]
    pub(crate) fn close(&self, hot: &Hot, id: ConnId, panicking: bool) -> (Option<Closer>, MaybeEmpty) {
        let mut books = self.lock();
        let place = self.place(hot);
        let reason = hot.reason().unwrap_or(match place.state {
            _ if panicking => CloseReason::Panicked,
            ConnState::Active => CloseReason::Finished,
            _ => CloseReason::Drained,
        });
        self.reasons.count(reason);
        self.counts.ended(place);
        let &mut Cold { group, chain, .. } = books.slab.cold_mut(id.slot());
        let mut maybe = self.left_total(&mut books, place.held);
        maybe.ledgers = [
            self.left_share(&mut books, group, place.held, |cell| cell.ended(place)),
            self.left_share(&mut books, chain, place.held, |cell| cell.ended(place)),
        ];
        (books.slab.give_back(id.slot()), maybe)
    }

    #[inline]
    fn left_total(&self, books: &mut Books, held: bool) -> MaybeEmpty {
        books.total.moved(held, false);
        MaybeEmpty {
            total: books.total.is_watched_and_low(),
            ledgers: [None, None],
        }
    }

    #[inline]
    fn left_share(
        &self,
        books: &mut Books,
        index: u32,
        held: bool,
        count: impl FnOnce(&Cell),
    ) -> Option<StdArc<Ledger>> {
        let share = books.share(index)?;
        count(&share.ledger.cells[self.index]);
        share.tide.moved(held, false);
        share.open -= 1;
        share
            .tide
            .is_watched_and_low()
            .then(|| StdArc::clone(&share.ledger))
    }

    /// # Errors
    ///
    /// When the connection has already gone past `to`.
    pub(crate) fn set_state(&self, hot: &Hot, id: ConnId, to: ConnState) -> Result<(), InvalidTransition> {
        let mut books = self.lock();
        let from = self.place(hot);
        if !from.state.may_become(to) {
            return Err(InvalidTransition { from: from.state, to });
        }
        hot.set_state(to);
        self.recount(&mut books, id, from, Place { state: to, ..from });
        Ok(())
    }

    pub(crate) fn set_protocol(&self, hot: &Hot, id: ConnId, protocol: ConnProtocol) {
        let mut books = self.lock();
        let from = self.place(hot);
        hot.set_protocol(protocol);
        self.recount(&mut books, id, from, Place { protocol, ..from });
    }

    pub(crate) fn set_label(&self, hot: &Hot, id: ConnId, label: ConnLabel) -> MaybeEmpty {
        let mut books = self.lock();
        let from = self.place(hot);
        hot.set_label(label);
        let to = Place {
            held: self.holds(label),
            ..from
        };
        self.recount(&mut books, id, from, to);
        books.total.moved(from.held, to.held);
        let mut maybe = MaybeEmpty {
            total: books.total.is_watched_and_low(),
            ledgers: [None, None],
        };
        let &mut Cold { group, chain, .. } = books.slab.cold_mut(id.slot());
        for (ledger, index) in maybe.ledgers.iter_mut().zip([group, chain]) {
            let Some(share) = books.share(index) else { continue };
            share.tide.moved(from.held, to.held);
            *ledger = share
                .tide
                .is_watched_and_low()
                .then(|| StdArc::clone(&share.ledger));
        }
        maybe
    }

    fn recount(&self, books: &mut Books, id: ConnId, from: Place, to: Place) {
        self.counts.moved(from, to);
        let &mut Cold { group, chain, .. } = books.slab.cold_mut(id.slot());
        for index in [group, chain] {
            if let Some(share) = books.share(index) {
                share.ledger.cells[self.index].moved(from, to);
            }
        }
    }

    pub(crate) fn attach_chain(&self, hot: &Hot, id: ConnId, chain: &Ledger) -> MaybeEmpty {
        let mut books = self.lock();
        let place = self.place(hot);
        let old = std::mem::replace(&mut books.slab.cold_mut(id.slot()).chain, chain.index);
        let mut maybe = MaybeEmpty::default();
        if old == chain.index {
            return maybe;
        }
        if let Some(share) = books.share(chain.index) {
            share.ledger.cells[self.index].joined(place);
            share.tide.moved(false, place.held);
            share.open += 1;
        }
        if old != NONE {
            maybe.ledgers[0] = self.left_share(&mut books, old, place.held, |cell| cell.left(place));
        }
        maybe
    }

    /// Returns the old closer, for the caller to drop outside the lock.
    pub(crate) fn set_closer(&self, id: ConnId, closer: Closer) -> Option<Closer> {
        self.lock().slab.cold_mut(id.slot()).closer.replace(closer)
    }
}
