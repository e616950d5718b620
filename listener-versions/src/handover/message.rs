//! What two processes say to each other, and how it is written: pure, bounded in every length.
//!
//! ```text
//!  0      4         6      7      8          12
//!  | LVHO | version | kind | fds  | length   | body .. |      numbers are big-endian
//! ```

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use super::HandoverError;
use crate::ListenAddress;

/// Changes whenever two processes would misunderstand each other.
pub(super) const VERSION: u16 = 1;
/// So many sockets are sent with one message; far below what the kernel takes (253).
pub(super) const BATCH: usize = 32;
/// So many sockets are taken from one process.
pub(super) const MOST_SOCKETS: usize = 16_384;
const MAGIC: [u8; 4] = *b"LVHO";
const HEADER: usize = 12;
/// The longest body: a batch of sockets with the longest paths.
const BODY: usize = 8 * 1024;
/// So many numbers of sockets go into one message.
const NUMBERS: usize = 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// New process: I am this one, and would like to have your sockets.
    Hello { pid: u32 },
    /// Old process: these, one descriptor each, in this order, and whether somebody else keeps it; perhaps more.
    Sockets {
        sockets: Vec<(ListenAddress, bool)>,
        more: bool,
    },
    /// New process: I have these, by number in the order in which they came; perhaps more. Accept no more, and drain.
    Drain { taken: Vec<u32>, more: bool },
    /// Old process: they are yours alone. I was the so-manieth in a row (from 0), and the first one was started so many milliseconds ago.
    Draining { epoch: u32, uptime: u64 },
    /// New process: I can be found at the path.
    Offering,
    /// New process: be gone.
    Terminate,
    /// Old process: somebody else has them, or is about to.
    Refused(Refused),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// This process is taking over at the moment.
    Busy { pid: u32 },
    /// This process has taken over, and will offer them here in a moment.
    Gone { pid: u32 },
}

impl Message {
    /// All that has to be sent to say that these sockets were taken.
    pub(super) fn drain(taken: &[u32]) -> Vec<Self> {
        if taken.is_empty() {
            return vec![Self::Drain {
                taken: Vec::new(),
                more: false,
            }];
        }
        let count = taken.chunks(NUMBERS).count();
        let messages = taken
            .chunks(NUMBERS)
            .enumerate()
            .map(|(index, taken)| Self::Drain {
                taken: taken.to_vec(),
                more: index + 1 < count,
            });
        messages.collect()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let (kind, fds, body) = match self {
            Self::Hello { pid } => (1, 0, pid.to_be_bytes().to_vec()),
            Self::Sockets { sockets, more } => {
                let mut body = vec![u8::from(*more)];
                for (address, is_kept) in sockets {
                    put_address(&mut body, address);
                    body.push(u8::from(*is_kept));
                }
                (2, u8::try_from(sockets.len()).unwrap_or(u8::MAX), body)
            }
            Self::Drain { taken, more } => {
                let mut body = vec![u8::from(*more)];
                taken.iter().for_each(|number| body.extend(number.to_be_bytes()));
                (3, 0, body)
            }
            Self::Draining { epoch, uptime } => {
                let mut body = epoch.to_be_bytes().to_vec();
                body.extend(uptime.to_be_bytes());
                (4, 0, body)
            }
            Self::Terminate => (5, 0, Vec::new()),
            Self::Offering => (7, 0, Vec::new()),
            Self::Refused(refused) => {
                let (why, pid) = match refused {
                    Refused::Busy { pid } => (1, pid),
                    Refused::Gone { pid } => (2, pid),
                };
                let mut body = vec![why];
                body.extend(pid.to_be_bytes());
                (6, 0, body)
            }
        };
        let mut frame = MAGIC.to_vec();
        frame.extend(VERSION.to_be_bytes());
        frame.extend([kind, fds]);
        frame.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
        frame.extend(body);
        frame
    }

