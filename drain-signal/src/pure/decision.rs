//! Should this connection leave now? The question, and the act that follows from a yes.

use std::ops::Deref;
use std::time::Duration;

use crate::schedule::ceil_seconds;

/// Whether the connection that asks should leave now: Envoy's drain decision.
///
/// Implemented by [`DrainHandle`](crate::DrainHandle) and by everything that derefs to a decision;
/// open for other types, which combine it with what else they know (a failed health check, an age).
pub trait DrainDecision {
    /// Whether the connection's turn to leave has come. A look: it changes nothing, and any code
    /// may look at any time.
    ///
    /// While Envoy 1.40's schedule ramps, each look rolls a die of its own.
    #[doc(alias = "drainClose")]
    fn is_due(&self) -> bool;

    /// Asked once per response, before its head is written. `true`: say goodbye with this response.
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

    /// The connection leaves now, although its slot has not come. `true`: say goodbye with this
    /// response. Default: it stays.
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

/// One half: the part of the drain time after which every response says goodbye.
const ENVOY_RAMP: u32 = 2;

/// What Envoy 1.40 answers a response in a gradual drain when `elapsed` of `drain_time` have passed:
/// the odds rise to one at half of the drain time, in whole seconds. `sample` is called only before
/// that, at most once.
///
/// Source:
/// [`drain_close_util.h`](https://github.com/envoyproxy/envoy/blob/main/source/common/network/drain_close_util.h).
pub(crate) fn envoy_leaves(
    drain_time: Duration,
    elapsed: Duration,
    sample: impl FnOnce() -> u64,
) -> bool {
    let window = ceil_seconds(drain_time / ENVOY_RAMP).as_secs();
    let elapsed = elapsed.as_secs();
    elapsed >= window || elapsed > sample() % window
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ramp_matches_envoys_numbers() {
        let leaves = |drain_time, elapsed, sample| {
            let [drain_time, elapsed] = [drain_time, elapsed].map(Duration::from_secs);
            envoy_leaves(drain_time, elapsed, || sample)
        };
        assert!(leaves(100, 30, 29) && !leaves(100, 30, 30) && leaves(100, 30, 70));
        assert!(leaves(100, 50, 49) && !leaves(1, 0, 0) && leaves(0, 0, 0));
        assert!(!leaves(u64::MAX, u64::MAX / 4, u64::MAX / 4));
    }
}
