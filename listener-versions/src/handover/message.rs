//! What two processes say to each other, and how it is written: pure, bounded in every length.
//!
//! The first six bytes of a message never change, so that processes that speak two versions can
//! name both.
//!
//! ```text
//!  0      4         6      7      8          12
//!  | LVHO | version | kind | fds  | length   | body .. |      numbers are big-endian
//! ```

mod bytes;

use super::hello::Hello;
use super::{HandoverError, hooks};
use crate::ListenAddress;
use bytes::{Reader, put_address};

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
        let mut head = Reader::new(bytes);
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
        let message = Self::read(kind, fds, Reader::new(body))
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
                body.skip_rest();
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
                let mut taken = Vec::with_capacity(body.left() / 4);
                while !body.is_empty() {
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
        (body.is_empty() && descriptors_fit && message.is_worth_reading()).then_some(message)
    }
}

#[cfg(test)]
mod tests;
