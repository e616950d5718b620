//! The read filter: takes the peer's acknowledgement of one PING out of the bytes and puts ours in when it is time.
//!
//! Pure: chunks go in, chunks come out in place, and at most 17 bytes are held back, only while they could still be
//! that acknowledgement. While nothing is watched for, bytes are only walked over.

use crate::frames::{AckMatch, FrameWalker, PING_LEN, match_ack, ping_ack};

/// What the filter does with acknowledgements at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watch {
    /// No PING to watch for: nothing drains, or it is all over.
    Off,
    /// The notice is out; every acknowledgement of its PING is taken out, `swallowed` says whether one came.
    Gap { payload: [u8; 8], swallowed: bool },
    /// The codec has its acknowledgement; the peer's own, still to come, is taken out, once.
    Late { payload: [u8; 8] },
}

/// See the module's first line.
#[derive(Debug)]
pub(crate) struct ReadFilter {
    /// Where the codec stands, in what it was given.
    walker: FrameWalker,
    /// Apart, since most connections of most servers are not going away: 32 bytes a connection instead of 72.
    going: Option<Box<Going>>,
}

/// What a connection in its goodbye needs.
#[derive(Debug)]
struct Going {
    watch: Watch,
    /// The beginning of what may be the acknowledgement, not given to the codec.
    held: Small,
    /// Bytes that the codec gets before anything else.
    ready: Small,
}

/// Up to one PING frame.
#[derive(Clone, Copy, Debug)]
struct Small {
    bytes: [u8; PING_LEN],
    len: u8,
}

impl Small {
    const EMPTY: Self = Self {
        bytes: [0; PING_LEN],
        len: 0,
    };

