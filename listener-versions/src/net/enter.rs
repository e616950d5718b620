//! The way of an accepted connection into its filter chain.

use std::fmt;
use std::sync::Arc;

use conn_tracker::ConnGuard;
use drain_tree::DrainWatch;

use super::{Accepted, PeerAddress, Stream};
use crate::version::Entered;
use crate::{ListenAddress, ListenerChain, ListenerConfig, ListenerVersion};

/// A connection, and the filter chain that it belongs to for life.
#[non_exhaustive]
#[must_use = "dropping it closes the connection"]
pub struct ChainConnection<C> {
    /// The connection.
    pub stream: Stream,
    /// Who connected.
    pub peer: PeerAddress,
    /// The version that took it, with the configuration in which the chain was chosen.
    pub version: Arc<ListenerVersion<C>>,
    /// The chain.
    pub chain: Arc<ListenerChain>,
    /// Where the chain stands in the [`chains`](ListenerConfig::chains) of that configuration.
    pub index: usize,
    /// Its guard in the drain of the chain, opened before any later update could drain it. Held means open.
    pub watch: DrainWatch,
    /// Its guard in the connection tracker, in the books of the version and of the chain.
    pub conn: ConnGuard,
}

impl<C: ListenerConfig> Accepted<C> {
    /// Moves the connection into the filter chain that `choose` names by its index in [`ListenerConfig::chains`].
    ///
    /// `choose` is asked in the version's newest configuration, and asked again if an update in place takes the chain away at that
    /// moment. So a connection never enters a chain that drains by itself already, and none falls between two chains. It keeps
    /// its version, and drains with it too.
    ///
    /// # Errors
    ///
    /// The connection as it came, if no chain takes it. Envoy closes it without an answer; dropping it does that.
    #[expect(clippy::result_large_err, reason = "the connection goes back as it came")]
    pub fn enter_chain(
        self,
        mut choose: impl FnMut(&C) -> Option<usize>,
    ) -> Result<ChainConnection<C>, Self> {
        let Some(entered) = self.version.enter(&mut choose) else {
            return Err(self);
        };
        let Entered {
            version,
            chain,
            index,
            watch,
        } = entered;
        let Self {
            stream,
            peer,
            watch: before,
            conn,
            ..
        } = self;
        // A drain of the version that is over has no room for another watch; the first one has been there all the time.
        let watch = watch.unwrap_or_else(|| before.clone());
        let handle = watch.handle();
        conn.set_closer(move || {
            handle.force();
        });
        if before.is_forced() {
            watch.force();
        }
        let attached = conn.attach_chain(chain.book());
        // The version keeps its group, and makes its chains with it: `Content::new`.
        attached.expect("the chain is of the connection's own version");
        // The chain's guard is held, so the version's drain never sees the connection gone.
        drop(before);
        Ok(ChainConnection {
            stream,
            peer,
            version: Arc::new(version),
            chain,
            index,
            watch,
            conn,
        })
    }
}

impl<C> ChainConnection<C> {
    /// The address that the client connected to. It is asked for here (`getsockname`), and not before.
    #[must_use]
    pub fn local(&self) -> ListenAddress {
        let local = self.stream.local();
        local.map_or_else(|| self.version.socket().address().clone(), ListenAddress::Socket)
    }
}

impl<C> fmt::Debug for ChainConnection<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainConnection")
            .field("peer", &self.peer)
            .field("chain", &self.chain)
            .field("conn", &self.conn.id())
            .finish_non_exhaustive()
    }
}
