//! The settings of a copy, with Envoy's words and defaults.

use crate::TcpDrainPolicy;
use std::time::Duration;

/// How a [`DrainCopy`](crate::DrainCopy) behaves. Every setting has a default; none is needed for a
/// plain copy.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use proto_drain_tcp::{CopyOptions, TcpDrainPolicy};
///
/// // From its slot on, a connection is closed once nothing has moved on it for 5 s.
/// let options = CopyOptions::new().with_policy(TcpDrainPolicy::WhenQuiet(Duration::from_secs(5)));
/// assert_eq!(options.linger_time, Duration::from_secs(1));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct CopyOptions {
    /// When a drain closes the connection. Default: [`TcpDrainPolicy::UntilDeadline`], as Envoy.
    pub policy: TcpDrainPolicy,
    /// The quiet time that is enough to close near the deadline. Default: 10 ms. `Duration::MAX`:
    /// never before the deadline, as Envoy.
    ///
    /// A client loses a message if it writes again within this time after an answer and so crosses
    /// the close, at whatever distance it is: FIN travels behind the answer. An answer whose parts
    /// come later than this one after the other is cut in its middle. So: longer than the pauses
    /// within an answer, shorter than those between two messages.
    pub finish_quiet: Duration,
    /// How long the peers have, after FIN was sent, to end their own halves; what they send
    /// meanwhile is read and dropped, so that the close is no RST that destroys what was delivered
    /// ([RFC 9293, section 3.6.1](https://www.rfc-editor.org/rfc/rfc9293#section-3.6.1)). When one
    /// side has failed, the copy gives up delivering to the other side after the same time without
    /// progress. Default: 1 s (Envoy's `delayed_close_timeout`, which Envoy has for HTTP only).
    /// Zero: close without waiting. At the deadline it is cut to fit before the driver drops the
    /// connection.
    pub linger_time: Duration,
    /// How many bytes a side may send into that wait before it is closed anyway. Default: 256 KiB.
    pub linger_bytes: u64,
    /// The most bytes that are taken from one side before the other has taken them: back-pressure
    /// starts here. In bytes, at most and by default 64 KiB, at least 1. (Envoy's
    /// `per_connection_buffer_limit_bytes`, default 1 MiB, bounds a buffer that grows; here the
    /// kernel's buffers do that work.)
    pub chunk: usize,
}

impl CopyOptions {
    /// The largest [`chunk`](Self::chunk).
    pub const MAX_CHUNK: usize = crate::half::MAX_CHUNK;

    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            policy: TcpDrainPolicy::UntilDeadline,
            finish_quiet: Duration::from_millis(10),
            linger_time: Duration::from_secs(1),
            linger_bytes: 256 * 1024,
            chunk: Self::MAX_CHUNK,
        }
    }

    /// Sets [`policy`](Self::policy).
    #[must_use]
    pub const fn with_policy(mut self, policy: TcpDrainPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets [`finish_quiet`](Self::finish_quiet).
    #[must_use]
    pub const fn with_finish_quiet(mut self, quiet: Duration) -> Self {
        self.finish_quiet = quiet;
        self
    }

    /// Sets [`linger_time`](Self::linger_time) and [`linger_bytes`](Self::linger_bytes).
    #[must_use]
    pub const fn with_linger(mut self, time: Duration, bytes: u64) -> Self {
        self.linger_time = time;
        self.linger_bytes = bytes;
        self
    }

    /// Sets [`chunk`](Self::chunk), within its bounds.
    #[must_use]
    pub fn with_chunk(mut self, bytes: usize) -> Self {
        self.chunk = bytes.clamp(1, Self::MAX_CHUNK);
        self
    }
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_64_kib_by_default_and_at_most() {
        let largest = CopyOptions::new().with_chunk(usize::MAX).chunk;
        assert_eq!([CopyOptions::new().chunk, largest], [64 << 10; 2]);
    }
}
