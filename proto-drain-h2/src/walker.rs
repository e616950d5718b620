//! The frame walker: where one direction of an HTTP/2 connection stands between its frames, in any
//! chunking.
//!
//! It reads the 9-byte headers of [RFC 9113 section 4.1](https://www.rfc-editor.org/rfc/rfc9113#section-4.1) and skips
//! payloads without looking at them. It has 16 bytes, allocates nothing and never fails: the codec judges, not the walker.

use crate::frames::{CLIENT_PREFACE, HEADER_LEN};

const HEADERS: u8 = 0x1;
const PUSH_PROMISE: u8 = 0x5;
const PING: u8 = 0x6;
const GOAWAY: u8 = 0x7;
const CONTINUATION: u8 = 0x9;
const END_HEADERS: u8 = 0x4;

/// Follows the frames of one direction.
#[derive(Clone, Debug)]
pub(crate) struct FrameWalker {
    /// Bytes of the client preface still to come.
    preface_left: u8,
    /// Bytes of the current header that have been walked over.
    have: u8,
    /// The last frame left a header block open: nothing but its CONTINUATION may follow.
    in_block: bool,
    /// Anything was walked over.
    begun: bool,
    /// Length, type and flags of the current frame.
    head: [u8; 5],
    /// Payload bytes of the current frame still to come; meaningful once the header is complete.
    left: u32,
}

impl FrameWalker {
    /// The direction from the client: starts with the connection preface.
    pub(crate) const fn from_client() -> Self {
        Self::new(CLIENT_PREFACE.len() as u8)
    }

    /// The direction from the server: starts with a frame.
    pub(crate) const fn from_server() -> Self {
        Self::new(0)
    }

    const fn new(preface_left: u8) -> Self {
        Self {
            preface_left,
            have: 0,
            in_block: false,
            begun: false,
            head: [0; 5],
            left: 0,
        }
    }

    /// Bytes of the client preface that have been walked over.
    pub(crate) const fn preface_seen(&self) -> usize {
        CLIENT_PREFACE.len() - self.preface_left as usize
    }

    /// Whether any frame may come next: the next byte is the first of a frame, and not of a CONTINUATION, since nothing
    /// may stand inside a header block ([RFC 9113 section 6.10](https://www.rfc-editor.org/rfc/rfc9113#section-6.10)).
    /// False inside the client preface.
    pub(crate) const fn at_boundary(&self) -> bool {
        self.preface_left == 0 && self.have == 0 && !self.in_block
    }

    /// Whether a frame of ours may come next: [at a boundary](Self::at_boundary), and not before the first frame, which
    /// must be the codec's SETTINGS ([RFC 9113 section 3.4](https://www.rfc-editor.org/rfc/rfc9113#section-3.4)).
    pub(crate) const fn takes_ours(&self) -> bool {
        self.at_boundary() && self.begun
    }

    /// How many bytes are safe to walk over without passing a boundary: zero at one, otherwise at
    /// most the rest of the current header, payload or preface.
    pub(crate) const fn until_boundary(&self) -> usize {
        if self.preface_left > 0 {
            self.preface_left as usize
        } else if (self.have as usize) == HEADER_LEN {
            self.left as usize
        } else if self.have > 0 || self.in_block {
            HEADER_LEN - self.have as usize
        } else {
            0
        }
    }

    /// Walks to the end of the current frame (or of the preface) or of the chunk, whichever comes
    /// first; returns the bytes taken.
    pub(crate) fn walk(&mut self, chunk: &[u8]) -> usize {
        self.begun |= !chunk.is_empty();
        if self.preface_left > 0 {
            let taken = chunk.len().min(usize::from(self.preface_left));
            self.preface_left -= taken as u8;
            return taken;
        }
        let mut taken = 0;
        let have = usize::from(self.have);
        if have < HEADER_LEN {
            taken = chunk.len().min(HEADER_LEN - have);
            if let Some(open) = self.head.get_mut(have..) {
                let kept = open.len().min(taken);
                open[..kept].copy_from_slice(&chunk[..kept]);
            }
            self.have += taken as u8;
            if usize::from(self.have) < HEADER_LEN {
                return taken;
            }
            self.left = u32::from_be_bytes([0, self.head[0], self.head[1], self.head[2]]);
        }
        let skipped = (chunk.len() - taken).min(self.left as usize);
        self.left -= skipped as u32;
        if self.left == 0 {
            self.have = 0;
            if let Some(open) = opens_block(self.head[3], self.head[4]) {
                self.in_block = open;
            }
        }
        taken + skipped
    }

    /// Walks over a whole chunk.
    pub(crate) fn skip(&mut self, mut chunk: &[u8]) {
        while !chunk.is_empty() {
            let passed = self.pass(chunk);
            chunk = &chunk[passed..];
            let walked = self.walk(chunk);
            chunk = &chunk[walked..];
        }
    }

