//! Whether a connection should leave now: the question, and the act that follows from a yes.

use std::ops::Deref;

/// Whether a connection should leave now: Envoy's drain decision.
///
/// Implemented by [`DrainHandle`](crate::DrainHandle) and by everything that derefs to a decision.
/// Other types may implement it, and combine a drain with other reasons (a failed health check, an
/// age).
pub trait DrainDecision {
    /// Whether the connection's slot has come. The question changes nothing, and any code may ask
    /// it at any time.
    ///
    /// While Envoy 1.40's schedule ramps, each look rolls a die of its own.
    #[doc(alias = "drainClose")]
    fn is_due(&self) -> bool;

    /// Asked once per response, before its head is written. `true`: this response says `close`, or
    /// stands behind a GOAWAY.
    ///
    /// The connection is signaled by the first `true`, so that its driver begins the same goodbye.
    /// Default: as [`is_due`](Self::is_due), for a decision that has no connection to signal.
    fn leave_if_due(&self) -> bool {
        self.is_due()
    }

    /// How far the drain has come: 65 535ths of its drain time, rounded down, as coarse as its
    /// pace. `None`: no drain concerns the connection, or one with Envoy's own schedule, in which
    /// no connection leaves before its turn. Default: `None`.
    fn progress(&self) -> Option<u16> {
        None
    }

    /// The connection leaves now, although its slot has not come. `true`: as for
    /// [`leave_if_due`](Self::leave_if_due). Default: it stays.
    fn leave_early(&self) -> bool {
        false
    }
}

/// Of everything that derefs to a decision: a [`DrainWatch`](crate::DrainWatch), a reference, an
/// `Arc`.
impl<D: Deref<Target: DrainDecision>> DrainDecision for D {
    #[inline]
    fn is_due(&self) -> bool {
        (**self).is_due()
    }

    #[inline]
    fn leave_if_due(&self) -> bool {
        (**self).leave_if_due()
    }

    fn progress(&self) -> Option<u16> {
        (**self).progress()
    }

    fn leave_early(&self) -> bool {
        (**self).leave_early()
    }
}
