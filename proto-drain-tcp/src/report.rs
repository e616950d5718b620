//! What became of a copy: who ended it, and every byte accounted for.

use std::{fmt, io};

/// One of the two ends of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a copy has two ends")]
pub enum Side {
    /// The end that was accepted (Envoy's downstream).
    Client,
    /// The end that was connected to (Envoy's upstream).
    Upstream,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
        })
    }
}

/// An end of the copy failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// Reading failed: the peer reset the connection, or it timed out.
    #[error("cannot read from the {side}")]
    Read {
        /// The end that failed.
        side: Side,
        /// What the transport said.
        source: io::Error,
    },
    /// Writing failed: the peer takes no more.
    #[error("cannot write to the {side}")]
    Write {
        /// The end that failed.
        side: Side,
        /// What the transport said.
        source: io::Error,
    },
}

impl CopyError {
    /// The end that failed.
    #[must_use]
    pub const fn side(&self) -> Side {
        match self {
            Self::Read { side, .. } | Self::Write { side, .. } => *side,
        }
    }

    /// What the transport said.
    #[must_use]
    pub const fn io(&self) -> &io::Error {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } => source,
        }
    }
}

/// What made a copy end.
#[derive(Debug)]
#[non_exhaustive]
pub enum Ended {
    /// Both peers ended their halves; no drain had a part in it.
    ByPeers,
    /// A drain: at the connection's slot, or when it became quiet after it.
    Signaled,
    /// A drain: the decision asked after a chunk said so (Envoy's `check_drain_close`).
    OnData,
    /// A drain: in a quiet moment shortly before the deadline.
    Finishing,
    /// A drain: cut at the deadline.
    AtDeadline,
    /// An end of the copy failed.
    Failed(CopyError),
}

impl Ended {
    /// Whether a drain closed the connection: what Envoy counts as `downstream_cx_drain_close`.
    #[must_use]
    pub const fn by_drain(&self) -> bool {
        matches!(
            self,
            Self::Signaled | Self::OnData | Self::Finishing | Self::AtDeadline
        )
    }
}

/// The bytes of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct Bytes {
    /// Taken from one side and handed to the other side's transport.
    pub delivered: u64,
    /// Taken from one side and lost, because the other side did not take them in time or failed.
    pub undelivered: u64,
    /// Sent by a peer after the copy had ended its direction, read only so that the close is no
    /// reset, and dropped.
    pub discarded: u64,
}

/// The end of a copy, with every byte accounted for.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "it says whether bytes were lost"]
pub struct CopyReport {
    /// What the client sent.
    pub client_to_upstream: Bytes,
    /// What the upstream sent.
    pub upstream_to_client: Bytes,
    /// What made the copy end.
    pub ended: Ended,
}

impl CopyReport {
    /// Whether every byte that was read from a peer reached the other one's transport.
    #[must_use]
    pub const fn is_lossless(&self) -> bool {
        let (up, down) = (self.client_to_upstream, self.upstream_to_client);
        up.undelivered + up.discarded + down.undelivered + down.discarded == 0
    }
}