    /// Walks on to the first boundary before which `stop` says so of the bytes behind it, or to the
    /// end; returns the bytes taken. `stop` is not asked about frames other than PING and GOAWAY
    /// that are whole in this chunk.
    pub(crate) fn walk_until(&mut self, chunk: &[u8], stop: impl Fn(&[u8]) -> bool) -> usize {
        let mut at = 0;
        loop {
            at += self.pass(&chunk[at..]);
            if at == chunk.len() || (self.at_boundary() && stop(&chunk[at..])) {
                return at;
            }
            at += self.walk(&chunk[at..]);
        }
    }

    /// How many bytes at the front of `chunk` are whole frames of which nothing need be kept:
    /// nearly everything that a busy connection sends, so it is done without a note of where the
    /// walker stands.
    fn pass(&mut self, chunk: &[u8]) -> usize {
        let mut passed = 0;
        if !self.at_boundary() {
            return passed;
        }
        while let Some((&[a, b, c, kind, flags, ..], rest)) =
            chunk[passed..].split_first_chunk::<HEADER_LEN>()
        {
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            if length > rest.len()
                || matches!(kind, PING | GOAWAY)
                || opens_block(kind, flags) == Some(true)
            {
                break;
            }
            self.begun = true;
            passed += HEADER_LEN + length;
        }
        passed
    }
}

/// Whether a header block is open after this frame; `None` for frames that contain no part of one.
const fn opens_block(kind: u8, flags: u8) -> Option<bool> {
    match kind {
        HEADERS | PUSH_PROMISE | CONTINUATION => Some(flags & END_HEADERS == 0),
        _ => None,
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

    /// After how many bytes of these frames any frame may come next.
    fn boundaries(frames: &[(u8, u8, Vec<u8>)]) -> Vec<usize> {
        let mut at = 0;
        let mut in_block = false;
        let mut found = vec![0];
        for (kind, flags, payload) in frames {
            at += HEADER_LEN + payload.len();
            in_block = opens_block(*kind, *flags).unwrap_or(in_block);
            if !in_block {
                found.push(at);
            }
        }
        found
    }

    proptest! {
        #[test]
        fn any_chunking_sees_the_same_boundaries(
            frames in proptest::collection::vec((0u8..12, any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..12),
            chunks in proptest::collection::vec(1usize..30, 1..40),
        ) {
            let wire: Vec<u8> = frames.iter().flat_map(|(k, f, p)| frame(*k, *f, p)).collect();
            let expected = boundaries(&frames);
            // Never beyond a boundary when it is asked how far one may go.
            let mut careful = FrameWalker::from_server();
            let mut at = 0;
            for size in chunks.iter().cycle() {
                prop_assert_eq!(careful.at_boundary(), expected.contains(&at));
                if at == wire.len() { break; }
                let far = careful.until_boundary();
                prop_assert_eq!(far == 0, careful.at_boundary());
                let far = if far == 0 { HEADER_LEN } else { far };
                let end = wire.len().min(at + far.min(*size));
                prop_assert!(!expected.iter().any(|boundary| *boundary > at && *boundary < end));
                careful.skip(&wire[at..end]);
                at = end;
            }
            let mut split = FrameWalker::from_server();
            let mut rest = &wire[..];
            for size in chunks.iter().cycle() {
                prop_assert_eq!(split.at_boundary(), expected.contains(&(wire.len() - rest.len())));
                if rest.is_empty() { break; }
                let (chunk, tail) = rest.split_at((*size).min(rest.len()));
                rest = tail;
                split.skip(chunk);
            }
            let goaway = |bytes: &[u8]| bytes[3..4] == [GOAWAY];
            let stops = expected.iter().copied().find(|at| wire.get(*at + 3) == Some(&GOAWAY)).unwrap_or(wire.len());
            prop_assert_eq!(FrameWalker::from_server().walk_until(&wire, goaway), stops);
        }
    }

    #[test]
    fn the_preface_is_no_frame() {
        let mut walker = FrameWalker::from_client();
        walker.skip(&CLIENT_PREFACE[..10]);
        assert_eq!((walker.at_boundary(), walker.until_boundary()), (false, 14));
        walker.skip(&CLIENT_PREFACE[10..]);
        assert!(walker.at_boundary());
        walker.skip(&frame(4, 0, &[])[..5]);
        assert_eq!(walker.until_boundary(), 4);
    }

    #[test]
    fn nothing_of_ours_precedes_the_first_frame() {
        let mut walker = FrameWalker::from_server();
        assert!(walker.at_boundary() && !walker.takes_ours());
        walker.skip(&frame(4, 0, &[]));
        assert!(walker.takes_ours());
    }

    #[test]
    fn nothing_may_come_between_headers_and_their_continuation() {
        let mut walker = FrameWalker::from_server();
        walker.skip(&frame(1, 0x1, b"head"));
        assert_eq!(
            (walker.at_boundary(), walker.until_boundary()),
            (false, HEADER_LEN)
        );
        walker.skip(&frame(9, 0, b"er"));
        assert!(!walker.at_boundary());
        walker.skip(&frame(9, 0x4, b"s"));
        assert!(walker.at_boundary());
    }
}
