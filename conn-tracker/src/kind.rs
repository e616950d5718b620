//! What a connection is doing right now, in one word that is changed without a lock.

use drain_sync::AtomicU32;
use std::{fmt, sync::atomic::Ordering::Relaxed};

/// What a connection is doing right now: the answer to "why is it still here?".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnKind {
    /// It has not spoken yet: TLS handshake, PROXY header, protocol detection.
    #[default]
    Handshaking,
    /// Open, with no request on it.
    Idle,
    /// Serving.
    InRequest {
        /// How many requests or streams are open; at least 1.
        streams: u32,
    },
    /// Upgraded, or plain TCP: bytes in both directions, with no end that a proxy could see.
    Tunnel,
}

impl ConnKind {
    /// The kind in lower case, as the admin view prints it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Handshaking => "handshaking",
            Self::Idle => "idle",
            Self::InRequest { .. } => "in_request",
            Self::Tunnel => "tunnel",
        }
    }
}

impl fmt::Display for ConnKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

const HANDSHAKING: u32 = 1 << 31;
const TUNNEL: u32 = 1 << 30;
const STREAMS: u32 = TUNNEL - 1;

/// [`ConnKind`] in a word: bit 31 handshaking, bit 30 tunnel, below them the number of open
/// streams. A tunnel beats streams, streams beat the handshake, nothing is idle.
///
/// Relaxed throughout: the word stands for itself, and no other memory is read by it. Two changes
/// at once are both kept, because each is a compare and exchange of this one word.
#[derive(Debug)]
pub(crate) struct KindWord(AtomicU32);

impl KindWord {
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(HANDSHAKING))
    }

    pub(crate) fn store(&self, kind: ConnKind) {
        self.0.store(encode(kind), Relaxed);
    }

    pub(crate) fn load(&self) -> ConnKind {
        decode(self.0.load(Relaxed))
    }

    #[inline]
    pub(crate) fn stream_started(&self) {
        self.change(|word| (word & TUNNEL) | (word & STREAMS).saturating_add(1).min(STREAMS));
    }

    #[inline]
    pub(crate) fn stream_ended(&self) {
        self.change(|word| (word & !STREAMS) | (word & STREAMS).saturating_sub(1));
    }

    fn change(&self, step: impl Fn(u32) -> u32) {
        let mut word = self.0.load(Relaxed);
        while let Err(now) = self
            .0
            .compare_exchange_weak(word, step(word), Relaxed, Relaxed)
        {
            word = now;
        }
    }
}

fn encode(kind: ConnKind) -> u32 {
    match kind {
        ConnKind::Handshaking => HANDSHAKING,
        ConnKind::Idle => 0,
        ConnKind::InRequest { streams } => streams.min(STREAMS),
        ConnKind::Tunnel => TUNNEL,
    }
}

fn decode(word: u32) -> ConnKind {
    match (word & TUNNEL != 0, word & STREAMS) {
        (true, _) => ConnKind::Tunnel,
        (false, 0) if word & HANDSHAKING != 0 => ConnKind::Handshaking,
        (false, 0) => ConnKind::Idle,
        (false, streams) => ConnKind::InRequest { streams },
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_last_request_to_end_leaves_the_connection_idle() {
        let word = KindWord::new();
        assert_eq!(word.load(), ConnKind::Handshaking);
        word.stream_started();
        word.stream_started();
        assert_eq!(word.load(), ConnKind::InRequest { streams: 2 });
        word.stream_ended();
        word.stream_ended();
        assert_eq!(word.load(), ConnKind::Idle);
    }

    #[test]
    fn one_end_too_many_is_still_idle() {
        let word = KindWord::new();
        word.store(ConnKind::Idle);
        word.stream_ended();
        assert_eq!(word.load(), ConnKind::Idle);
    }

    #[test]
    fn a_request_that_becomes_a_tunnel_stays_one_when_the_request_ends() {
        let word = KindWord::new();
        word.stream_started();
        word.store(ConnKind::Tunnel);
        word.stream_ended();
        assert_eq!(word.load(), ConnKind::Tunnel);
    }

    #[test]
    fn a_request_count_of_zero_means_idle() {
        let word = KindWord::new();
        word.store(ConnKind::InRequest { streams: 0 });
        assert_eq!(word.load(), ConnKind::Idle);
    }
}
