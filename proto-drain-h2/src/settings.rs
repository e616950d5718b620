//! What an operator may set, with Envoy's names and defaults.

use std::time::Duration;

/// How an HTTP/2 connection leaves.
///
/// # Examples
///
/// ```
/// use proto_drain_h2::H2DrainSettings;
/// use std::time::Duration;
///
/// let settings = H2DrainSettings::default().with_drain_timeout(Duration::from_secs(2));
/// assert_eq!(settings.delayed_close_timeout, Duration::from_secs(1));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct H2DrainSettings {
    /// Time between GOAWAY(2^31-1) and the final GOAWAY. Envoy's `drain_timeout` of the [HTTP
    /// connection
    /// manager](https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto);
    /// default 5 s. Shorter where the drain's deadline is nearer ([`Self::drain_timeout_within`]).
    pub drain_timeout: Duration,
    /// How long the transport stays open for the peer's FIN once the last stream has ended, and how
    /// long a flush or a close waits for a peer that takes nothing. Envoy's
    /// `delayed_close_timeout`; default 1 s. With zero the transport does not stay open, and the
    /// other waits have 1 s.
    pub delayed_close_timeout: Duration,
    /// How long a connection whose slot comes before it has shown its protocol may take to do so;
    /// then it is closed. Default 1 s. Envoy closes such a connection at once, as zero does; a first
    /// request that is already on its way would be lost by that. One that has sent a part of its
    /// preface has until the deadline, as a request of HTTP/1 of which a part has come.
    pub first_bytes_timeout: Duration,
    /// What becomes of the streams still open at the deadline. Default
    /// [`StreamsAtDeadline::ResetStreams`].
    pub at_deadline: StreamsAtDeadline,
    /// How many bytes of the peer are read and discarded in the delayed close. Default 16 MiB.
    ///
    /// It has to cover what an honest peer may have under way: the windows of its streams and of
    /// the connection (1 MiB with hyper's defaults) and what the kernels' buffers have. With less,
    /// an upload turns into the RST that the delayed close is there to avoid. After the limit
    /// nothing more is read; the peer keeps its time.
    pub discard_limit: u64,
    /// How many connections of the [`H2Drain`](crate::H2Drain) may be in their delayed close at a
    /// time; others close at once when their last byte has been taken. Default 65 536. With
    /// [`Self::discard_limit`] it bounds what peers that do not close can cost.
    pub max_lingering: u64,
}

/// What becomes of the streams that are still open at the deadline of a drain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamsAtDeadline {
    /// Each gets RST_STREAM(CANCEL), as far as it is served through
    /// [`ResetHandle`](crate::ResetHandle) (feature `hyper`); what is left [`GRACE`](Self::GRACE)
    /// later is cut.
    #[default]
    ResetStreams,
    /// The connection is cut, as by Envoy 1.40: no RST_STREAM, and no GOAWAY earlier because the
    /// deadline is near. A connection that has had no GOAWAY by then gets none. What the peer has
    /// not taken by then is lost.
    Cut,
}

impl StreamsAtDeadline {
    /// How long after the deadline streams have to send their resets: 100 ms, less than the 250 ms
    /// after which [`drain_signal::drive`] drops the connection.
    pub const GRACE: Duration = Duration::from_millis(100);
}

impl Default for H2DrainSettings {
    fn default() -> Self {
        Self {
            drain_timeout: Duration::from_secs(5),
            delayed_close_timeout: Duration::from_secs(1),
            first_bytes_timeout: Duration::from_secs(1),
            at_deadline: StreamsAtDeadline::default(),
            discard_limit: 16 << 20,
            max_lingering: 1 << 16,
        }
    }
}

impl H2DrainSettings {
    /// Sets [`Self::drain_timeout`].
    #[must_use]
    pub fn with_drain_timeout(mut self, drain_timeout: Duration) -> Self {
        self.drain_timeout = drain_timeout;
        self
    }

    /// Sets [`Self::delayed_close_timeout`].
    #[must_use]
    pub fn with_delayed_close_timeout(mut self, delayed_close_timeout: Duration) -> Self {
        self.delayed_close_timeout = delayed_close_timeout;
        self
    }

    /// Sets [`Self::first_bytes_timeout`].
    #[must_use]
    pub fn with_first_bytes_timeout(mut self, first_bytes_timeout: Duration) -> Self {
        self.first_bytes_timeout = first_bytes_timeout;
        self
    }

    /// Sets [`Self::at_deadline`].
    #[must_use]
    pub fn with_at_deadline(mut self, at_deadline: StreamsAtDeadline) -> Self {
        self.at_deadline = at_deadline;
        self
    }

    /// Sets [`Self::discard_limit`].
    #[must_use]
    pub fn with_discard_limit(mut self, bytes: u64) -> Self {
        self.discard_limit = bytes;
        self
    }

    /// Sets [`Self::max_lingering`].
    #[must_use]
    pub fn with_max_lingering(mut self, connections: u64) -> Self {
        self.max_lingering = connections;
        self
    }

    /// The time between the two GOAWAYs when `left` is what remains until the deadline: the drain
    /// timeout, cut so that the delayed close still fits in; but where little is left the gap has
    /// half of it. With [`StreamsAtDeadline::Cut`] it is always the drain timeout, as in Envoy: the
    /// second GOAWAY is lost then if the deadline comes first.
    ///
    /// A gap of one round trip is what saves the requests that are on their way
    /// ([RFC 9113 section 6.8](https://www.rfc-editor.org/rfc/rfc9113#section-6.8)); the delayed close saves what the peer
    /// has not read. So a connection that is started shortly before the deadline has some of both.
    ///
    /// ```
    /// # use proto_drain_h2::H2DrainSettings;
    /// # use std::time::Duration;
    /// let settings = H2DrainSettings::default();
    /// assert_eq!(settings.drain_timeout_within(None), Duration::from_secs(5));
    /// assert_eq!(settings.drain_timeout_within(Some(Duration::from_secs(4))), Duration::from_secs(3));
    /// assert_eq!(settings.drain_timeout_within(Some(Duration::from_millis(600))), Duration::from_millis(300));
    /// assert_eq!(settings.drain_timeout_within(Some(Duration::ZERO)), Duration::ZERO);
    /// ```
    #[must_use]
    pub fn drain_timeout_within(&self, left: Option<Duration>) -> Duration {
        self.cut_to(self.drain_timeout, left)
    }

    /// [`Self::drain_timeout_within`] with another drain timeout.
    pub(crate) fn cut_to(&self, drain_timeout: Duration, left: Option<Duration>) -> Duration {
        match (left, self.at_deadline) {
            (None, _) | (_, StreamsAtDeadline::Cut) => drain_timeout,
            (Some(left), StreamsAtDeadline::ResetStreams) => {
                let spared = left.saturating_sub(self.delayed_close_timeout);
                drain_timeout.min(spared.max(left / 2))
            }
        }
    }
}

/// Whole nanoseconds; 584 years where they would be more.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_spares_the_delayed_close_or_half_of_the_little_that_is_left() {
        let settings = H2DrainSettings::default();
        let within = |left| settings.drain_timeout_within(Some(Duration::from_millis(left)));
        assert_eq!(settings.drain_timeout_within(None), Duration::from_secs(5));
        for (left, gap) in [
            (60_000, 5000),
            (4000, 3000),
            (2000, 1000),
            (600, 300),
            (0, 0),
        ] {
            assert_eq!(within(left), Duration::from_millis(gap), "{left} ms");
        }
    }
}
