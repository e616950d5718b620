//! What a connection is doing, for a list of connections.

/// What a connection is doing.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activity {
    /// Open, with nothing in flight.
    Idle,
    /// In a request, or in several.
    InRequest {
        /// How many.
        streams: u32,
    },
    /// Upgraded or CONNECTed: bytes are relayed.
    Tunnel,
}

/// Learns what a connection does. Called on the connection's own task; must be cheap.
pub trait ActivityObserver {
    /// The connection now does this.
    fn activity(&self, activity: Activity);
}
