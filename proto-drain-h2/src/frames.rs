//! The frames that a drain is about: the GOAWAY that we write, the PING that we answer.

/// What a client says first ([RFC 9113 section 3.4](https://www.rfc-editor.org/rfc/rfc9113#section-3.4)).
pub const CLIENT_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of a frame header ([RFC 9113 section 4.1](https://www.rfc-editor.org/rfc/rfc9113#section-4.1)).
pub(crate) const HEADER_LEN: usize = 9;
/// Bytes of a whole PING, and of a GOAWAY without debug data.
pub(crate) const SHORT_LEN: usize = HEADER_LEN + 8;
const PING: u8 = 0x6;
const GOAWAY: u8 = 0x7;
const WINDOW_UPDATE: u8 = 0x8;
const ACK: u8 = 0x1;
/// The stream id of the shutdown notice, [RFC 9113 section 6.8](https://www.rfc-editor.org/rfc/rfc9113#section-6.8).
const NOTICE_ID: u32 = 0x7fff_ffff;

/// GOAWAY(2^31-1, NO_ERROR).
pub(crate) const NOTICE: [u8; SHORT_LEN] = [
    0, 0, 8, GOAWAY, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0,
];

/// The acknowledgement of a PING, as a peer would send it.
pub(crate) fn ping_ack(payload: [u8; 8]) -> [u8; SHORT_LEN] {
    let mut frame = [0, 0, 8, PING, ACK, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    frame[HEADER_LEN..].copy_from_slice(&payload);
    frame
}

/// Up to one short frame.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Short {
    bytes: [u8; SHORT_LEN],
    len: u8,
}

impl Short {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let mut this = Self::default();
        this.extend(bytes);
        this
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Takes as many bytes as there is room for, up to `end` bytes in all; returns their number.
    fn fill(&mut self, bytes: &[u8], end: usize) -> usize {
        let have = usize::from(self.len);
        let n = bytes.len().min(end.min(SHORT_LEN).saturating_sub(have));
        self.bytes[have..have + n].copy_from_slice(&bytes[..n]);
        self.len += n as u8;
        n
    }

    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.fill(bytes, SHORT_LEN);
    }

    /// Removes `n` bytes at the front.
    pub(crate) fn advance(&mut self, n: usize) {
        self.bytes.copy_within(n.., 0);
        self.len -= n as u8;
    }
}

/// A frame of the codec that a drain is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goodbye {
    /// GOAWAY(2^31-1, NO_ERROR).
    Notice,
    /// Any other GOAWAY, with its stream id.
    Final(u32),
    /// A PING that is no acknowledgement.
    Ping([u8; 8]),
}

/// Which frames are looked at before they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Goaway,
    GoawayAndPing,
}

impl Wanted {
    /// Whether a frame that begins with these bytes is, or may be, one of them.
    pub(crate) fn may_be(self, bytes: &[u8]) -> bool {
        match bytes.get(3) {
            Some(&GOAWAY) => true,
            Some(&PING) => self == Self::GoawayAndPing,
            Some(_) => false,
            // The type is still to come. No other frame is split here by any codec.
            None => true,
        }
    }
}

/// What was collected of a frame, and how many bytes of `more` it took.
pub(crate) fn collect(held: &mut Short, more: &[u8]) -> usize {
    let mut taken = held.fill(more, HEADER_LEN);
    if let [a, b, c, _, _, _, _, _, _, ..] = *held.as_slice() {
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        taken += held.fill(&more[taken..], HEADER_LEN + length.min(8));
    }
    taken
}

/// Whether all bytes that [`read`] needs were collected.
pub(crate) fn is_collected(held: &Short) -> bool {
    match *held.as_slice() {
        [a, b, c, _, _, _, _, _, _, ref payload @ ..] => {
            payload.len() == (u32::from_be_bytes([0, a, b, c]) as usize).min(8)
        }
        _ => false,
    }
}

/// How many bytes of a frame of the peer have to be read before [`enlarged`] knows.
pub(crate) fn missing(next: &Short) -> usize {
    match *next.as_slice() {
        [0, 0, 4, WINDOW_UPDATE, _, _, _, _, _, ref payload @ ..] => 4 - payload.len(),
        [_, _, _, _, _, _, _, _, _, ..] => 0,
        ref header => HEADER_LEN - header.len(),
    }
}

/// The stream of the peer whose window it enlarges.
pub(crate) fn enlarged(next: &Short) -> Option<u32> {
    match *next.as_slice() {
        [0, 0, 4, WINDOW_UPDATE, _, a, b, c, d, ..] => {
            let id = u32::from_be_bytes([a, b, c, d]) & NOTICE_ID;
            (id % 2 == 1).then_some(id)
        }
        _ => None,
    }
}

