//! How many connections there are, as a reader sees it.

use crate::{engine::Counters, labels::ConnProtocol, state::ConnState};

/// How many connections there are in one listener version, one filter chain or the whole tracker,
/// read without stopping any thread.
///
/// Reading costs two cache lines for each shard that is in use, however many connections there are.
/// While connections open and end, the numbers may differ from each other by those that do so
/// during the read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnCounts {
    /// All open connections, excluded ones too.
    pub total: u64,
    /// Those that completion waits for: all but the excluded.
    pub awaited: u64,
    states: [u64; 4],
    protocols: [u64; ConnProtocol::COUNT],
    entered: [u64; 4],
}

impl ConnCounts {
    pub(crate) fn sum<'a>(parts: impl Iterator<Item = &'a Counters>) -> Self {
        let mut counts = Self::default();
        let (mut came, mut went) = (0_u64, 0_u64);
        for part in parts {
            for state in ConnState::ALL {
                for (sum, open) in counts.protocols.iter_mut().zip(part.open_in(state)) {
                    *sum += open;
                    counts.states[state as usize] += open;
                }
                counts.entered[state as usize] += part.entered(state);
            }
            // In this order: a connection that ends meanwhile still counts, and nothing falls below
            // zero.
            went += part.went();
            came += part.came();
        }
        counts.total = counts.states.iter().sum();
        counts.awaited = came.saturating_sub(went);
        counts
    }

    /// How many are in `state` now.
    #[must_use]
    pub const fn state(&self, state: ConnState) -> u64 {
        self.states[state as usize]
    }

    /// How many speak `protocol` now.
    #[must_use]
    pub const fn protocol(&self, protocol: ConnProtocol) -> u64 {
        self.protocols[protocol as usize]
    }

    /// How many times a connection has entered `state`, ever: opened for [`ConnState::Active`],
    /// ended for [`ConnState::Closed`]. Only grows.
    ///
    /// In the counts of a filter chain a connection enters the state that it has when it is
    /// attached.
    #[must_use]
    pub const fn transitions(&self, to: ConnState) -> u64 {
        self.entered[to as usize]
    }
}
