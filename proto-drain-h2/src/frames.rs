//! The frame walker: where one direction of an HTTP/2 connection stands between its frames, in any chunking.
//!
//! It reads the 9-byte headers of [RFC 9113 section 4.1](https://www.rfc-editor.org/rfc/rfc9113#section-4.1), skips
//! payloads without looking at them, and keeps the first eight payload bytes of the two frames that a drain is about:
//! PING and GOAWAY. It holds 26 bytes, allocates nothing and never fails: it is a witness, not a judge.

/// What a client says first ([RFC 9113 section 3.4](https://www.rfc-editor.org/rfc/rfc9113#section-3.4)).
pub const CLIENT_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of a frame header.
pub(crate) const HEADER_LEN: usize = 9;
/// Bytes of a whole PING frame.
pub(crate) const PING_LEN: usize = HEADER_LEN + 8;
const HEADERS: u8 = 0x1;
const PUSH_PROMISE: u8 = 0x5;
const PING: u8 = 0x6;
const GOAWAY: u8 = 0x7;
const CONTINUATION: u8 = 0x9;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// A frame whose last byte has been walked over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Frame {
    /// A PING, its acknowledgement or the question.
    Ping {
        /// Whether the ACK flag is set.
        ack: bool,
        /// The eight bytes that the acknowledgement must repeat.
        payload: [u8; 8],
    },
    /// A GOAWAY.
    GoAway {
        /// The highest stream that was or may be processed; `0x7fff_ffff` is the shutdown notice.
        last_stream_id: u32,
        /// The error code; 0 is `NO_ERROR`.
        error_code: u32,
    },
    /// Any other frame, or one of the two above with an impossible length.
    Other {
        /// The frame type as on the wire.
        kind: u8,
    },
}

/// How far one [`FrameWalker::walk`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Walked {
    /// Bytes taken from the chunk; zero only for an empty chunk.
    pub taken: usize,
    /// The frame that ended with the last of these bytes, if one did.
    pub frame: Option<Frame>,
}

/// Follows the frames of one direction.
///
/// # Examples
///
/// ```
/// use proto_drain_h2::{Frame, FrameWalker};
///
/// let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0];
/// let mut walker = FrameWalker::from_server();
/// assert_eq!(walker.walk(&goaway[..3]).frame, None);
/// assert!(!walker.at_boundary());
/// let walked = walker.walk(&goaway[3..]);
/// assert!(matches!(walked.frame, Some(Frame::GoAway { last_stream_id: 0x7fff_ffff, .. })));
/// assert!(walker.at_boundary());
/// ```
#[derive(Clone, Debug)]
pub struct FrameWalker {
    /// Bytes of the client preface still to come.
    preface_left: u8,
    /// Bytes of `buf` that are filled: the header, then up to eight bytes of a PING's or GOAWAY's payload.
    have: u8,
    /// The last frame left a header block open: nothing but its CONTINUATION may follow.
    in_block: bool,
    buf: [u8; PING_LEN],
    /// Payload bytes of the current frame still to come; meaningful once the header is complete.
    left: u32,
}

impl FrameWalker {
    /// The direction from the client: starts with the connection preface.
    #[must_use]
    pub const fn from_client() -> Self {
        Self {
            preface_left: CLIENT_PREFACE.len() as u8,
            have: 0,
            in_block: false,
            buf: [0; PING_LEN],
            left: 0,
        }
    }

    /// The direction from the server: starts with a frame.
    #[must_use]
    pub const fn from_server() -> Self {
        Self {
            preface_left: 0,
            have: 0,
            in_block: false,
            buf: [0; PING_LEN],
            left: 0,
        }
    }

    /// Whether any frame may come next: the next byte is the first of a frame, and not of a CONTINUATION, since nothing
    /// may stand inside a header block ([RFC 9113 section 6.10](https://www.rfc-editor.org/rfc/rfc9113#section-6.10)).
    /// False inside the client preface.
    #[must_use]
    pub const fn at_boundary(&self) -> bool {
        self.preface_left == 0 && self.have == 0 && !self.in_block
    }

