//! `protocol_handling` of a listener's configuration: whether a draining connection's client is
//! informed in its protocol's words, or how long after its slot it is cut.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use conn_tracker::ConnProtocol;

/// How a connection leaves when it drains. At its idle timeout, its age or its last request it says
/// goodbye in its protocol's words, whatever stands here.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ProtocolDrainBehavior {
    /// As for HTTP/1.
    Http1 {
        /// Whether `connection: close` is sent.
        connection_close: bool,
    },
    /// As for HTTP/2.
    Http2 {
        /// Whether GOAWAY is sent.
        send_goaway: bool,
    },
    /// As for TCP.
    Tcp {
        /// How long after its slot it is closed.
        force_close_after: Duration,
    },
    /// By the protocol that the connection really speaks.
    #[default]
    Auto,
}

/// What a connection does at its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// It says goodbye in its protocol's words.
    Says,
    /// It says nothing and is served until the deadline.
    Silent,
    /// It says goodbye, and is cut this long afterwards.
    CutAfter(Duration),
}

/// What `behavior` means for a connection that speaks `protocol`. A behaviour that names another
/// protocol changes nothing.
pub(super) fn manner(behavior: &ProtocolDrainBehavior, protocol: ConnProtocol) -> Manner {
    match (behavior, protocol) {
        (
            ProtocolDrainBehavior::Http1 {
                connection_close: false,
            },
            ConnProtocol::Http1,
        )
        | (ProtocolDrainBehavior::Http2 { send_goaway: false }, ConnProtocol::Http2) => {
            Manner::Silent
        }
        (ProtocolDrainBehavior::Tcp { force_close_after }, ConnProtocol::Tcp) => {
            Manner::CutAfter(*force_close_after)
        }
        _ => Manner::Says,
    }
}

/// A [`ProtocolDrainBehavior`] that connections share and that can be changed while they are open;
/// it counts when a connection's slot comes. Clones are handles of the same one.
///
/// Durations are kept in milliseconds.
#[derive(Clone, Default)]
pub struct SharedBehavior(Arc<Shared>);

#[derive(Default)]
struct Shared {
    cell: Cell,
    http_drain_timeout: Option<Duration>,
}

impl SharedBehavior {
    /// Connections that share it behave like this.
    pub fn new(behavior: &ProtocolDrainBehavior) -> Self {
        let shared = Shared::default();
        shared.cell.set(behavior);
        Self(Arc::new(shared))
    }

    /// Behavior of its own, the same as now, whose HTTP/2 connections wait this long between their
    /// two GOAWAYs (Envoy's `drain_timeout`), whatever their server says.
    #[must_use]
    pub fn with_http_drain_timeout(self, timeout: Duration) -> Self {
        let shared = Shared {
            cell: Cell::default(),
            http_drain_timeout: Some(timeout),
        };
        shared.cell.set(&self.get());
        Self(Arc::new(shared))
    }

    /// From now on they behave like this.
    pub fn set(&self, behavior: &ProtocolDrainBehavior) {
        self.0.cell.set(behavior);
    }

    /// How they behave.
    pub fn get(&self) -> ProtocolDrainBehavior {
        self.0.cell.get().unwrap_or_default()
    }

    /// How long HTTP/2 connections wait between their two GOAWAYs, if not as their server says.
    pub fn http_drain_timeout(&self) -> Option<Duration> {
        self.0.http_drain_timeout
    }
}

impl fmt::Debug for SharedBehavior {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// A behaviour in a word, so that it is asked for without a lock: the low three bits say which, the
/// others how long.
#[derive(Debug, Default)]
pub(super) struct Cell(AtomicU64);

const UNSET: u64 = 0;
const AUTO: u64 = 1;
const HTTP1_SILENT: u64 = 2;
const HTTP1_CLOSE: u64 = 3;
const HTTP2_SILENT: u64 = 4;
const HTTP2_GOAWAY: u64 = 5;
const TCP: u64 = 6;
const TAG: u32 = 3;

impl Cell {
    pub(super) fn set(&self, behavior: &ProtocolDrainBehavior) {
        let word = match behavior {
            ProtocolDrainBehavior::Auto => AUTO,
            ProtocolDrainBehavior::Http1 {
                connection_close: false,
            } => HTTP1_SILENT,
            ProtocolDrainBehavior::Http1 {
                connection_close: true,
            } => HTTP1_CLOSE,
            ProtocolDrainBehavior::Http2 { send_goaway: false } => HTTP2_SILENT,
            ProtocolDrainBehavior::Http2 { send_goaway: true } => HTTP2_GOAWAY,
            ProtocolDrainBehavior::Tcp { force_close_after } => {
                let longest = u64::MAX >> TAG;
                let millis = u64::try_from(force_close_after.as_millis()).unwrap_or(longest);
                TCP | millis.min(longest) << TAG
            }
        };
        // Relaxed: it stands for itself, and a drain that begins afterwards is published with an
        // ordering of its own.
        self.0.store(word, Ordering::Relaxed);
    }

    /// `None` if it was not set.
    pub(super) fn get(&self) -> Option<ProtocolDrainBehavior> {
        let word = self.0.load(Ordering::Relaxed);
        Some(match word & ((1 << TAG) - 1) {
            UNSET => return None,
            HTTP1_SILENT => ProtocolDrainBehavior::Http1 {
                connection_close: false,
            },
            HTTP1_CLOSE => ProtocolDrainBehavior::Http1 {
                connection_close: true,
            },
            HTTP2_SILENT => ProtocolDrainBehavior::Http2 { send_goaway: false },
            HTTP2_GOAWAY => ProtocolDrainBehavior::Http2 { send_goaway: true },
            TCP => ProtocolDrainBehavior::Tcp {
                force_close_after: Duration::from_millis(word >> TAG),
            },
            _ => ProtocolDrainBehavior::Auto,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_behavior_survives_its_word() {
        for behavior in [
            ProtocolDrainBehavior::Auto,
            ProtocolDrainBehavior::Http1 {
                connection_close: true,
            },
            ProtocolDrainBehavior::Http1 {
                connection_close: false,
            },
            ProtocolDrainBehavior::Http2 { send_goaway: true },
            ProtocolDrainBehavior::Http2 { send_goaway: false },
            ProtocolDrainBehavior::Tcp {
                force_close_after: Duration::from_millis(1_500),
            },
        ] {
            assert_eq!(SharedBehavior::new(&behavior).get(), behavior);
        }
        assert_eq!(Cell::default().get(), None);
    }

    #[test]
    fn a_behavior_concerns_the_protocol_that_it_names() {
        let silent = ProtocolDrainBehavior::Http1 {
            connection_close: false,
        };
        assert_eq!(manner(&silent, ConnProtocol::Http1), Manner::Silent);
        assert_eq!(manner(&silent, ConnProtocol::Http2), Manner::Says);
        let soon = ProtocolDrainBehavior::Tcp {
            force_close_after: Duration::from_secs(3),
        };
        assert_eq!(
            manner(&soon, ConnProtocol::Tcp),
            Manner::CutAfter(Duration::from_secs(3))
        );
        assert_eq!(manner(&soon, ConnProtocol::WebSocket), Manner::Says);
    }
}
