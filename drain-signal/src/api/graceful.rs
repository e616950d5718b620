//! The open trait: what a connection of any protocol can be asked when it is time to leave.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use crate::DrainEvent;

/// What a connection is told at its slot.
#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct Goodbye {
    /// The drain; `None` if this connection alone was told to leave ([`DrainHandle::start_now`](crate::DrainHandle::start_now)).
    pub event: Option<Arc<DrainEvent>>,
    /// When it was told, as coarse as the drain's pace; `None` without a drain.
    pub told_at: Option<Instant>,
    /// When it must be gone, as known now; `None`: whenever it likes.
    pub deadline: Option<Instant>,
}

/// A connection that can be asked to finish; as a future it runs to its end.
///
/// Implemented by the proto-drain crates for HTTP/1, HTTP/2 and TCP, and open for any other protocol. The driver
/// ([`drive`](crate::drive)) calls the three steps in order, each at most once and none skipped, and polls the
/// connection after each. None of them may block or wait.
pub trait GracefulClose: Future {
    /// The slot has come: say goodbye in the protocol's words and go on serving.
    fn start(self: Pin<&mut Self>, goodbye: &Goodbye);

    /// The deadline is near (1 s by default): say the last word, close if idle.
    fn finish(self: Pin<&mut Self>);

    /// The deadline: reset what is still open, flush, close. The driver drops the connection soon afterwards.
    fn abort(self: Pin<&mut Self>);
}

/// What a connection is doing.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activity {
    /// TLS handshake, PROXY header, protocol detection: it has not spoken its protocol yet.
    Handshaking,
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

/// Told by a protocol what its connection does. Called on the connection's own task; must be cheap.
pub trait ActivityObserver {
    /// The connection now does this.
    fn activity(&self, activity: Activity);
}
