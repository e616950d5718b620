//! A registered connection: it stays registered as long as a guard exists.

use crate::{
    engine::{GroupHandle, Hot, Shard, entries::HotBlock},
    group::{AttachError, ConnChain},
    id::ConnId,
    info::{ConnInfo, ConnRequest, PackedPeer, Peer, close_only},
    kind::ConnKind,
    labels::{CloseReason, ConnLabel, ConnProtocol},
    state::{ConnState, InvalidTransition},
};
use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// A registered connection: it is listed and counted until this and all its clones are dropped.
///
/// Give a clone to a task that outlives the connection's own, above all the task of a tunnel after
/// an upgrade: the entry, its id and its counts stay until the last clone is dropped. Every clone
/// may report what the connection does.
///
/// The calls for every request ([`request_started`](Self::request_started),
/// [`request_ended`](Self::request_ended), [`set_kind`](Self::set_kind), [`touch`](Self::touch))
/// take no lock. Those for a few moments in a connection's life (state, protocol, label, peer,
/// chain) take the lock of one shard, so that the counts agree.
#[must_use = "dropping it says that the connection is gone"]
pub struct ConnGuard {
    block: &'static HotBlock,
    id: ConnId,
}

impl ConnGuard {
    #[inline]
    pub(crate) fn open(group: &GroupHandle, info: ConnInfo) -> Self {
        let registry = group.handle().registry();
        let now = registry.clock.millis();
        let (block, id) = registry.my_shard().open(group.group(), info, now);
        Self { block, id }
    }

