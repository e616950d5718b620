//! What the version set asks of the outside, in the order in which it is safe.

use drain_tree::DrainReason;

use crate::SocketKey;

/// What the outside does for the set, in the order of the list: versions accept before the ones
/// that they replace drain.
#[derive(Debug)]
pub(crate) enum Effect {
    /// A version begins its life, warming.
    Create {
        /// The new version.
        version: u64,
    },
    /// A version that was warming goes, without a drain.
    Discard {
        /// The version that is no more.
        version: u64,
        /// The active version goes on with its configuration, which so has not ended.
        lives_on: bool,
    },
    /// From now on this version takes what comes on its sockets.
    Activate {
        /// The version that accepts.
        version: u64,
        /// Its sockets, which `bind` has opened or earlier versions have left.
        sockets: Vec<SocketKey>,
        /// The version of the same name that accepted until now.
        replaces: Option<u64>,
    },
    /// No version accepts on this socket any more: serve what waits in its queue, then close it.
    Close {
        /// The socket.
        socket: SocketKey,
        /// The version that takes what waits; `None` if the socket was never listened on.
        last: Option<u64>,
    },
    /// This version goes on with its new configuration, in which only filter chains differ.
    UpdateInPlace {
        /// The version, which accepts as before.
        version: u64,
    },
    /// This filter chain's connections finish now; the others of its version go on.
    DrainChain {
        /// The chain that drains.
        chain: u64,
        /// Why.
        reason: DrainReason,
    },
    /// This version's connections finish now.
    Drain {
        /// The version that drains.
        version: u64,
        /// Why.
        reason: DrainReason,
    },
}

/// Effects by the order in which they are safe: first the new versions accept, then sockets close,
/// then the old ones drain.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) begin: Vec<Effect>,
    pub(crate) close: Vec<Effect>,
    pub(crate) drain: Vec<Effect>,
}

impl Work {
    pub(crate) fn into_effects(mut self) -> Vec<Effect> {
        self.begin.append(&mut self.close);
        self.begin.append(&mut self.drain);
        self.begin
    }
}