    fn set(&mut self, bytes: &[u8]) {
        self.bytes[..bytes.len()].copy_from_slice(bytes);
        self.len = bytes.len() as u8;
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl ReadFilter {
    pub(crate) const fn new() -> Self {
        Self {
            walker: FrameWalker::from_client(),
            going: None,
        }
    }

    /// From now on acknowledgements of this PING are the filter's.
    pub(crate) fn watch(&mut self, payload: [u8; 8]) {
        self.going = Some(Box::new(Going {
            watch: Watch::Gap {
                payload,
                swallowed: false,
            },
            held: Small::EMPTY,
            ready: Small::EMPTY,
        }));
    }

    /// Whether bytes are only walked over.
    pub(crate) fn is_off(&self) -> bool {
        self.going.as_deref().is_none_or(Going::is_over)
    }

    /// Walks over bytes that go to the codec as they are; for a filter that [is off](Self::is_off).
    pub(crate) fn skip(&mut self, chunk: &[u8]) {
        self.walker.skip(chunk);
    }

    /// Whether the codec still waits for its acknowledgement.
    #[cfg(test)]
    pub(crate) fn in_gap(&self) -> bool {
        let going = self.going.as_deref();
        going.is_some_and(|going| matches!(going.watch, Watch::Gap { .. }))
    }

    /// How many bytes would complete what is withheld; while it is not zero [`Self::complete`] must be used to read on.
    pub(crate) fn missing(&self) -> usize {
        match self.going.as_deref() {
            Some(going) if going.held.len > 0 => PING_LEN - usize::from(going.held.len),
            _ => 0,
        }
    }

    /// Whether the codec has seen whole frames only.
    pub(crate) fn at_boundary(&self) -> bool {
        self.walker.at_boundary() && self.going.as_deref().is_none_or(|going| going.ready.len == 0)
    }

    /// The acknowledgement that the codec waits for becomes the next thing it reads. Says no inside a frame.
    pub(crate) fn inject(&mut self) -> bool {
        if !self.at_boundary() {
            return false;
        }
        let Some(going) = self.going.as_deref_mut() else {
            return false;
        };
        let Watch::Gap { payload, swallowed } = going.watch else {
            return false;
        };
        going.ready.set(&ping_ack(payload));
        going.watch = if swallowed {
            Watch::Off
        } else {
            Watch::Late { payload }
        };
        true
    }

    /// Takes what the codec gets first, at most `room` bytes of it.
    pub(crate) fn take_ready(&mut self, room: usize, out: impl FnOnce(&[u8])) -> bool {
        let Some(going) = self.going.as_deref_mut().filter(|going| going.ready.len > 0) else {
            return false;
        };
        let n = room.min(usize::from(going.ready.len));
        out(&going.ready.bytes[..n]);
        going.ready.bytes.copy_within(n.., 0);
        going.ready.len -= n as u8;
        true
    }

    /// Filters a chunk in place; the codec gets its first `returned` bytes.
    pub(crate) fn filter(&mut self, chunk: &mut [u8]) -> usize {
        let (mut read, mut write) = (0, 0);
        while read < chunk.len() {
            let Some((going, payload)) = self.going.as_deref_mut().and_then(Going::watching) else {
                self.walker.skip(&chunk[read..]);
                let rest = chunk.len() - read;
                if write != read {
                    chunk.copy_within(read.., write);
                }
                return write + rest;
            };
            if self.walker.at_boundary() {
                match match_ack(&chunk[read..], payload) {
                    AckMatch::Full => {
                        going.swallow();
                        read += PING_LEN;
                        continue;
                    }
                    AckMatch::Partial => {
                        going.held.set(&chunk[read..]);
                        return write;
                    }
                    AckMatch::No => {}
                }
            }
            let taken = self.walker.walk(&chunk[read..]).taken;
            if write != read {
                chunk.copy_within(read..read + taken, write);
            }
            read += taken;
            write += taken;
        }
        write
    }

    /// Adds `more` (at most [`Self::missing`] bytes) to what is held back and judges again.
    pub(crate) fn complete(&mut self, more: &[u8]) {
        let Some(going) = self.going.as_deref_mut() else {
            return;
        };
        let held = usize::from(going.held.len);
        let mut bytes = going.held.bytes;
        bytes[held..held + more.len()].copy_from_slice(more);
        going.held = Small::EMPTY;
        let chunk = &mut bytes[..held + more.len()];
        let given = self.filter(chunk);
        if let Some(going) = self.going.as_deref_mut() {
            going.ready.set(&chunk[..given]);
        }
    }

    /// The peer will send no more: what was held back is not an acknowledgement, and goes to the codec.
    pub(crate) fn release(&mut self) {
        if let Some(going) = self.going.as_deref_mut().filter(|going| going.held.len > 0) {
            self.walker.skip(going.held.as_slice());
            going.ready = going.held;
            going.held = Small::EMPTY;
        }
    }
}

impl Going {
    fn is_over(&self) -> bool {
        self.watch == Watch::Off && self.ready.len == 0 && self.held.len == 0
    }

    fn watching(&mut self) -> Option<(&mut Self, [u8; 8])> {
        match self.watch {
            Watch::Off => None,
            Watch::Gap { payload, .. } | Watch::Late { payload } => Some((self, payload)),
        }
    }

    fn swallow(&mut self) {
        self.watch = match self.watch {
            Watch::Gap { payload, .. } => Watch::Gap {
                payload,
                swallowed: true,
            },
            Watch::Off | Watch::Late { .. } => Watch::Off,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::CLIENT_PREFACE;
    use proptest::prelude::*;

    const PAYLOAD: [u8; 8] = *b"shutdown";

    /// Plays `wire` in chunks; `inject_after` says after how many bytes of the wire our acknowledgement is due.
    fn play(wire: &[u8], chunks: &[usize], watch_at: usize, inject_after: usize) -> Vec<u8> {
        let mut filter = ReadFilter::new();
        let (mut out, mut at, mut injected) = (Vec::new(), 0, false);
        for size in chunks.iter().cycle() {
            while filter.take_ready(3, |bytes| out.extend_from_slice(bytes)) {}
            if at >= watch_at && !injected && !filter.in_gap() {
                filter.watch(PAYLOAD);
            }
            if at >= inject_after && !injected && filter.inject() {
                injected = true;
                continue;
            }
            if at == wire.len() {
                break;
            }
            // The PING is written, and acknowledged, between two chunks.
            let end = if at < watch_at {
                wire.len().min(watch_at)
            } else {
                wire.len()
            };
            if filter.missing() > 0 {
                let n = filter.missing().min(*size).min(end - at);
                filter.complete(&wire[at..at + n]);
                at += n;
            } else {
                let n = (*size).min(end - at);
                let mut chunk = wire[at..at + n].to_vec();
                at += n;
                let given = filter.filter(&mut chunk);
                out.extend_from_slice(&chunk[..given]);
            }
        }
        filter.release();
        while filter.take_ready(3, |bytes| out.extend_from_slice(bytes)) {}
        out
    }

    fn wire(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut wire = CLIENT_PREFACE.to_vec();
        wire.extend(frames.concat());
        wire
    }

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags, 0, 0, 0, 0]);
        bytes.extend(payload);
        bytes
    }

    fn any_frame() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            Just(ping_ack(PAYLOAD).to_vec()),
            Just(ping_ack(*b"another!").to_vec()),
            Just(frame(6, 0, &PAYLOAD)),
            (
                0u8..12,
                any::<u8>(),
                proptest::collection::vec(any::<u8>(), 0..30)
            )
                .prop_map(|(kind, flags, payload)| frame(
                    kind,
                    // Header blocks in one piece ...
                    if matches!(kind, 1 | 5 | 9) {
                        flags | 4
                    } else {
                        flags
                    },
                    &payload
                )),
            // ... and in several, which nothing may come between.
            proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 2..4).prop_map(
                |pieces| {
                    let last = pieces.len() - 1;
                    let piece = |(at, piece): (usize, &Vec<u8>)| {
                        frame(if at == 0 { 1 } else { 9 }, if at == last { 4 } else { 0 }, piece)
                    };
                    pieces.iter().enumerate().flat_map(piece).collect()
                }
            ),
        ]
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_chunking_pass_unchanged_when_nothing_drains(
            wire in proptest::collection::vec(any::<u8>(), 0..300),
            chunks in proptest::collection::vec(1usize..40, 1..20),
        ) {
            prop_assert_eq!(play(&wire, &chunks, usize::MAX, usize::MAX), wire);
        }

        #[test]
        fn in_the_gap_only_acknowledgements_of_that_ping_are_missing(
            frames in proptest::collection::vec(any_frame(), 0..10),
            chunks in proptest::collection::vec(1usize..40, 1..20),
        ) {
            let kept: Vec<_> = frames.iter().filter(|f| match_ack(f, PAYLOAD) != AckMatch::Full).cloned().collect();
            prop_assert_eq!(play(&wire(&frames), &chunks, 24, usize::MAX), wire(&kept));
        }

        #[test]
        fn the_codec_gets_one_acknowledgement_at_a_boundary(
            before in proptest::collection::vec(any_frame(), 0..6),
            after in proptest::collection::vec(any_frame(), 0..6),
            chunks in proptest::collection::vec(1usize..40, 1..20),
        ) {
            let split = wire(&before).len();
            let mut all = before.clone();
            all.extend(after.clone());
            let out = play(&wire(&all), &chunks, 24, split);
            let is_ack = |f: &Vec<u8>| match_ack(f, PAYLOAD) == AckMatch::Full;
            let acks = all.iter().filter(|f| is_ack(f)).count();
            // The output parses into the same frames with exactly one acknowledgement until the peer's own was swallowed.
            let mut walker = FrameWalker::from_client();
            let (mut at, mut frames) = (24, Vec::new());
            walker.skip(&out[..24]);
            while at < out.len() {
                let walked = walker.walk(&out[at..]);
                frames.push(out[at..at + walked.taken].to_vec());
                at += walked.taken;
            }
            prop_assert!(walker.at_boundary());
            let others: Vec<_> = all.iter().filter(|f| !is_ack(f)).cloned().collect();
            let out_others: Vec<_> = frames.iter().filter(|f| !is_ack(f)).cloned().collect();
            prop_assert_eq!(out_others.concat(), others.concat());
            let seen = frames.iter().filter(|f| is_ack(f)).count();
            prop_assert!(seen >= 1 && seen <= acks.max(1), "{} of {}", seen, acks);
        }
    }

    #[test]
    fn an_acknowledgement_split_at_every_byte_is_swallowed_whole() {
        let tail = frame(4, 1, &[]);
        let bytes = wire(&[frame(4, 0, &[]), ping_ack(PAYLOAD).to_vec(), tail.clone()]);
        for cut in 24..bytes.len() {
            let chunks = [cut, bytes.len() - cut];
            let mut filter = ReadFilter::new();
            let mut out = Vec::new();
            let mut at = 0;
            for size in chunks {
                let end = at + size;
                while at < end {
                    while filter.take_ready(1, |b| out.extend_from_slice(b)) {}
                    if at >= 24 && !filter.in_gap() {
                        filter.watch(PAYLOAD);
                    }
                    if filter.missing() > 0 {
                        let n = filter.missing().min(end - at);
                        filter.complete(&bytes[at..at + n]);
                        at += n;
                    } else {
                        // The preface alone first, so that the watch begins at its end.
                        let n = if at < 24 { 24 } else { end - at };
                        let mut chunk = bytes[at..at + n].to_vec();
                        at += n;
                        let given = filter.filter(&mut chunk);
                        out.extend_from_slice(&chunk[..given]);
                    }
                }
            }
            while filter.take_ready(1, |b| out.extend_from_slice(b)) {}
            assert_eq!(out, wire(&[frame(4, 0, &[]), tail.clone()]), "cut at {cut}");
        }
    }

    #[test]
    fn a_second_acknowledgement_in_the_gap_is_swallowed_too_and_later_ones_pass() {
        let mut filter = ReadFilter::new();
        filter.filter(&mut CLIENT_PREFACE.to_vec());
        filter.watch(PAYLOAD);
        let mut twice = [ping_ack(PAYLOAD), ping_ack(PAYLOAD)].concat();
        assert_eq!(filter.filter(&mut twice), 0);
        assert!(filter.inject());
        while filter.take_ready(9, |_| {}) {}
        assert_eq!(filter.filter(&mut ping_ack(PAYLOAD)), 17);
    }

    #[test]
    fn nothing_is_injected_inside_a_frame() {
        let mut filter = ReadFilter::new();
        filter.filter(&mut CLIENT_PREFACE.to_vec());
        filter.watch(PAYLOAD);
        let mut data = frame(0, 0, &[7; 20]);
        let mut tail = data.split_off(15);
        assert_eq!(filter.filter(&mut data), 15);
        assert!(!filter.inject());
        filter.filter(&mut tail);
        assert!(filter.inject());
    }
}
