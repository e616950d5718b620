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
    sync::{Mutex, MutexGuard},
    tracker::CloseError,
};
use std::sync::Arc as StdArc;

#[repr(align(128))]
pub(crate) struct Shard {
    books: Mutex<Books>,
    index: usize,
    pub(crate) counts: Cell,
    pub(crate) reasons: Reasons,
}

/// What the shard's lock guards, beside its counts.
pub(crate) struct Books {
    pub(crate) slab: Slab,
    excluded: LabelSet,
    /// How many want to know when the whole shard empties.
    watchers: u32,
    /// The last handle on the tracker is gone: nothing is opened any more.
    abandoned: bool,
    ledgers: Vec<Option<Share>>,
}

/// One ledger's share of this shard; the counts are in the ledger's cell.
struct Share {
    ledger: StdArc<Ledger>,
    watchers: u32,
}

/// What the caller does when the last guard of a connection is gone, outside the lock.
#[must_use]
pub(crate) struct Closed {
    pub(crate) closer: Option<Closer>,
    pub(crate) maybe_empty: Option<MaybeEmpty>,
    /// Nobody knows the shard any more.
    pub(crate) last_of_shard: bool,
}

/// Which counts may just have reached zero everywhere, as seen from one shard.
#[must_use = "someone may be waiting for it"]
pub(crate) struct MaybeEmpty {
    pub(crate) total: bool,
    pub(crate) ledgers: [Option<StdArc<Ledger>>; 2],
}

impl Books {
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
    fn share(&mut self, index: u32) -> Option<&mut Share> {
        self.ledgers.get_mut(index as usize)?.as_mut()
    }

    /// How many want to know when this shard's share of the whole tracker, or of one ledger, empties; `None` when the
    /// ledger is gone.
    pub(crate) fn watchers(&mut self, ledger: Option<&StdArc<Ledger>>) -> Option<&mut u32> {
        match ledger {
            None => Some(&mut self.watchers),
            Some(ledger) => {
                let share = self.share(ledger.index)?;
                StdArc::ptr_eq(&share.ledger, ledger).then_some(&mut share.watchers)
            }
        }
    }

    pub(crate) fn add_ledger(&mut self, ledger: StdArc<Ledger>) {
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

    pub(crate) fn ledger(&self, index: u32) -> Option<&StdArc<Ledger>> {
        self.ledgers
            .get(index as usize)?
            .as_ref()
            .map(|share| &share.ledger)
    }
}

impl Shard {
    pub(crate) fn new(index: usize) -> Self {
        let books = Books {
            slab: Slab::new(),
            excluded: LabelSet::of([]),
            watchers: 0,
            abandoned: false,
            ledgers: Vec::new(),
        };
        Self {
            books: Mutex::new(books),
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
        books.watchers = 0;
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
        let mut watched = books.watchers > 0;
        for index in [group, chain] {
            if let Some(share) = books.share(index) {
                share.ledger.cells[self.index].ended(place);
                watched |= share.watchers > 0;
            }
        }
        Closed {
            closer: books.slab.give_back(id.slot()),
            maybe_empty: watched.then(|| self.maybe_empty(&mut books, [group, chain])),
            last_of_shard: books.abandoned && self.counts.open() == 0,
        }
    }

    /// Which of the counts that somebody watches are at zero here.
    #[cold]
    fn maybe_empty(&self, books: &mut Books, ledgers: [u32; 2]) -> MaybeEmpty {
        let total = books.watchers > 0 && self.counts.is_low();
        let ledgers = ledgers.map(|index| {
            let share = books.share(index)?;
            let low = share.watchers > 0 && share.ledger.cells[self.index].is_low();
            low.then(|| StdArc::clone(&share.ledger))
        });
        MaybeEmpty { total, ledgers }
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

    pub(crate) fn set_label(&self, hot: &Hot, id: ConnId, label: ConnLabel) -> MaybeEmpty {
        let mut books = self.lock();
        let from = books.place(hot);
        hot.set_label(label);
        let to = Place {
            held: books.holds(label),
            ..from
        };
        self.recount(&mut books, id, from, to);
        let Cold { group, chain, .. } = *books.slab.cold_mut(id.slot());
        self.maybe_empty(&mut books, [group, chain])
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

    pub(crate) fn attach_chain(&self, hot: &Hot, id: ConnId, chain: &Ledger) -> Option<MaybeEmpty> {
        let mut books = self.lock();
        let place = books.place(hot);
        let old = std::mem::replace(&mut books.slab.cold_mut(id.slot()).chain, chain.index);
        if old == chain.index {
            return None;
        }
        chain.cells[self.index].joined(place);
        let left = books.share(old)?;
        left.ledger.cells[self.index].left(place);
        Some(self.maybe_empty(&mut books, [old, NONE]))
    }

    /// Returns the old closer, for the caller to drop outside the lock.
    pub(crate) fn set_closer(&self, hot: &Hot, id: ConnId, closer: Closer) -> Option<Closer> {
        let mut books = self.lock();
        hot.set_closer_is_out(false);
        books.slab.cold_mut(id.slot()).closer.replace(closer)
    }

    /// The closer of `id`, to be called and brought back by its drop; `None` while somebody else has it and calls it.
    ///
    /// # Errors
    ///
    /// [`CloseError`]; the reason is recorded otherwise.
    pub(crate) fn lend_closer(
        &self,
        id: ConnId,
        reason: CloseReason,
    ) -> Result<Option<Lent<'_>>, CloseError> {
        let mut books = self.lock();
        let found = books.slab.find_mut(id.slot(), id.generation());
        let (hot, cold) = found.ok_or(CloseError::NotFound { id })?;
        let closer = cold.closer.take();
        if closer.is_none() && !hot.closer_is_out() {
            return Err(CloseError::NoCloser { id });
        }
        hot.give_reason(reason);
        hot.set_closer_is_out(true);
        Ok(closer.map(|closer| Lent {
            shard: self,
            id,
            closer: Some(closer),
        }))
    }
}

/// A closer that is being called.
pub(crate) struct Lent<'a> {
    shard: &'a Shard,
    id: ConnId,
    closer: Option<Closer>,
}

impl Lent<'_> {
    pub(crate) fn call(&self) {
        if let Some(closer) = &self.closer {
            closer();
        }
    }
}

/// Also when the call has panicked.
impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut books = self.shard.lock();
        // Ended meanwhile, or given another closer: this one is dropped, outside the lock.
        if let Some((hot, cold)) = books.slab.find_mut(self.id.slot(), self.id.generation()) {
            if hot.closer_is_out() {
                hot.set_closer_is_out(false);
                cold.closer = self.closer.take();
            }
        }
    }
}