    #[inline]
    fn hot(&self) -> &'static Hot {
        self.block.hot(self.id.entry())
    }

    #[inline]
    fn shard(&self) -> &'static Shard {
        self.block.shard
    }

    /// The connection's id, as [`ConnTracker::close`](crate::ConnTracker::close) takes it.
    #[must_use]
    pub fn id(&self) -> ConnId {
        self.id
    }

    /// Its state: active, draining, closing or closed.
    #[must_use]
    #[inline]
    pub fn state(&self) -> ConnState {
        self.hot().state()
    }

    /// What it is doing: handshaking, idle, in a request, or a tunnel.
    #[must_use]
    #[inline]
    pub fn kind(&self) -> ConnKind {
        self.hot().kind.load()
    }

    /// The protocol that it speaks.
    #[must_use]
    #[inline]
    pub fn protocol(&self) -> ConnProtocol {
        self.hot().protocol()
    }

    /// Its label: a client's traffic, or a connection of another purpose.
    #[must_use]
    pub fn label(&self) -> ConnLabel {
        self.hot().label()
    }

    /// Why it is ending, once a reason was given.
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.hot().reason()
    }

    /// When its last activity was: since the tracker was made, as coarse as the calls of
    /// [`ConnTracker::advance`](crate::ConnTracker::advance).
    #[must_use]
    pub fn last_activity(&self) -> Duration {
        Duration::from_millis(self.hot().last_activity())
    }

    /// Changes its state. The state that it has already is accepted and counts nothing.
    ///
    /// # Errors
    ///
    /// [`InvalidTransition`] when it is already past `to`; nothing is changed.
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

    /// Sets the protocol, once it is known or has changed.
    pub fn set_protocol(&self, protocol: ConnProtocol) {
        self.shard().set_protocol(self.hot(), self.id, protocol);
    }

    /// Sets the label, once it is known: a metrics scrape shows itself by its path.
    /// With an [excluded](crate::TrackerOptions::with_excluded) label, completion no longer waits
    /// for it.
    pub fn set_label(&self, label: ConnLabel) {
        let low = self.shard().set_label(self.hot(), self.id, label);
        self.block.registry.look(low);
    }

    /// Sets the address of the other end, once it is known better: the PROXY protocol names the
    /// client behind a load balancer.
    ///
    /// ```
    /// use conn_tracker::{ConnTracker, Peer};
    /// use std::net::SocketAddr;
    /// let tracker = ConnTracker::new();
    /// let guard = tracker.group("ingress", 1).open(SocketAddr::from(([10, 0, 0, 1], 40312))); // the load balancer
    /// let client = SocketAddr::from(([192, 0, 2, 7], 51000));
    /// guard.set_peer(client);
    /// assert_eq!(tracker.snapshot()[0].peer, Peer::Ip(client));
    /// ```
    pub fn set_peer(&self, peer: impl Into<Peer>) {
        let peer = PackedPeer::pack(peer.into());
        self.shard().set_peer(self.id, peer);
    }

    /// Counts it in a filter chain, once that is chosen, and no longer in the chain that it was in
    /// before.
    ///
    /// # Errors
    ///
    /// [`AttachError`] when the chain is of another listener version than the connection, or of
    /// another tracker; nothing is changed.
    ///
    /// # Examples
    ///
    /// ```
    /// use conn_tracker::{AttachError, ConnTracker, Peer};
    /// let tracker = ConnTracker::new();
    /// let (old, new) = (tracker.group("ingress", 1), tracker.group("ingress", 2));
    /// let guard = old.open(Peer::Unix);
    /// guard.attach_chain(&old.chain("tls"))?;
    /// assert!(guard.attach_chain(&new.chain("tls")).is_err());
    /// # Ok::<(), AttachError>(())
    /// ```
    pub fn attach_chain(&self, chain: &ConnChain) -> Result<(), AttachError> {
        let registry = self.block.registry;
        if !std::ptr::eq(registry, chain.handle().handle().registry()) {
            return Err(AttachError::OtherTracker {
                listener: Arc::from(chain.listener()),
                chain: Arc::from(chain.name()),
            });
        }
        let low = self
            .shard()
            .attach_chain(self.hot(), self.id, chain.handle().group())?;
        if let Some(low) = low {
            registry.look(low);
        }
        Ok(())
    }

    /// Sets or replaces what ends this connection; see [`ConnInfo::with_closer`].
    ///
    /// Set while the old one is being called, it is called next with the same request; sixteen in a
    /// row at most.
    ///
    /// A closer that contains a guard of its own connection keeps that connection registered for
    /// ever.
    pub fn set_closer(&self, closer: impl Fn() + Send + Sync + 'static) {
        let old = self.shard().set_closer(self.id, close_only(closer));
        drop(old);
    }

    /// Sets or replaces what ends this connection and asks it to leave; see
    /// [`ConnInfo::with_control`] and [`set_closer`](Self::set_closer).
    pub fn set_control(&self, control: impl Fn(ConnRequest) + Send + Sync + 'static) {
        let control = Box::new(control);
        let old = self.shard().set_closer(self.id, control);
        drop(old);
    }

    /// Sets why it is ending. The first reason is kept; without one it is
    /// [finished](CloseReason::Finished), [drained](CloseReason::Drained) or
    /// [panicked](CloseReason::Panicked), by what is seen when it ends.
    pub fn set_close_reason(&self, reason: CloseReason) {
        self.hot().give_reason(reason);
    }

    /// Sets what it is doing now; replaces a count of requests made before.
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

    /// Bytes have come or gone: stamps the connection with the coarse clock. One load and a
    /// compare, and a store once per tick.
    #[inline]
    pub fn touch(&self) {
        self.hot().touch(self.block.registry.clock.millis());
    }
}

impl Clone for ConnGuard {
    fn clone(&self) -> Self {
        // Relaxed: the guard that is cloned keeps the count above zero, and nothing is read by it.
        self.hot().refs.fetch_add(1, Ordering::Relaxed);
        Self {
            block: self.block,
            id: self.id,
        }
    }
}

impl Drop for ConnGuard {
    #[inline]
    fn drop(&mut self) {
        let refs = &self.hot().refs;
        // One reference is the last: clones are made from guards, and this guard is ours alone. So
        // the common case needs no read-modify-write. Acquire, in both, pairs with the Release half
        // in the drops of the clones before: without it, what they wrote to the entry could appear
        // after the entry is freed, in the next connection's.
        let is_last = refs.load(Ordering::Acquire) == 1 || refs.fetch_sub(1, Ordering::AcqRel) == 1;
        if is_last {
            let ended = self
                .shard()
                .end(self.hot(), self.id, std::thread::panicking());
            let registry = self.block.registry;
            if let Some(low) = ended.low {
                registry.look(low);
            }
            if ended.is_last_of_shard {
                registry.release();
            }
            // User code, and it may panic: after everything that other tasks wait for.
            drop(ended.closer);
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