/// What a collected frame is; `None` for one that nothing is done about.
pub(crate) fn read(held: &Short) -> Option<Goodbye> {
    let (header, payload) = held.as_slice().split_at_checked(HEADER_LEN)?;
    let [a, b, c, d, e @ ..] = *<&[u8; 8]>::try_from(payload).ok()?;
    match header[3] {
        GOAWAY => {
            let id = u32::from_be_bytes([a, b, c, d]) & NOTICE_ID;
            let notice = id == NOTICE_ID && e == [0; 4];
            Some(if notice {
                Goodbye::Notice
            } else {
                Goodbye::Final(id)
            })
        }
        PING if header[2] == 8 && header[4] & ACK == 0 => {
            let [f, g, h, i] = e;
            Some(Goodbye::Ping([a, b, c, d, f, g, h, i]))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What this frame is, collected in two parts of any sizes, with the next frame behind it.
    fn of(bytes: &[u8]) -> Option<Goodbye> {
        let len = bytes.len().min(SHORT_LEN);
        let frame = Short::new(bytes);
        for cut in 0..=bytes.len() {
            let mut held = Short::default();
            let mut taken = collect(&mut held, &bytes[..cut]);
            assert_eq!(taken, cut.min(len));
            assert_eq!(is_collected(&held), taken == len);
            taken += collect(&mut held, &[&bytes[taken..], &NOTICE].concat());
            assert_eq!(taken, len);
            assert!(is_collected(&held));
            assert_eq!(held.as_slice(), frame.as_slice());
        }
        read(&frame)
    }

    #[test]
    fn our_notice_reads_as_one() {
        assert_eq!(of(&NOTICE), Some(Goodbye::Notice));
        let mut reserved = NOTICE;
        reserved[9] = 0xff;
        assert_eq!(of(&reserved), Some(Goodbye::Notice));
    }

    #[test]
    fn a_goaway_with_a_lower_id_or_an_error_is_final_also_with_debug_data() {
        assert_eq!(
            of(&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0]),
            Some(Goodbye::Final(5))
        );
        let mut error = NOTICE;
        error[16] = 2;
        assert_eq!(of(&error), Some(Goodbye::Final(NOTICE_ID)));
        let long = [
            0, 0, 11, 7, 0, 0, 0, 0, 0, 0x80, 0, 0, 5, 0, 0, 0, 2, b'd', b'e', b'b',
        ];
        assert_eq!(of(&long), Some(Goodbye::Final(5)));
    }

    #[test]
    fn a_ping_is_a_question_of_eight_bytes() {
        let mut ping = ping_ack(*b"shutdown");
        assert_eq!(of(&ping), None);
        ping[4] = 0;
        assert_eq!(of(&ping), Some(Goodbye::Ping(*b"shutdown")));
        assert_eq!(of(&[0, 0, 2, 6, 0, 0, 0, 0, 0, 1, 2]), None);
        assert_eq!(of(&[0, 0, 2, 7, 0, 0, 0, 0, 0, 1, 2]), None);
    }

    #[test]
    fn a_window_update_of_a_peers_stream_is_known_when_it_is_whole() {
        let update = [0, 0, 4, 8, 0, 0x80, 0, 0, 5, 0, 1, 0, 0];
        for cut in 0..=update.len() {
            let next = Short::new(&update[..cut]);
            let end = if cut < HEADER_LEN {
                HEADER_LEN
            } else {
                update.len()
            };
            assert_eq!(missing(&next), end - cut);
        }
        assert_eq!(enlarged(&Short::new(&update)), Some(5));
        // The connection's, one of the server's streams, one of a wrong length, other frames.
        for (at, byte) in [(8, 0), (8, 6), (2, 5), (3, 3), (3, 0)] {
            let mut other = update;
            other[at] = byte;
            assert_eq!(enlarged(&Short::new(&other)), None);
        }
        assert_eq!(missing(&Short::new(&NOTICE[..HEADER_LEN])), 0);
    }

    #[test]
    fn only_the_type_tells_whether_a_frame_is_looked_at() {
        for cut in 0..4 {
            assert!(Wanted::Goaway.may_be(&NOTICE[..cut]));
        }
        assert!(Wanted::Goaway.may_be(&NOTICE));
        assert!(!Wanted::Goaway.may_be(&ping_ack([0; 8])));
        assert!(Wanted::GoawayAndPing.may_be(&ping_ack([0; 8])));
        assert!(!Wanted::GoawayAndPing.may_be(&[0, 0, 8, 0]));
    }
}