    /// The first message of what has come so far, and how many bytes and descriptors it took; `None`: not whole yet.
    pub(super) fn decode(bytes: &[u8]) -> Result<Option<(Self, usize, usize)>, HandoverError> {
        let known = bytes.len().min(MAGIC.len());
        if bytes[..known] != MAGIC[..known] {
            return Err(HandoverError::Malformed(
                "it does not speak the handover protocol",
            ));
        }
        let mut head = Reader(bytes);
        let (Some(_), Some(version)) = (head.take(MAGIC.len()), head.u16()) else {
            return Ok(None);
        };
        if version != VERSION {
            return Err(HandoverError::Version {
                theirs: version,
                ours: VERSION,
            });
        }
        let (Some(kind), Some(fds), Some(length)) = (head.u8(), head.u8(), head.u32()) else {
            return Ok(None);
        };
        let (length, fds) = (length as usize, usize::from(fds));
        if length > BODY || fds > BATCH {
            return Err(HandoverError::Malformed("a message is too long"));
        }
        let Some(body) = head.take(length) else {
            return Ok(None);
        };
        let message = Self::read(kind, fds, Reader(body))
            .ok_or(HandoverError::Malformed("a message has no meaning"))?;
        Ok(Some((message, HEADER + length, fds)))
    }

    /// Who promises more has to say something: nobody is kept busy without end.
    fn leads_on(&self) -> bool {
        match self {
            Self::Sockets { sockets, more } => !(*more && sockets.is_empty()),
            Self::Drain { taken, more } => !(*more && taken.is_empty()),
            _ => true,
        }
    }

    fn read(kind: u8, fds: usize, mut body: Reader<'_>) -> Option<Self> {
        let message = match kind {
            1 => Self::Hello { pid: body.u32()? },
            2 => {
                let more = body.flag()?;
                let mut sockets = Vec::with_capacity(fds);
                for _ in 0..fds {
                    sockets.push((body.address()?, body.flag()?));
                }
                Self::Sockets { sockets, more }
            }
            3 => {
                let more = body.flag()?;
                let mut taken = Vec::with_capacity(body.0.len() / 4);
                while !body.0.is_empty() {
                    taken.push(body.u32()?);
                }
                Self::Drain { taken, more }
            }
            4 => Self::Draining {
                epoch: body.u32()?,
                uptime: body.u64()?,
            },
            5 => Self::Terminate,
            7 => Self::Offering,
            6 => match (body.u8()?, body.u32()?) {
                (1, pid) => Self::Refused(Refused::Busy { pid }),
                (2, pid) => Self::Refused(Refused::Gone { pid }),
                _ => return None,
            },
            _ => return None,
        };
        let descriptors_fit = fds == 0 || matches!(message, Self::Sockets { .. });
        (body.0.is_empty() && descriptors_fit && message.leads_on()).then_some(message)
    }
}

fn put_address(out: &mut Vec<u8>, address: &ListenAddress) {
    let (kind, text) = match address {
        ListenAddress::Socket(address) => (1, address.to_string().into_bytes()),
        ListenAddress::Unix(path) => (2, path.as_os_str().as_bytes().to_vec()),
    };
    // A bound path has at most 108 bytes.
    let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
    out.extend([kind, length]);
    out.extend(&text[..usize::from(length)]);
}

