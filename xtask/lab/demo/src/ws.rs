//! WebSocket (RFC 6455) by hand: the handshake, frames, and a client that checks that each message comes back, in order.

use std::collections::VecDeque;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use sha1::{Digest, Sha1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::book::Entry;
use super::crowd::Crowd;
use super::h1::{PATIENCE, Wire};
use super::pattern;
use super::record::{Class, How, Saw};

/// The opcodes that are used here.
pub(crate) mod opcode {
    pub(crate) const BINARY: u8 = 2;
    pub(crate) const CLOSE: u8 = 8;
}

/// Messages that were sent this long before the end of a tunnel must have come back.
const IN_FLIGHT: Duration = Duration::from_millis(500);

/// The time between two messages.
const EVERY: Duration = Duration::from_millis(40);

/// `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`.
pub(crate) fn accept(key: &str) -> String {
    STANDARD.encode(
        Sha1::new()
            .chain_update(key)
            .chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
            .finalize(),
    )
}

/// A whole message; nobody here sends fragments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) opcode: u8,
    pub(crate) payload: Bytes,
}

impl Message {
    /// The message as a frame; a client's is masked.
    pub(crate) fn frame(&self, mask: Option<[u8; 4]>) -> Vec<u8> {
        let mut out = vec![0x80 | self.opcode];
        let masked = if mask.is_some() { 0x80 } else { 0 };
        match u16::try_from(self.payload.len()) {
            Ok(length @ 0..126) => out.put_u8(masked | length as u8),
            Ok(length) => {
                out.put_u8(masked | 126);
                out.put_u16(length);
            }
            Err(_) => {
                out.put_u8(masked | 127);
                out.put_u64(self.payload.len() as u64);
            }
        }
        let mask = mask.inspect(|mask| out.put_slice(mask)).unwrap_or_default();
        out.extend(
            self.payload
                .iter()
                .zip(mask.iter().cycle())
                .map(|(byte, mask)| byte ^ mask),
        );
        out
    }

    /// Takes a whole frame off the front.
    pub(crate) fn take(from: &mut BytesMut) -> Result<Option<Self>, String> {
        let mut head = &from[..];
        let (Ok(first), Ok(second)) = (head.try_get_u8(), head.try_get_u8()) else {
            return Ok(None);
        };
        let length = match second & 0x7f {
            126 => head.try_get_u16().map(u64::from),
            127 => head.try_get_u64(),
            short => Ok(u64::from(short)),
        };
        let Ok(length) = length else { return Ok(None) };
        if first & 0xf0 != 0x80 || length > 1 << 20 {
            return Err(format!("frame {first:02x} {second:02x} of {length} bytes"));
        }
        let mask = if second & 0x80 == 0 {
            Ok(0)
        } else {
            head.try_get_u32()
        };
        let Ok(mask) = mask else { return Ok(None) };
        let length = length as usize;
        if head.len() < length {
            return Ok(None);
        }
        from.advance(from.len() - head.len());
        let mut payload = from.split_to(length);
        payload
            .iter_mut()
            .zip(mask.to_be_bytes().iter().cycle())
            .for_each(|(byte, mask)| *byte ^= mask);
        Ok(Some(Self {
            opcode: first & 0x0f,
            payload: payload.freeze(),
        }))
    }
}

/// Opens one tunnel after the other until it is time to go home.
pub(crate) async fn client(crowd: &Crowd) {
    while !crowd.stopping() {
        let Some((stream, entry)) = crowd.connect(Class::WebSocket, crowd.http).await else {
            continue;
        };
        let begun = entry.now();
        let mut wire = Wire::new(stream);
        match timeout(PATIENCE, handshake(&mut wire, &entry))
            .await
            .unwrap_or(Err(How::TimedOut))
        {
            Ok(()) => talk(crowd, wire, &entry).await,
            Err(how) => entry.failed(begun, None, how),
        }
    }
}

async fn handshake(wire: &mut Wire, entry: &Entry) -> Result<(), How> {
    let key = STANDARD.encode(fastrand::u128(..).to_be_bytes());
    let ask = format!(
        "GET /ws HTTP/1.1\r\nhost: demo\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: {key}\r\n\r\n"
    );
    wire.send(ask.as_bytes()).await;
    let head = wire.head().await?;
    if head.status != 101 || head.header("sec-websocket-accept") != Some(&accept(&key)) {
        return Err(How::Wrong(format!("handshake: {head:?}")));
    }
    if let Some(version) = head.version() {
        entry.version(version);
    }
    entry.ok();
    Ok(())
}

