//! WebSocket (RFC 6455) by hand: the handshake's key, and whole messages as frames.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use sha1::{Digest, Sha1};

/// The opcodes that are used here.
#[expect(missing_docs, reason = "the names are those of the RFC")]
pub mod opcode {
    pub const TEXT: u8 = 1;
    pub const BINARY: u8 = 2;
    pub const CLOSE: u8 = 8;
}

/// A key for `Sec-WebSocket-Key`, made of these bytes.
pub fn key(bytes: [u8; 16]) -> String {
    STANDARD.encode(bytes)
}

/// `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`.
pub fn accept(key: &str) -> String {
    STANDARD.encode(
        Sha1::new()
            .chain_update(key)
            .chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
            .finalize(),
    )
}

/// A client's request to switch; `path` may have a query.
pub fn handshake(path: &str, key: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: {key}\r\n\r\n"
    )
}

/// A whole message: none here is sent in fragments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// One of [`opcode`].
    pub opcode: u8,
    /// Not masked.
    pub payload: Bytes,
}

impl Message {
    /// The message as a frame; a client's is masked.
    pub fn frame(&self, mask: Option<[u8; 4]>) -> Vec<u8> {
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
    pub fn take(from: &mut BytesMut) -> Result<Option<Self>, String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_key_is_the_one_of_the_rfc() {
        assert_eq!(
            accept("dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn a_frame_is_read_back_masked_or_not_at_every_length_form() {
        for length in [0, 5, 125, 126, 65_535, 65_536] {
            for mask in [None, Some([1, 2, 3, 4])] {
                let payload: Vec<u8> = (0..length).map(|at: usize| at as u8).collect();
                let message = Message {
                    opcode: opcode::BINARY,
                    payload: payload.into(),
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
