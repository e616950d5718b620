//! The way of an accepted connection into its filter chain.

use std::fmt;
use std::sync::Arc;

use conn_tracker::{ConnGuard, ConnRequest, Peer};
use drain_tree::{DrainHandle, DrainWatch};

use super::{Accepted, Stream};
use crate::live::Chosen;
use crate::{ChainId, ListenerChain, ListenerConfig, ListenerVersion};

/// What an accepted connection is without its stream: the version that it belongs to for life, and
/// its guards.
///
/// It is for those who read bytes, or wrap the stream, before they know the filter chain: SNI, a
/// PROXY header.
#[non_exhaustive]
#[must_use = "dropping it says that the connection is gone"]
pub struct Admission<C> {
    /// Who connected.
    pub peer: Peer,
    /// The version that took it.
    pub version: Arc<ListenerVersion<C>>,
    /// Its guard in the drain of the version, opened before any later update could drain it. Held
    /// means open.
    pub watch: DrainWatch,
    /// Its guard in the connection tracker, in the group of the version.
    pub conn: ConnGuard,
    /// Which worker accepted it: 0 for the first that was made, as in Envoy's `worker_0`.
    pub worker: usize,
}

/// A connection's place in the filter chain that it belongs to for life.
#[non_exhaustive]
#[must_use = "dropping it says that the connection is gone"]
pub struct ChainEntry<C> {
    /// Who connected.
    pub peer: Peer,
    /// The version that took it, with the configuration in which the chain was chosen.
    pub version: Arc<ListenerVersion<C>>,
    /// The chain.
    pub chain: Arc<ListenerChain>,
    /// Its guard in the drain of the chain, opened before any later update could drain it. Held
    /// means open.
    pub watch: DrainWatch,
    /// Its guard in the connection tracker, in the groups of the version and of the chain.
    pub conn: ConnGuard,
    /// Which worker accepted it.
    pub worker: usize,
}

impl<C: ListenerConfig> Accepted<C> {
    /// The stream, and what else the connection is: to choose its filter chain after bytes were
    /// read.
    pub fn split(self) -> (Stream, Admission<C>) {
        let Self {
            stream,
            peer,
            version,
            watch,
            conn,
            worker,
        } = self;
        let admission = Admission {
            peer,
            version,
            watch,
            conn,
            worker,
        };
        (stream, admission)
    }

    /// The connection enters the filter chain that `choose` names, as [`Admission::enter_chain`]
    /// does.
    ///
    /// # Errors
    ///
    /// The connection as it came, if no chain takes it. Envoy closes it without an answer; dropping
    /// it does that.
    #[allow(
        clippy::result_large_err,
        reason = "the connection goes back as it came"
    )]
    pub fn enter_chain(
        self,
        choose: impl FnMut(&C) -> Option<ChainId>,
    ) -> Result<(Stream, ChainEntry<C>), Self> {
        let (stream, admission) = self.split();
        match admission.enter_chain(choose) {
            Ok(entry) => Ok((stream, entry)),
            Err(admission) => Err(admission.join(stream)),
        }
    }
}

/// What the registry asks of a connection, by its watch.
pub(super) fn ask(handle: &DrainHandle, request: ConnRequest) {
    match request {
        ConnRequest::Drain => handle.start_now(),
        _ => handle.force(),
    };
}

impl<C: ListenerConfig> Admission<C> {
    /// The connection enters the filter chain that `choose` names by its identity in
    /// [`ListenerConfig::chains`].
    ///
    /// `choose` is asked in the version's newest configuration, and asked again if an update in
    /// place takes the chain away at that moment. So a connection never enters a chain that drains
    /// by itself already, and none falls between two chains. It keeps its version, and drains with
    /// it too.
    ///
    /// # Errors
    ///
    /// The admission as it came, if no chain takes the connection.
    pub fn enter_chain(
        self,
        mut choose: impl FnMut(&C) -> Option<ChainId>,
    ) -> Result<ChainEntry<C>, Self> {
        let Some(Chosen {
            version,
            chain,
            watch,
        }) = self.version.enter(&mut choose)
        else {
            return Err(self);
        };
        let Self {
            peer,
            watch: before,
            conn,
            worker,
            ..
        } = self;
        // A drain of the version that is over has no room for another watch; the first one has been
        // there all the time.
        let watch = watch.unwrap_or_else(|| before.clone());
        let handle = watch.handle();
        conn.set_control(move |request| ask(&handle, request));
        // What was asked of the connection before; what is asked now is asked of the new watch.
        if before.is_forced() {
            watch.force();
        } else if before.is_started() {
            watch.start_now();
        }
        // The chain is one of this connection's version.
        let attached = conn.attach_chain(chain.conns());
        debug_assert!(attached.is_ok(), "{attached:?}");
        // The chain's guard is held, so the version's drain never sees the connection gone.
        drop(before);
        Ok(ChainEntry {
            peer,
            version: Arc::new(version),
            chain,
            watch,
            conn,
            worker,
        })
    }
}

impl<C> Admission<C> {
    /// With its stream again.
    pub(super) fn join(self, stream: Stream) -> Accepted<C> {
        let Self {
            peer,
            version,
            watch,
            conn,
            worker,
        } = self;
        Accepted {
            stream,
            peer,
            version,
            watch,
            conn,
            worker,
        }
    }
}

impl<C> fmt::Debug for Admission<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("peer", &self.peer)
            .field("version", &self.version)
            .field("conn", &self.conn.id())
            .finish_non_exhaustive()
    }
}

impl<C> fmt::Debug for ChainEntry<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainEntry")
            .field("peer", &self.peer)
            .field("chain", &self.chain)
            .field("conn", &self.conn.id())
            .finish_non_exhaustive()
    }
}
