//! An accepted connection, and its way into a filter chain.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use conn_tracker::{ConnGuard, ConnRequest, Peer};
use drain_tree::{DrainHandle, DrainWatch};

use super::Stream;
use crate::live::Chosen;
use crate::{ListenAddress, ListenerChain, ListenerConfig, ListenerVersion};

/// A connection, and the version that it belongs to for life.
///
/// `S` is its [`Stream`]; or `()` without one, for a connection that was
/// [handed in](crate::Listeners::enter), or whose stream was [split](Self::split) off.
#[non_exhaustive]
#[must_use = "dropping it closes the connection"]
pub struct Accepted<C, S = Stream> {
    /// The connection, registered with the runtime of the worker that accepted it.
    pub stream: S,
    /// Who connected.
    pub peer: Peer,
    /// The version that took it: its configuration, and its place in the drain tree. If it has
    /// filter chains, [`enter_chain`](Self::enter_chain) is next.
    pub version: Arc<ListenerVersion<C>>,
    /// Its guard in the drain of the version, or of the filter chain that it has entered, opened
    /// before any later update could drain it. Held means open.
    pub watch: DrainWatch,
    /// Its guard in the connection tracker, in the group of the version, and of the filter chain
    /// that it has entered.
    pub conn: ConnGuard,
    /// Which worker accepted it: 0 for the first that was made, as in Envoy's `worker_0`, and for
    /// what was handed in.
    pub worker: usize,
}

impl<C> Accepted<C> {
    /// The address that the client connected to. It is asked for here (`getsockname`), and not
    /// before.
    #[must_use]
    pub fn local(&self) -> ListenAddress {
        let local = self.stream.local();
        local.unwrap_or_else(|| self.version.configured().clone())
    }

    /// The address that the client meant, where the kernel has redirected its connection to this
    /// listener (`REDIRECT` and `DNAT` of iptables or nftables; Envoy's listener filter
    /// `original_dst`). It is asked for here (`SO_ORIGINAL_DST`), and not before.
    ///
    /// `None` if it was not redirected. A transparent proxy (`TPROXY`) has the address in
    /// [`local`](Self::local). Linux only; elsewhere `None`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io;
    /// use listener_versions::Accepted;
    /// use tokio::net::TcpStream;
    ///
    /// async fn relay<C>(mut accepted: Accepted<C>) -> io::Result<()> {
    ///     let Some(wanted) = accepted.original_destination() else {
    ///         return Ok(()); // it came straight: where to?
    ///     };
    ///     let mut upstream = TcpStream::connect(wanted).await?;
    ///     tokio::io::copy_bidirectional(&mut accepted.stream, &mut upstream).await?;
    ///     Ok(())
    /// }
    /// ```
    #[must_use]
    pub fn original_destination(&self) -> Option<SocketAddr> {
        self.stream.original_destination()
    }
}

impl<C, S> Accepted<C, S> {
    /// The stream, and the rest of the connection: for those who wrap the stream before they know
    /// the filter chain, as for a PROXY header.
    pub fn split(self) -> (S, Accepted<C, ()>) {
        let Self {
            stream,
            peer,
            version,
            watch,
            conn,
            worker,
        } = self;
        let rest = Accepted {
            stream: (),
            peer,
            version,
            watch,
            conn,
            worker,
        };
        (stream, rest)
    }
}

impl<C: ListenerConfig, S> Accepted<C, S> {
    /// The connection enters the filter chain that `choose` names by its identity in
    /// [`ListenerConfig::chains`]: the connection, in the configuration in which the chain was
    /// chosen, and the chain. It may be called after bytes were read, for SNI.
    ///
    /// `choose` is asked in the version's newest configuration, and asked again if an update in
    /// place takes the chain away at that moment. So a connection never enters a chain that drains
    /// by itself already, and none falls between two chains. It keeps its version, and drains with
    /// it too. A connection that is in a chain leaves it for the new one.
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
        mut choose: impl FnMut(&C) -> Option<Arc<str>>,
    ) -> Result<(Self, Arc<ListenerChain>), Self> {
        let Some(Chosen {
            version,
            chain,
            watch,
        }) = self.version.enter(&mut choose)
        else {
            return Err(self);
        };
        let before = self.watch;
        // A drain of the version that is over has no room for another watch; the first one has been
        // there all the time.
        let watch = watch.unwrap_or_else(|| before.clone());
        let handle = watch.handle();
        self.conn.set_control(move |request| ask(&handle, request));
        // What was asked of the connection before; what is asked now is asked of the new watch.
        if before.is_forced() {
            watch.force();
        } else if before.is_started() {
            watch.start_now();
        }
        // The chain is one of this connection's version.
        let attached = self.conn.attach_chain(chain.conns());
        debug_assert!(attached.is_ok(), "{attached:?}");
        // The chain's guard is held, so the version's drain never sees the connection gone.
        drop(before);
        let entered = Self {
            version: Arc::new(version),
            watch,
            ..self
        };
        Ok((entered, chain))
    }
}

/// What the registry asks of a connection, by its watch.
pub(super) fn ask(handle: &DrainHandle, request: ConnRequest) {
    match request {
        ConnRequest::Drain => handle.start_now(),
        _ => handle.force(),
    };
}

impl<C, S> fmt::Debug for Accepted<C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted")
            .field("peer", &self.peer)
            .field("version", &self.version)
            .field("conn", &self.conn.id())
            .finish_non_exhaustive()
    }
}