/// What is left of some bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn address(&mut self) -> Option<ListenAddress> {
        let kind = self.u8()?;
        let length = self.u8()?;
        let text = self.take(length.into())?;
        match kind {
            1 => std::str::from_utf8(text)
                .ok()?
                .parse()
                .ok()
                .map(ListenAddress::Socket),
            2 => Some(ListenAddress::Unix(OsString::from_vec(text.to_vec()).into())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address() -> impl Strategy<Value = ListenAddress> {
        prop_oneof![
            any::<([u8; 4], u16)>().prop_map(|at| ListenAddress::Socket(at.into())),
            any::<([u8; 16], u16)>().prop_map(|at| ListenAddress::Socket(at.into())),
            prop::collection::vec(1..=u8::MAX, 1..108)
                .prop_map(|path| ListenAddress::Unix(OsString::from_vec(path).into())),
        ]
    }

    fn message() -> impl Strategy<Value = Message> {
        prop_oneof![
            any::<u32>().prop_map(|pid| Message::Hello { pid }),
            (
                prop::collection::vec((address(), any::<bool>()), 0..=BATCH),
                any::<bool>()
            )
                .prop_map(|(sockets, more)| Message::Sockets {
                    more: more && !sockets.is_empty(),
                    sockets
                }),
            (prop::collection::vec(any::<u32>(), 0..=NUMBERS), any::<bool>()).prop_map(|(taken, more)| {
                Message::Drain {
                    more: more && !taken.is_empty(),
                    taken,
                }
            }),
            any::<(u32, u64)>().prop_map(|(epoch, uptime)| Message::Draining { epoch, uptime }),
            Just(Message::Terminate),
            Just(Message::Offering),
            any::<u32>().prop_map(|pid| Message::Refused(Refused::Busy { pid })),
            any::<u32>().prop_map(|pid| Message::Refused(Refused::Gone { pid })),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_and_not_before_it_is_whole(message in message(), more in any::<Vec<u8>>()) {
            let frame = message.encode();
            for part in 0..frame.len() {
                prop_assert!(Message::decode(&frame[..part]).expect("so far it is right").is_none());
            }
            let both = [&frame[..], &more].concat();
            let (read, length, fds) = Message::decode(&both).expect("it is right").expect("it is whole");
            prop_assert_eq!(length, frame.len());
            prop_assert_eq!(fds, match &message { Message::Sockets { sockets, .. } => sockets.len(), _ => 0 });
            prop_assert_eq!(read, message);
        }

        #[test]
        fn whatever_comes_is_a_message_or_an_error(bytes in any::<Vec<u8>>(), kind in 0..9_u8, fds in any::<u8>()) {
            let mut frame = MAGIC.to_vec();
            frame.extend(VERSION.to_be_bytes());
            frame.extend([kind, fds]);
            frame.extend((bytes.len() as u32).to_be_bytes());
            frame.extend(&bytes);
            for bytes in [&frame, &bytes] {
                if let Ok(Some((message, length, _))) = Message::decode(bytes) {
                    prop_assert_eq!(message.encode(), &bytes[..length]);
                }
            }
        }
    }

    #[test]
    fn another_version_is_refused_with_both_named_and_a_long_message_before_it_has_come() {
        let mut frame = Message::Terminate.encode();
        frame[5] = 9;
        let error = Message::decode(&frame[..6])
            .expect_err("another version")
            .to_string();
        assert_eq!(
            error,
            "the other process speaks version 9 of the handover protocol, this one version 1"
        );
        let mut frame = Message::Terminate.encode();
        frame[8] = 1;
        assert!(Message::decode(&frame).is_err());
        assert!(Message::decode(b"GET / HTTP/1.1").is_err());
    }

    #[test]
    fn who_promises_more_and_says_nothing_is_hung_up_on() {
        let sockets = Vec::new();
        let taken = Vec::new();
        for message in [
            Message::Sockets { sockets, more: true },
            Message::Drain { taken, more: true },
        ] {
            assert!(Message::decode(&message.encode()).is_err(), "{message:?}");
        }
    }

    #[test]
    fn as_many_sockets_as_can_be_taken_can_be_named() {
        let taken: Vec<u32> = (0..MOST_SOCKETS as u32).collect();
        let mut named = Vec::new();
        let messages = Message::drain(&taken);
        for (index, message) in messages.iter().enumerate() {
            let (read, ..) = Message::decode(&message.encode())
                .expect("it is right")
                .expect("it is whole");
            let Message::Drain { taken, more } = read else {
                panic!("{read:?}")
            };
            assert_eq!(more, index + 1 < messages.len());
            named.extend(taken);
        }
        assert_eq!(named, taken);
    }
}
