//! A share of the connections, with its own lock, counts and cache lines. Threads open connections in the shard
//! of their own, so that as a rule nobody else wants its lock.

use crate::{
    books::{Books, Watchers},
    counts::{Cell, Place, Reasons},
    id::ConnId,
    info::{Closer, ConnInfo, PackedPeer},
    labels::{CloseReason, ConnLabel, ConnProtocol, LabelSet},
    ledger::Ledger,
    registry::Registry,
    slab::{Cold, Hot, NONE, Page},
    state::{ConnState, InvalidTransition},
    sync::{Mutex, MutexGuard},
};
use std::sync::Arc as StdArc;

#[repr(align(128))]
pub(crate) struct Shard {
    books: Mutex<Books>,
    index: usize,
    pub(crate) counts: Cell,
    pub(crate) reasons: Reasons,
}

/// What the caller does when the last guard of a connection is gone, outside the lock.
#[must_use]
pub(crate) struct Closed {
    pub(crate) closer: Option<Closer>,
    pub(crate) maybe_few: Option<MaybeFew>,
    /// Nobody knows the shard any more.
    pub(crate) last_of_shard: bool,
}

/// Which counts may just have become low enough for somebody, as seen from one shard.
#[must_use = "someone may be waiting for it"]
pub(crate) struct MaybeFew {
    pub(crate) total: bool,
    pub(crate) ledgers: [Option<StdArc<Ledger>>; 2],
}

impl Shard {
    pub(crate) fn new(index: usize) -> Self {
        Self {
            books: Mutex::new(Books::new()),
            index,
            counts: Cell::default(),
            reasons: Reasons::default(),
        }
    }

    /// This shard's cell of the whole tracker, or of one ledger, read under the lock: every change that came before has been
    /// counted, and every one that comes later sees what was done before.
    pub(crate) fn read<R>(&self, ledger: Option<&StdArc<Ledger>>, what: impl FnOnce(&Cell) -> R) -> R {
        let books = self.lock();
        let read = what(ledger.map_or(&self.counts, |ledger| &ledger.cells[self.index]));
        drop(books);
        read
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock()
    }

    /// As new, for the next tracker; the pages stay. Only while nobody knows the shard.
    pub(crate) fn reset(&self, excluded: LabelSet) {
        let mut books = self.lock();
        books.excluded = excluded;
        books.watchers = Watchers::NONE;
        books.abandoned = false;
        books.ledgers.clear();
        self.counts.reset();
        self.reasons.reset();
    }

    /// The last handle is gone. Whether no connection is left here; otherwise the last one says so when it ends.
    pub(crate) fn abandon(&self) -> bool {
        let mut books = self.lock();
        books.abandoned = true;
        self.counts.open() == 0
    }

    #[inline]
    pub(crate) fn open(
        &'static self,
        registry: &'static Registry,
        group: &Ledger,
        info: ConnInfo,
        now: u64,
    ) -> (&'static Page, ConnId) {
        let ConnInfo {
            peer,
            protocol,
            label,
            closer,
        } = info;
        let peer = PackedPeer::pack(peer);
        let mut books = self.lock();
        let held = books.holds(label);
        let (slot, page, cold) = books.slab.take(registry, self);
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
        (page, id)
    }

    /// The last guard is gone.
    #[inline]
    pub(crate) fn close(&self, hot: &Hot, id: ConnId, panicking: bool) -> Closed {
        let mut books = self.lock();
        let place = books.place(hot);
        let reason = hot.reason().unwrap_or(match place.state {
            _ if panicking => CloseReason::Panicked,
            ConnState::Active => CloseReason::Finished,
            _ => CloseReason::Drained,
        });
        self.reasons.count(reason);
        self.counts.ended(place);
        let &mut Cold { group, chain, .. } = books.slab.cold_mut(id.slot());
        let mut watched = books.watchers.is_any();
        for index in [group, chain] {
            if let Some(share) = books.share(index) {
                share.ledger.cells[self.index].ended(place);
                watched |= share.watchers.is_any();
            }
        }
        Closed {
            closer: books.slab.give_back(id.slot()),
            maybe_few: watched.then(|| self.maybe_few(&mut books, [group, chain])),
            last_of_shard: books.abandoned && self.counts.open() == 0,
        }
    }

    /// Which of the counts that somebody watches are low here.
    #[cold]
    fn maybe_few(&self, books: &mut Books, ledgers: [u32; 2]) -> MaybeFew {
        let total = books.watchers.want(&self.counts);
        let ledgers = ledgers.map(|index| {
            let share = books.share(index)?;
            let low = share.watchers.want(&share.ledger.cells[self.index]);
            low.then(|| StdArc::clone(&share.ledger))
        });
        MaybeFew { total, ledgers }
    }

    /// # Errors
    ///
    /// When the connection has already gone past `to`.
    pub(crate) fn set_state(&self, hot: &Hot, id: ConnId, to: ConnState) -> Result<(), InvalidTransition> {
        let mut books = self.lock();
        let from = books.place(hot);
        if !from.state.may_become(to) {
            return Err(InvalidTransition { from: from.state, to });
        }
        hot.set_state(to);
        self.recount(&mut books, id, from, Place { state: to, ..from });
        Ok(())
    }

    pub(crate) fn set_protocol(&self, hot: &Hot, id: ConnId, protocol: ConnProtocol) {
        let mut books = self.lock();
        let from = books.place(hot);
        hot.set_protocol(protocol);
        self.recount(&mut books, id, from, Place { protocol, ..from });
    }

    pub(crate) fn set_label(&self, hot: &Hot, id: ConnId, label: ConnLabel) -> MaybeFew {
        let mut books = self.lock();
        let from = books.place(hot);
        hot.set_label(label);
        let to = Place {
            held: books.holds(label),
            ..from
        };
        self.recount(&mut books, id, from, to);
        let Cold { group, chain, .. } = *books.slab.cold_mut(id.slot());
        self.maybe_few(&mut books, [group, chain])
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

    pub(crate) fn attach_chain(&self, hot: &Hot, id: ConnId, chain: &Ledger) -> Option<MaybeFew> {
        let mut books = self.lock();
        let place = books.place(hot);
        let old = std::mem::replace(&mut books.slab.cold_mut(id.slot()).chain, chain.index);
        if old == chain.index {
            return None;
        }
        chain.cells[self.index].joined(place);
        let left = books.share(old)?;
        left.ledger.cells[self.index].left(place);
        Some(self.maybe_few(&mut books, [old, NONE]))
    }

    /// Returns the old closer, for the caller to drop outside the lock.
    pub(crate) fn set_closer(&self, hot: &Hot, id: ConnId, closer: Closer) -> Option<Closer> {
        let mut books = self.lock();
        hot.set_closer_is_out(false);
        books.slab.cold_mut(id.slot()).closer.replace(closer)
    }
}
