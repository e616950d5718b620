//! What two processes say to each other, and how it is written: pure, bounded in every length.
//!
//! The first six bytes of a message never change, so that processes that speak two versions can
//! name both.
//!
//! ```text
//!  0      4         6      7      8          12
//!  | LVHO | version | kind | fds  | length   | body .. |      numbers are big-endian
//! ```

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use super::hello::Hello;
use super::{HandoverError, hooks};
use crate::ListenAddress;

/// Changes when two processes would misunderstand each other.
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
    /// Each process, first: what it is. The new process asks for the sockets by it.
    Hello(Hello),
    /// Old process: these sockets, one descriptor each, in this order, and whether a third process
    /// keeps it; perhaps more.
    Sockets {
        sockets: Vec<(ListenAddress, bool)>,
        more: bool,
    },
    /// New process: it goes on with these, by number in the order in which they came; perhaps more.
    /// The old process shall stop accepting, and drain.
    Drain { taken: Vec<u32>, more: bool },
    /// Old process: it has stopped. Two descriptors come along: the lock, and the listener of the
    /// path.
    Draining,
    /// New process: the old process shall end.
    Terminate,
    /// Old process: another process is taking over at the moment.
    Busy { pid: u32 },
    /// Old process: it lives, and ends the attempt. Without it, the end of the connection is its
    /// death. New process: it gives nothing any more, so the old process need not keep anything for
    /// it.
    Goodbye,
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
            Self::Hello(hello) => {
                let mut body = hello.owner.to_be_bytes().to_vec();
                body.extend(hello.namespace.0.to_be_bytes());
                body.extend(hello.namespace.1.to_be_bytes());
                body.extend(hello.epoch.to_be_bytes());
                body.extend(hello.uptime.to_be_bytes());
                body.extend(hello.features.to_be_bytes());
                (1, 0, body)
            }
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
                taken
                    .iter()
                    .for_each(|number| body.extend(number.to_be_bytes()));
                (3, 0, body)
            }
            Self::Draining => (4, 2, Vec::new()),
            Self::Terminate => (5, 0, Vec::new()),
            Self::Busy { pid } => (6, 0, pid.to_be_bytes().to_vec()),
            Self::Goodbye => (7, 0, Vec::new()),
        };
        let mut frame = MAGIC.to_vec();
        frame.extend(hooks::version().to_be_bytes());
        frame.extend([kind, fds]);
        frame.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
        frame.extend(body);
        frame
    }

    /// The first message of what has come so far, and how many bytes and descriptors it took;
    /// `None`: not whole yet.
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
        let ours = hooks::version();
        if version != ours {
            return Err(HandoverError::Version {
                theirs: version,
                ours,
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

    /// Whether it has something in it if it promises more, so that no process is kept busy without
    /// end.
    fn is_worth_reading(&self) -> bool {
        match self {
            Self::Sockets { sockets, more } => !(*more && sockets.is_empty()),
            Self::Drain { taken, more } => !(*more && taken.is_empty()),
            _ => true,
        }
    }

    fn read(kind: u8, fds: usize, mut body: Reader<'_>) -> Option<Self> {
        let message = match kind {
            1 => {
                let hello = Hello {
                    owner: body.u64()?,
                    namespace: (body.u64()?, body.u64()?),
                    epoch: body.u32()?,
                    uptime: body.u64()?,
                    features: body.u32()?,
                };
                // What else a later process says of itself.
                body.0 = &[];
                Self::Hello(hello)
            }
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
            4 => Self::Draining,
            5 => Self::Terminate,
            6 => Self::Busy { pid: body.u32()? },
            7 => Self::Goodbye,
            _ => return None,
        };
        let descriptors_fit = match message {
            Self::Sockets { .. } => true,
            Self::Draining => fds == 2,
            _ => fds == 0,
        };
        (body.0.is_empty() && descriptors_fit && message.is_worth_reading()).then_some(message)
    }
}

fn put_address(out: &mut Vec<u8>, address: &ListenAddress) {
    let (kind, text) = match address {
        ListenAddress::Socket(address) => (1, address.to_string().into_bytes()),
        ListenAddress::Unix(path) => (2, path.as_os_str().as_bytes().to_vec()),
        // There is no socket, so it is never among those that are given away.
        ListenAddress::Internal => (0, Vec::new()),
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
            2 => Some(ListenAddress::Unix(
                OsString::from_vec(text.to_vec()).into(),
            )),
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
            any::<(u64, (u64, u64), u32, u64, u32)>().prop_map(
                |(owner, namespace, epoch, uptime, features)| {
                    Message::Hello(Hello {
                        owner,
                        namespace,
                        epoch,
                        uptime,
                        features,
                    })
                }
            ),
            (
                prop::collection::vec((address(), any::<bool>()), 0..=BATCH),
                any::<bool>()
            )
                .prop_map(|(sockets, more)| Message::Sockets {
                    more: more && !sockets.is_empty(),
                    sockets
                }),
            (
                prop::collection::vec(any::<u32>(), 0..=NUMBERS),
                any::<bool>()
            )
                .prop_map(|(taken, more)| {
                    Message::Drain {
                        more: more && !taken.is_empty(),
                        taken,
                    }
                }),
            Just(Message::Draining),
            Just(Message::Terminate),
            any::<u32>().prop_map(|pid| Message::Busy { pid }),
            Just(Message::Goodbye),
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
            prop_assert_eq!(fds, match &message {
                Message::Sockets { sockets, .. } => sockets.len(),
                Message::Draining => 2,
                _ => 0,
            });
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
                    let written = message.encode();
                    match message {
                        // There may be more behind it that this process does not know.
                        Message::Hello(_) => {
                            prop_assert_eq!(&written[HEADER..], &bytes[HEADER..written.len()]);
                        }
                        _ => prop_assert_eq!(written, &bytes[..length]),
                    }
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
            Message::Sockets {
                sockets,
                more: true,
            },
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
