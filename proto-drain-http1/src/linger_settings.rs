//! The bounds of the staged close.

use std::time::Duration;

/// Bounds of the staged close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LingerSettings {
    /// How long the close goes on without progress. Default 1 s, as Envoy's
    /// `delayed_close_timeout`.
    ///
    /// One rule for every step: while what was written is flushed and the half-close is made,
    /// progress is that the peer takes bytes; after the half-close nothing but the peer's own end
    /// is, whatever it still sends. Zero disables the reading after the half-close, as in Envoy; a
    /// flush without progress then ends after 1 s.
    pub delayed_close_timeout: Duration,
    /// How many bytes are read and discarded at most. Default 16 MiB.
    ///
    /// It has to cover what an honest peer may have under way when it reads `close`: its send
    /// buffer and our receive buffer, 4 MiB and 6 MiB where Linux tunes them to the most. With
    /// less, an upload in flight turns into the RST that the staged close is there to avoid; 64 KiB
    /// would already destroy the response to a client with 200 kB behind it. The bound stops a peer
    /// that sends without end from using the whole time.
    pub discard_limit: u64,
    /// How many connections that share one [`CloseCounters`](crate::CloseCounters) may wait for
    /// their peers' end at a time. Default 65 536; others are closed at once when they are flushed,
    /// and counted as [`refused`](crate::CloseCounts::refused). With
    /// [`discard_limit`](Self::discard_limit) it bounds what peers that do not close can cost.
    pub max_lingering: u64,
}

impl Default for LingerSettings {
    fn default() -> Self {
        Self {
            delayed_close_timeout: Duration::from_secs(1),
            discard_limit: 16 * 1024 * 1024,
            max_lingering: 1 << 16,
        }
    }
}

impl LingerSettings {
    /// Sets [`delayed_close_timeout`](Self::delayed_close_timeout).
    #[must_use]
    pub fn with_delayed_close_timeout(mut self, timeout: Duration) -> Self {
        self.delayed_close_timeout = timeout;
        self
    }

    /// Sets [`discard_limit`](Self::discard_limit).
    #[must_use]
    pub fn with_discard_limit(mut self, bytes: u64) -> Self {
        self.discard_limit = bytes;
        self
    }

    /// Sets [`max_lingering`](Self::max_lingering).
    #[must_use]
    pub fn with_max_lingering(mut self, connections: u64) -> Self {
        self.max_lingering = connections;
        self
    }

    /// How long a peer may take nothing of what is flushed.
    pub(crate) fn flush_timeout(&self) -> Duration {
        /// What counts where zero disables the reading.
        const WITHOUT_READING: Duration = Duration::from_secs(1);
        if self.delayed_close_timeout.is_zero() {
            WITHOUT_READING
        } else {
            self.delayed_close_timeout
        }
    }
}
