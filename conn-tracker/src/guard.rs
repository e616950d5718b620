//! A tracked connection, in the books for as long as it is held.

use crate::{
    group::ConnChain,
    id::ConnId,
    info::{ConnInfo, boxed},
    kind::ConnKind,
    labels::{CloseReason, ConnLabel, ConnProtocol},
    ledger::Ledger,
    registry::Registry,
    shard::Shard,
    slab::{Hot, Page},
    state::{ConnState, InvalidTransition},
};
use std::{fmt, sync::atomic::Ordering, time::Duration};

/// A tracked connection: it is in the books until this and all its clones are dropped.
///
/// Give a clone to whatever outlives the connection's task, above all the task of a tunnel after an upgrade: the
/// entry, its id and its counts stay until the last of them is gone. What a connection does is told through any of
/// them.
///
/// The calls for every request ([`request_started`](Self::request_started), [`request_ended`](Self::request_ended),
/// [`set_kind`](Self::set_kind), [`touch`](Self::touch)) take no lock. Those for a few moments in a connection's
/// life (state, protocol, label, chain) take the lock of one shard, so that the counts agree.
#[must_use = "dropping it says that the connection is gone"]
pub struct ConnGuard {
    page: &'static Page,
    id: ConnId,
}

impl ConnGuard {
    #[inline]
    pub(crate) fn open(registry: &'static Registry, group: &Ledger, info: ConnInfo) -> Self {
        let now = registry.clock.millis();
        let (page, id) = registry.my_shard().open(registry, group, info, now);
        Self { page, id }
    }

    #[inline]
    fn hot(&self) -> &'static Hot {
        self.page.hot(self.id.slot())
    }

    #[inline]
    fn shard(&self) -> &'static Shard {
        self.page.shard
    }

    /// The connection's name, as [`ConnTracker::close`](crate::ConnTracker::close) takes it.
    #[must_use]
    pub fn id(&self) -> ConnId {
        self.id
    }

    /// How far it is on its way out.
    #[must_use]
    pub fn state(&self) -> ConnState {
        self.hot().state()
    }

    /// What it is doing.
    #[must_use]
    pub fn kind(&self) -> ConnKind {
        self.hot().kind.load()
    }

    /// What it speaks.
    #[must_use]
    pub fn protocol(&self) -> ConnProtocol {
        self.hot().protocol()
    }

    /// Whose it is.
    #[must_use]
    pub fn label(&self) -> ConnLabel {
        self.hot().label()
    }

    /// Why it is ending, once somebody said so.
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.hot().reason()
    }

    /// When its last activity was: since the tracker was made, as coarse as its owner
    /// [advances](crate::ConnTracker::advance) the clock.
    #[must_use]
    pub fn last_activity(&self) -> Duration {
        Duration::from_millis(self.hot().last_activity())
    }

    /// Moves it on. The state that it has already is accepted and counts nothing.
    ///
    /// # Errors
    ///
    /// [`InvalidTransition`] when it has already gone past `to`; nothing is changed.
    ///
    /// # Examples
    ///
    /// ```
    /// use conn_tracker::{ConnState, ConnTracker, Peer};
    /// let guard = ConnTracker::new().group("ingress", 1).open(Peer::Unix);
    /// guard.set_state(ConnState::Closing)?;
    /// let error = guard.set_state(ConnState::Draining).unwrap_err();
    /// assert_eq!(error.to_string(), "a connection that is closing cannot become draining");
    /// # Ok::<(), conn_tracker::InvalidTransition>(())
    /// ```
    pub fn set_state(&self, to: ConnState) -> Result<(), InvalidTransition> {
        self.shard().set_state(self.hot(), self.id, to)
    }

    /// Says what it speaks, once that is known or has changed.
    pub fn set_protocol(&self, protocol: ConnProtocol) {
        self.shard().set_protocol(self.hot(), self.id, protocol);
    }

    /// Says whose it is, once that is known: a metrics scrape shows itself by its path.
    pub fn set_label(&self, label: ConnLabel) {
        let maybe_few = self.shard().set_label(self.hot(), self.id, label);
        self.page.registry.look(maybe_few);
    }

    /// Counts it in a filter chain, once that is chosen, instead of the one it was counted in before.
    ///
    /// A chain of another tracker is refused: nothing happens (and debug builds panic).
    pub fn attach_chain(&self, chain: &ConnChain) {
        let same_tracker = std::ptr::eq(self.page.registry, chain.ledger().handle().registry());
        debug_assert!(same_tracker, "the chain belongs to another tracker");
        if same_tracker {
            let maybe_few = self
                .shard()
                .attach_chain(self.hot(), self.id, chain.ledger().ledger());
            if let Some(maybe_few) = maybe_few {
                self.page.registry.look(maybe_few);
            }
        }
    }

    /// Gives or replaces what ends this connection; see [`ConnInfo::with_closer`].
    ///
    /// A closer that holds a guard of its own connection keeps that connection in the books for ever.
    pub fn set_closer(&self, closer: impl Fn() + Send + Sync + 'static) {
        let old = self.shard().set_closer(self.hot(), self.id, boxed(closer));
        drop(old);
    }

    /// Says why it is ending. The first reason is kept; without one it is [finished](CloseReason::Finished),
    /// [drained](CloseReason::Drained) or [panicked](CloseReason::Panicked), by what is seen when it ends.
    pub fn set_close_reason(&self, reason: CloseReason) {
        self.hot().give_reason(reason);
    }

    /// Says what it is doing now; replaces a count of requests made before.
    #[inline]
    pub fn set_kind(&self, kind: ConnKind) {
        self.hot().kind.store(kind);
        self.touch();
    }

    /// One more request or stream is open.
    #[inline]
    pub fn request_started(&self) {
        self.hot().kind.stream_started();
        self.touch();
    }

    /// One request or stream less; after the last the connection is idle.
    #[inline]
    pub fn request_ended(&self) {
        self.hot().kind.stream_ended();
        self.touch();
    }

    /// Bytes have come or gone: stamps the connection with the coarse clock. One load and a compare, and a store
    /// once per tick.
    #[inline]
    pub fn touch(&self) {
        self.hot().touch(self.page.registry.clock.millis());
    }
}

impl Clone for ConnGuard {
    fn clone(&self) -> Self {
        // Relaxed: the guard that is cloned keeps the count above zero.
        self.hot().guards.fetch_add(1, Ordering::Relaxed);
        Self {
            page: self.page,
            id: self.id,
        }
    }
}

impl Drop for ConnGuard {
    #[inline]
    fn drop(&mut self) {
        let guards = &self.hot().guards;
        // One guard is the last: clones are made from guards, and this one is ours alone. So the common case
        // needs no read-modify-write. Acquire, here and there, pairs with the Release of the clones that went
        // before: what they did to the entry is done.
        let last = guards.load(Ordering::Acquire) == 1 || guards.fetch_sub(1, Ordering::AcqRel) == 1;
        if last {
            let closed = self.shard().close(self.hot(), self.id, std::thread::panicking());
            drop(closed.closer);
            if let Some(maybe_few) = closed.maybe_few {
                self.page.registry.look(maybe_few);
            }
            if closed.last_of_shard {
                self.page.registry.give_back();
            }
        }
    }
}

impl fmt::Debug for ConnGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnGuard")
            .field("id", &self.id)
            .field("state", &self.state())
            .field("kind", &self.kind())
            .field("protocol", &self.protocol())
            .field("label", &self.label())
            .finish_non_exhaustive()
    }
}