/// Sends numbered messages and checks the echoes until the tunnel ends.
async fn talk(crowd: &Crowd, wire: Wire, entry: &Entry) {
    let (mut stream, mut ahead): (TcpStream, BytesMut) = wire.into_parts();
    let mut echoes = Echoes::default();
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut leaving: Option<Instant> = None;
    let end = loop {
        loop {
            match Message::take(&mut ahead) {
                Ok(None) => break,
                Ok(Some(message)) if message.opcode == opcode::CLOSE => {
                    // Ours comes back when we leave; otherwise it is the end of the tunnel as any other.
                    entry.saw(if leaving.is_some() { Saw::Left } else { Saw::Fin });
                    return;
                }
                Ok(Some(message)) => echoes.check(&message, entry),
                Err(what) => {
                    entry.failed(entry.now(), None, How::Wrong(what));
                    return;
                }
            }
        }
        let limit = leaving.unwrap_or_else(|| Instant::now() + PATIENCE);
        tokio::select! {
            read = stream.read_buf(&mut ahead) => match read {
                Ok(0) => break Saw::Fin,
                Ok(_) => {}
                Err(_) => break Saw::Reset,
            },
            _ = tick.tick(), if leaving.is_none() => {
                let message = if crowd.stopping() {
                    leaving = Some(Instant::now() + Duration::from_secs(2));
                    Message { opcode: opcode::CLOSE, payload: Bytes::from_static(&[0x03, 0xe8]) }
                } else {
                    echoes.next(entry)
                };
                let mask = fastrand::u32(..).to_be_bytes();
                // A failed write is not the news: the end of the stream is still to be read.
                match stream.write_all(&message.frame(Some(mask))).await {
                    Ok(()) | Err(_) => {}
                }
            },
            () = sleep_until(limit) => {
                entry.failed(entry.now(), None, How::TimedOut);
                return;
            }
        }
    };
    echoes.missing(entry);
    entry.saw(end);
}

/// The messages that have not come back yet.
#[derive(Debug, Default)]
struct Echoes {
    sent: u64,
    outstanding: VecDeque<(Duration, Bytes)>,
}

impl Echoes {
    fn next(&mut self, entry: &Entry) -> Message {
        let mut payload = self.sent.to_be_bytes().to_vec();
        payload.extend(pattern::bytes(self.sent, 0, fastrand::usize(..300)));
        let payload = Bytes::from(payload);
        self.sent += 1;
        self.outstanding.push_back((entry.now(), payload.clone()));
        Message {
            opcode: opcode::BINARY,
            payload,
        }
    }

    fn check(&mut self, message: &Message, entry: &Entry) {
        match self.outstanding.pop_front() {
            Some((_, payload)) if payload == message.payload => entry.ok(),
            Some((begun, _)) => {
                entry.failed(begun, None, How::Wrong("another echo than the next".to_owned()))
            }
            None => entry.failed(entry.now(), None, How::Wrong("an echo of nothing".to_owned())),
        }
    }

    fn missing(&self, entry: &Entry) {
        let now = entry.now();
        let late = self
            .outstanding
            .iter()
            .filter(|(begun, _)| *begun + IN_FLIGHT < now)
            .count();
        if let Some((begun, _)) = self.outstanding.front().filter(|_| late > 0) {
            entry.failed(
                *begun,
                None,
                How::Missing(format!("{late} messages never came back")),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_key_is_the_one_of_the_rfc() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_frame_is_read_back_masked_or_not_at_every_length_form() {
        for length in [0, 5, 125, 126, 65_535, 65_536] {
            for mask in [None, Some([1, 2, 3, 4])] {
                let message = Message {
                    opcode: opcode::BINARY,
                    payload: pattern::bytes(1, 0, length).into(),
                };
                let frame = message.frame(mask);
                let mut partial = BytesMut::from(&frame[..frame.len() - 1]);
                assert_eq!(Message::take(&mut partial), Ok(None));
                let mut whole = BytesMut::from(frame.as_slice());
                assert_eq!(Message::take(&mut whole), Ok(Some(message)));
                assert!(whole.is_empty());
            }
        }
    }
}
