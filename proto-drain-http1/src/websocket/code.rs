//! Why a WebSocket connection ends, and the Close frame that says it.

use std::hash::{BuildHasher, RandomState};

/// Why the server ends a WebSocket connection
/// ([RFC 6455, section 7.4.1](https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1) and its
/// [registry](https://www.iana.org/assignments/websocket/websocket.xhtml)).
///
/// Codes that must not be sent (1005, 1006, 1015) or that say something else cannot be represented.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseCode {
    /// 1001: the endpoint is going away. The default.
    #[default]
    GoingAway,
    /// 1012: the service restarts; a client may reconnect, after a random delay.
    ServiceRestart,
}

impl CloseCode {
    /// The code on the wire.
    #[must_use]
    pub const fn as_u16(self) -> u16 {
        match self {
            Self::GoingAway => 1001,
            Self::ServiceRestart => 1012,
        }
    }

    /// A Close frame without a reason, as a server sends it: unmasked.
    pub(super) const fn frame(self) -> [u8; 4] {
        let [high, low] = self.as_u16().to_be_bytes();
        [0x88, 2, high, low]
    }

    /// The same as a client sends it: masked, by a key that cannot be predicted (section 5.3).
    pub(super) fn masked_frame(self) -> [u8; 8] {
        let [high, low] = self.as_u16().to_be_bytes();
        let [a, b, c, d, ..] = RandomState::new().hash_one(()).to_be_bytes();
        [0x88, 0x82, a, b, c, d, high ^ a, low ^ b]
    }
}