    /// Walks to the end of the current frame (or of the preface) or of the chunk, whichever comes first.
    pub fn walk(&mut self, chunk: &[u8]) -> Walked {
        if self.preface_left > 0 {
            let taken = chunk.len().min(usize::from(self.preface_left));
            self.preface_left -= taken as u8;
            return Walked { taken, frame: None };
        }
        let mut taken = 0;
        if usize::from(self.have) < HEADER_LEN {
            taken = self.keep(chunk, HEADER_LEN);
            if usize::from(self.have) < HEADER_LEN {
                return Walked { taken, frame: None };
            }
            self.left = u32::from_be_bytes([0, self.buf[0], self.buf[1], self.buf[2]]);
        }
        if self.left > 0 && matches!(self.buf[3], PING | GOAWAY) && usize::from(self.have) < PING_LEN {
            let wanted = PING_LEN.min(usize::from(self.have) + self.left as usize);
            let kept = self.keep(&chunk[taken..], wanted);
            self.left -= kept as u32;
            taken += kept;
        }
        let skipped = (chunk.len() - taken).min(self.left as usize);
        self.left -= skipped as u32;
        taken += skipped;
        let frame = (self.left == 0).then(|| self.finish());
        Walked { taken, frame }
    }

    /// Walks over a whole chunk when nobody asks what is in it.
    pub fn skip(&mut self, mut chunk: &[u8]) {
        while !chunk.is_empty() {
            chunk = &chunk[self.pass(chunk)..];
            let walked = self.walk(chunk);
            chunk = &chunk[walked.taken..];
        }
    }

    /// How many bytes at the front of `chunk` are whole frames of which nothing need be kept: nearly everything that a busy
    /// connection carries, so it is done without a note of where the walker stands.
    pub(crate) fn pass(&self, chunk: &[u8]) -> usize {
        let mut passed = 0;
        if !self.at_boundary() {
            return passed;
        }
        while let Some((&[a, b, c, kind, flags, ..], rest)) =
            chunk[passed..].split_first_chunk::<HEADER_LEN>()
        {
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            if length > rest.len() || matches!(kind, PING | GOAWAY) || opens_block(kind, flags) == Some(true)
            {
                break;
            }
            passed += HEADER_LEN + length;
        }
        passed
    }

    /// Fills `buf` up to `end` from the front of `chunk`; returns the bytes taken.
    fn keep(&mut self, chunk: &[u8], end: usize) -> usize {
        let have = usize::from(self.have);
        let n = chunk.len().min(end - have);
        self.buf[have..have + n].copy_from_slice(&chunk[..n]);
        self.have += n as u8;
        n
    }

    fn finish(&mut self) -> Frame {
        let whole = usize::from(self.have) == PING_LEN;
        let length = u32::from_be_bytes([0, self.buf[0], self.buf[1], self.buf[2]]);
        let mut payload = [0; 8];
        payload.copy_from_slice(&self.buf[HEADER_LEN..]);
        self.have = 0;
        if let Some(open) = opens_block(self.buf[3], self.buf[4]) {
            self.in_block = open;
        }
        match self.buf[3] {
            PING if whole && length == 8 => Frame::Ping {
                ack: self.buf[4] & ACK != 0,
                payload,
            },
            GOAWAY if whole => {
                let [a, b, c, d, e, f, g, h] = payload;
                Frame::GoAway {
                    last_stream_id: u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff,
                    error_code: u32::from_be_bytes([e, f, g, h]),
                }
            }
            kind => Frame::Other { kind },
        }
    }
}

/// Whether a header block is open after this frame; `None` for frames that carry no part of one.
const fn opens_block(kind: u8, flags: u8) -> Option<bool> {
    match kind {
        HEADERS | PUSH_PROMISE | CONTINUATION => Some(flags & END_HEADERS == 0),
        _ => None,
    }
}

/// The acknowledgement of a PING, as a peer would send it.
pub(crate) fn ping_ack(payload: [u8; 8]) -> [u8; PING_LEN] {
    let mut frame = [0, 0, 8, PING, ACK, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    frame[HEADER_LEN..].copy_from_slice(&payload);
    frame
}

/// How the bytes at a frame boundary compare with the acknowledgement of a PING.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AckMatch {
    /// Something else begins here.
    No,
    /// So far it could be the acknowledgement; more bytes will tell.
    Partial,
    /// The first 17 bytes are the acknowledgement.
    Full,
}

