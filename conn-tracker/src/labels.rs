//! The small closed sets that a connection is sorted by: protocol, label, reason of its end.

use std::fmt;

/// Declares a byte-sized set of names: `ALL`, `as_str`, `Display` and the way back from the byte.
macro_rules! byte_set {
    ($(#[$doc:meta])* $name:ident { $($(#[$item_doc:meta])* $item:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum $name { $($(#[$item_doc])* $item,)+ }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$item),+];
            pub(crate) const COUNT: usize = Self::ALL.len();

            /// The name in lower case, as metrics and the admin view print it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$item => $text,)+ }
            }

            /// The byte comes from `self as u8`; anything else reads as the last value.
            #[inline]
            pub(crate) fn from_u8(byte: u8) -> Self {
                Self::ALL[usize::from(byte).min(Self::COUNT - 1)]
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

byte_set! {
    /// What is spoken on a connection. Known only after the first bytes; [`Unknown`](Self::Unknown)
    /// until then.
    #[derive(Default)]
    ConnProtocol {
        /// Not known yet.
        #[default]
        Unknown = "unknown",
        /// HTTP/1.0 or HTTP/1.1.
        Http1 = "http1",
        /// HTTP/2.
        Http2 = "http2",
        /// Proxied bytes.
        Tcp = "tcp",
        /// Upgraded to WebSocket.
        WebSocket = "websocket",
    }
}

byte_set! {
    /// What a connection is for. A connection with a label that the tracker excludes
    /// ([`TrackerOptions::with_excluded`]) is listed and counted like any other, but completion
    /// does not wait for it. Default of excluded labels: `Admin` and `Metrics`.
    ///
    /// [`TrackerOptions::with_excluded`]: crate::TrackerOptions::with_excluded
    #[derive(Default)]
    ConnLabel {
        /// A client's. Never excluded.
        #[default]
        Traffic = "traffic",
        /// An operator's at the admin port: often of the operator who waits for the drain to end.
        Admin = "admin",
        /// A metrics scrape over a keep-alive connection that never ends.
        Metrics = "metrics",
        /// A load balancer's health check.
        HealthCheck = "health_check",
        /// The process's own control traffic (xDS, tracing export).
        Internal = "internal",
    }
}

byte_set! {
    /// Why a connection ended.
    CloseReason {
        /// By itself, before it was asked to leave.
        Finished = "finished",
        /// By itself, after it was asked to leave.
        Drained = "drained",
        /// It was as old, or had served as many requests, as it may: informed then, and closed.
        Aged = "aged",
        /// Cut: the drain's deadline was reached.
        Deadline = "deadline",
        /// Cut: an operator asked for this one.
        Admin = "admin",
        /// Cut: too many versions of one listener were draining, and its version was the oldest.
        SoftCap = "soft_cap",
        /// Cut: a limit on connections was lowered below what was open.
        Limit = "limit",
        /// At once, before it was served: a limit on connections was reached.
        Refused = "refused",
        /// At once, before it was served: no filter chain of its listener takes it.
        NoFilterChain = "no_filter_chain",
        /// Its transport or protocol failed.
        Error = "error",
        /// Its task panicked.
        Panicked = "panicked",
    }
}

impl CloseReason {
    /// Whether the connection was cut from this side, with whatever was open on it.
    #[must_use]
    pub const fn is_forced(self) -> bool {
        matches!(
            self,
            Self::Deadline | Self::Admin | Self::SoftCap | Self::Limit
        )
    }
}

/// A set of labels, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LabelSet(u8);

impl LabelSet {
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn of(labels: impl IntoIterator<Item = ConnLabel>) -> Self {
        let bits = labels
            .into_iter()
            .filter(|l| *l != ConnLabel::Traffic)
            .fold(0, |set, l| set | 1 << l as u8);
        Self(bits)
    }

    #[inline]
    pub(crate) const fn contains(self, label: ConnLabel) -> bool {
        self.0 & (1 << label as u8) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_survives_its_byte() {
        for protocol in ConnProtocol::ALL {
            assert_eq!(ConnProtocol::from_u8(*protocol as u8), *protocol);
        }
        for label in ConnLabel::ALL {
            assert_eq!(ConnLabel::from_u8(*label as u8), *label);
        }
        for reason in CloseReason::ALL {
            assert_eq!(CloseReason::from_u8(*reason as u8), *reason);
        }
    }

    #[test]
    fn traffic_cannot_be_excluded() {
        let set = LabelSet::of([ConnLabel::Traffic, ConnLabel::Admin]);
        assert!(!set.contains(ConnLabel::Traffic));
        assert!(set.contains(ConnLabel::Admin));
        assert!(!set.contains(ConnLabel::Metrics));
    }
}
