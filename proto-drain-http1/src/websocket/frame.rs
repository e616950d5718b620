//! Where WebSocket frames begin and end (RFC 6455 section 5.2), at any chunking; their payload is
//! not looked at.

/// Follows one direction of a WebSocket connection.
///
/// It does not validate: a peer that breaks the protocol is for the other peer to refuse.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FrameWalker {
    /// Bytes seen of the frame's head.
    head: u8,
    /// The first of them: whether the frame ends its message, and its opcode.
    first: u8,
    is_masked: bool,
    /// The 7-bit length until the extended one is read, then the payload that is still to come.
    left: u64,
    /// How many bytes of extended length there are.
    extended: u8,
    closed: bool,
    /// A message has begun that has not ended; control frames stand between its fragments.
    in_message: bool,
}

/// The opcode of a Close frame (section 5.5.1), and the first of the control frames'.
const CLOSE: u8 = 0x8;

impl FrameWalker {
    /// Follows these bytes: how many messages end in them.
    pub(crate) fn walk(&mut self, mut bytes: &[u8]) -> usize {
        let mut messages = 0;
        while let Some((first, rest)) = bytes.split_first() {
            if self.in_head() {
                self.take_head(*first);
                bytes = rest;
            } else {
                let now = bytes
                    .len()
                    .min(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.left -= now as u64;
                bytes = bytes.get(now..).unwrap_or_default();
            }
            if !self.in_head() && self.left == 0 {
                let ends_message = self.is_data() && self.first & 0x80 != 0;
                messages += usize::from(ends_message);
                *self = Self {
                    closed: self.closed || self.opcode() == CLOSE,
                    in_message: self.in_message && !ends_message,
                    ..Self::default()
                };
            }
        }
        messages
    }

    /// Whether the next byte begins a frame.
    pub(crate) const fn at_boundary(&self) -> bool {
        self.head == 0
    }

    /// Whether a whole Close frame has passed.
    pub(crate) const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether a message has begun that has not ended.
    pub(crate) const fn in_message(&self) -> bool {
        self.in_message
    }

    /// How many bytes certainly lie before the next boundary; none only at one.
    pub(crate) fn until_boundary(&self) -> usize {
        match self.head {
            0 => 0,
            _ if self.in_head() => usize::from(self.head_length() - self.head),
            _ => usize::try_from(self.left).unwrap_or(usize::MAX),
        }
    }

    const fn opcode(&self) -> u8 {
        self.first & 0x0f
    }

    /// Text, binary, or a further fragment of either.
    const fn is_data(&self) -> bool {
        self.opcode() < CLOSE
    }

    const fn head_length(&self) -> u8 {
        2 + self.extended + if self.is_masked { 4 } else { 0 }
    }

    const fn in_head(&self) -> bool {
        self.head < 2 || self.head < self.head_length()
    }

    fn take_head(&mut self, byte: u8) {
        match self.head {
            0 => {
                self.first = byte;
                self.in_message |= self.is_data();
            }
            1 => {
                self.is_masked = byte & 0x80 != 0;
                (self.extended, self.left) = match byte & 0x7f {
                    126 => (2, 0),
                    127 => (8, 0),
                    length => (0, u64::from(length)),
                };
            }
            at if at < 2 + self.extended => self.left = (self.left << 8) | u64::from(byte),
            // The masking key.
            _ => {}
        }
        self.head += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A frame as section 5.2 has it, with the shortest length that fits unless a longer one is
    /// asked for.
    fn frame(opcode: u8, masked: bool, length: usize, extended: u8) -> Vec<u8> {
        let mut frame = vec![0x80 | opcode];
        let mask = if masked { 0x80 } else { 0 };
        match extended {
            8 => {
                frame.push(mask | 127);
                frame.extend_from_slice(&(length as u64).to_be_bytes());
            }
            2 => {
                frame.push(mask | 126);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
            _ => frame.push(mask | length as u8),
        }
        if masked {
            frame.extend_from_slice(&[0x88, 0x7f, 0x88, 0x7e]);
        }
        // A payload that looks like heads of Close frames.
        frame.extend((0..length).map(|at| if at % 2 == 0 { 0x88 } else { 0x02 }));
        frame
    }

    fn frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let one = (0_u8..16, any::<bool>(), 0_usize..400, 0_usize..3).prop_map(
            |(opcode, masked, length, form)| {
                let (length, extended) = match form {
                    0 => (length % 126, 0),
                    1 => (length, 2),
                    _ => (length, 8),
                };
                frame(opcode, masked, length, extended)
            },
        );
        prop::collection::vec(one, 0..6)
    }

    proptest! {
        #[test]
        fn boundaries_are_found_whatever_the_chunking(frames in frames(), cuts in prop::collection::vec(1_usize..50, 1..40)) {
            let bytes = frames.concat();
            let mut ends = vec![0];
            for frame in &frames {
                ends.push(ends.last().unwrap() + frame.len());
            }
            let (mut walker, mut at, mut messages) = (FrameWalker::default(), 0, 0);
            for cut in cuts.iter().cycle() {
                prop_assert_eq!(walker.at_boundary(), ends.contains(&at), "at {} of {:?}", at, ends);
                let next = ends.iter().find(|end| **end >= at).unwrap();
                let certain = walker.until_boundary();
                prop_assert!(certain <= next - at, "{} beyond the boundary in {}", certain, next - at);
                prop_assert!(certain > 0 || walker.at_boundary());
                let passed = frames.iter().zip(&ends[1..]).any(|(frame, end)| *end <= at && frame[0] & 0x0f == CLOSE);
                prop_assert_eq!(walker.is_closed(), passed);
                let is_data = |frame: &Vec<u8>| frame[0] & 0x0f < CLOSE;
                let ended = frames.iter().zip(&ends[1..]).filter(|(frame, end)| **end <= at && is_data(frame));
                prop_assert_eq!(messages, ended.count());
                let inside = frames.iter().zip(ends.windows(2)).any(|(frame, ends)| ends[0] < at && at < ends[1] && is_data(frame));
                prop_assert_eq!(walker.in_message(), inside);
                if at == bytes.len() {
                    break;
                }
                let end = bytes.len().min(at + cut);
                messages += walker.walk(&bytes[at..end]);
                at = end;
            }
        }
    }

    #[test]
    fn a_message_ends_with_its_last_fragment_whatever_stands_between() {
        let mut walker = FrameWalker::default();
        // Its first fragment, a ping, the second, the last.
        for (head, ended) in [(0x01, 0), (0x89, 0), (0x00, 0), (0x80, 1)] {
            assert_eq!(walker.walk(&[head, 2, 0x81, 0x00]), ended, "{head:x}");
            assert_eq!(walker.in_message(), ended == 0, "{head:x}");
        }
    }

    #[test]
    fn inside_a_head_its_rest_is_certain() {
        for (masked, extended) in [
            (false, 0),
            (false, 2),
            (false, 8),
            (true, 0),
            (true, 2),
            (true, 8),
        ] {
            let frame = frame(0x2, masked, 0, extended);
            for at in 1..frame.len() {
                let mut walker = FrameWalker::default();
                walker.walk(&frame[..at]);
                // The second byte says how long the head is.
                let certain = if at == 1 { 1 } else { frame.len() - at };
                assert_eq!(walker.until_boundary(), certain, "{at} of {frame:x?}");
            }
        }
    }

    #[test]
    fn a_frame_longer_than_any_memory_is_followed() {
        let mut walker = FrameWalker::default();
        walker.walk(&[0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        walker.walk(&[0; 1000]);
        assert!(!walker.at_boundary() && walker.until_boundary() > 1 << 30);
    }
}