/// Compares, ignoring what a receiver must ignore: undefined flags and the reserved bit of the stream id.
pub(crate) fn match_ack(bytes: &[u8], payload: [u8; 8]) -> AckMatch {
    let expected = ping_ack(payload);
    for (at, (&byte, &want)) in bytes.iter().zip(&expected).enumerate() {
        let same = match at {
            4 => byte & ACK != 0,
            5 => byte & 0x7f == 0,
            _ => byte == want,
        };
        if !same {
            return AckMatch::No;
        }
    }
    if bytes.len() >= PING_LEN {
        AckMatch::Full
    } else {
        AckMatch::Partial
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags, 0, 0, 0, 0]);
        bytes.extend(payload);
        bytes
    }

    proptest! {
        #[test]
        fn any_chunking_sees_the_same_frames(
            frames in proptest::collection::vec((0u8..12, any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..12),
            chunks in proptest::collection::vec(1usize..30, 1..40),
        ) {
            let wire: Vec<u8> = frames.iter().flat_map(|(k, f, p)| frame(*k, *f, p)).collect();
            let mut whole = FrameWalker::from_server();
            let mut at = 0;
            let mut expected = Vec::new();
            while at < wire.len() {
                let walked = whole.walk(&wire[at..]);
                at += walked.taken;
                expected.extend(walked.frame);
            }
            prop_assert_eq!(expected.len(), frames.len());
            let mut split = FrameWalker::from_server();
            let mut seen = Vec::new();
            let mut rest = &wire[..];
            for size in chunks.iter().cycle() {
                if rest.is_empty() { break; }
                let (chunk, tail) = rest.split_at((*size).min(rest.len()));
                rest = tail;
                let mut chunk = chunk;
                while !chunk.is_empty() {
                    let walked = split.walk(chunk);
                    prop_assert!(walked.taken > 0);
                    chunk = &chunk[walked.taken..];
                    seen.extend(walked.frame);
                }
            }
            prop_assert_eq!(seen, expected);
            let block = frames.iter().rev().find_map(|(kind, flags, _)| opens_block(*kind, *flags));
            prop_assert_eq!(split.at_boundary(), block != Some(true));
            prop_assert_eq!(whole.at_boundary(), split.at_boundary());
            let mut skipped = FrameWalker::from_server();
            skipped.skip(&wire);
            prop_assert_eq!(skipped.at_boundary(), split.at_boundary());
        }
    }

    #[test]
    fn the_preface_is_no_frame() {
        let mut walker = FrameWalker::from_client();
        walker.skip(&CLIENT_PREFACE[..10]);
        assert!(!walker.at_boundary());
        walker.skip(&CLIENT_PREFACE[10..]);
        assert!(walker.at_boundary());
        assert_eq!(
            walker.walk(&frame(4, 0, &[])).frame,
            Some(Frame::Other { kind: 4 })
        );
    }

    #[test]
    fn nothing_may_come_between_headers_and_their_continuation() {
        let mut walker = FrameWalker::from_server();
        walker.skip(&frame(1, 0x1, b"head"));
        assert!(!walker.at_boundary());
        walker.skip(&frame(9, 0, b"er"));
        assert!(!walker.at_boundary());
        walker.skip(&frame(9, 0x4, b"s"));
        assert!(walker.at_boundary());
    }

    #[test]
    fn a_goaway_with_debug_data_ends_behind_the_data() {
        let mut walker = FrameWalker::from_server();
        let bytes = frame(7, 0, &[0x80, 0, 0, 5, 0, 0, 0, 2, b'd', b'e', b'b']);
        assert_eq!(walker.walk(&bytes[..17]).frame, None);
        assert_eq!(
            walker.walk(&bytes[17..]).frame,
            Some(Frame::GoAway {
                last_stream_id: 5,
                error_code: 2
            })
        );
    }

    #[test]
    fn only_the_same_payload_on_stream_zero_with_ack_matches() {
        let ack = ping_ack(*b"shutdown");
        assert_eq!(match_ack(&ack, *b"shutdown"), AckMatch::Full);
        assert_eq!(match_ack(&ack, *b"shutdowm"), AckMatch::No);
        for end in 0..PING_LEN {
            assert_eq!(match_ack(&ack[..end], *b"shutdown"), AckMatch::Partial);
        }
        let mut question = ack;
        question[4] = 0;
        assert_eq!(match_ack(&question, *b"shutdown"), AckMatch::No);
        let mut odd_but_legal = ack;
        odd_but_legal[4] = 0xff;
        odd_but_legal[5] = 0x80;
        assert_eq!(match_ack(&odd_but_legal, *b"shutdown"), AckMatch::Full);
    }
}
