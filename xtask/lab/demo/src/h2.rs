//! HTTP/2 as it is on the wire (RFC 9113): frames read and written by hand, so that every GOAWAY is seen when it comes.
//!
//! A client library would hide what the demo is about: most close as soon as the first GOAWAY finds them idle. Of HPACK only
//! what a request needs is written; of a response's header block only the status is read, which is its first field, and for
//! which the demo's settings allow no dynamic table.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;

use super::ask::Ask;

/// The frame types that are used here (RFC 9113 section 6).
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
}

/// The flags that are used here.
pub(crate) mod flag {
    pub(crate) const END_STREAM: u8 = 1;
    pub(crate) const ACK: u8 = 1;
    pub(crate) const END_HEADERS: u8 = 4;
    pub(crate) const PADDED: u8 = 8;
    pub(crate) const PRIORITY: u8 = 32;
}

/// The stream id of a GOAWAY that only announces another one.
pub(crate) const NO_LIMIT: u32 = (1 << 31) - 1;

/// The window that the client gives each stream, and adds to the connection's.
pub(crate) const WINDOW: u32 = 1 << 20;

/// The largest frame that the client takes: the protocol's default.
const FRAME_LIMIT: usize = 16_384;

const SETTING_HEADER_TABLE_SIZE: u16 = 1;
const SETTING_ENABLE_PUSH: u16 = 2;
const SETTING_INITIAL_WINDOW_SIZE: u16 = 4;

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Bytes,
}

impl Frame {
    /// Whether a flag is set.
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The payload without padding and priority; `None` if they do not fit.
    pub(crate) fn content(&self) -> Option<Bytes> {
        let mut content = self.payload.clone();
        if matches!(self.kind, kind::DATA | kind::HEADERS) && self.has(flag::PADDED) {
            let padding = usize::from(content.try_get_u8().ok()?);
            content.truncate(content.len().checked_sub(padding)?);
        }
        if self.kind == kind::HEADERS && self.has(flag::PRIORITY) {
            content.try_get_u32().ok()?;
            content.try_get_u8().ok()?;
        }
        Some(content)
    }

    /// The four bytes at an offset of the payload.
    pub(crate) fn word(&self, offset: usize) -> Option<u32> {
        let bytes = self.payload.get(offset..offset + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    }

    /// Takes a whole frame off the front; `Err` if it is larger than allowed.
    fn take(from: &mut BytesMut) -> Result<Option<Self>, usize> {
        let Some(head) = from.get(..9) else {
            return Ok(None);
        };
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & NO_LIMIT;
        if length > FRAME_LIMIT {
            return Err(length);
        }
        if from.len() < 9 + length {
            return Ok(None);
        }
        from.advance(9);
        Ok(Some(Self {
            kind,
            flags,
            stream,
            payload: from.split_to(length).freeze(),
        }))
    }
}

/// The reading half of a connection.
#[derive(Debug)]
pub(crate) struct Frames {
    half: OwnedReadHalf,
    ahead: BytesMut,
}

impl Frames {
    pub(crate) fn new(half: OwnedReadHalf) -> Self {
        Self {
            half,
            ahead: BytesMut::new(),
        }
    }

    /// The next frame; `None` at FIN. What was read before a cancelled call is kept for the next one.
    pub(crate) async fn next(&mut self) -> std::io::Result<Option<Frame>> {
        loop {
            match Frame::take(&mut self.ahead) {
                Ok(Some(frame)) => return Ok(Some(frame)),
                Ok(None) => {}
                Err(length) => return Err(std::io::Error::other(format!("a frame of {length} bytes"))),
            }
            if self.half.read_buf(&mut self.ahead).await? == 0 {
                return Ok(None);
            }
        }
    }
}

/// Writes a frame.
pub(crate) fn put(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.put_uint(payload.len() as u64, 3);
    out.put_u8(kind);
    out.put_u8(flags);
    out.put_u32(stream);
    out.put_slice(payload);
}

/// What a client says first.
pub(crate) fn preface() -> Vec<u8> {
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let mut settings = Vec::new();
    for (name, value) in [
        (SETTING_HEADER_TABLE_SIZE, 0),
        (SETTING_ENABLE_PUSH, 0),
        (SETTING_INITIAL_WINDOW_SIZE, WINDOW),
    ] {
        settings.put_u16(name);
        settings.put_u32(value);
    }
    put(&mut out, kind::SETTINGS, 0, 0, &settings);
    put_window_update(&mut out, 0, WINDOW);
    out
}

/// Writes a WINDOW_UPDATE.
pub(crate) fn put_window_update(out: &mut Vec<u8>, stream: u32, more: u32) {
    put(out, kind::WINDOW_UPDATE, 0, stream, &more.to_be_bytes());
}

/// Writes a request: HEADERS, and DATA if it has a body.
pub(crate) fn put_request(out: &mut Vec<u8>, stream: u32, ask: &Ask) {
    const METHOD_GET: u8 = 0x82;
    const METHOD_POST: u8 = 0x83;
    const SCHEME_HTTP: u8 = 0x86;
    const LITERAL_AUTHORITY: u8 = 0x01;
    const LITERAL_PATH: u8 = 0x04;
    let mut block = vec![
        if ask.method == "GET" {
            METHOD_GET
        } else {
            METHOD_POST
        },
        SCHEME_HTTP,
    ];
    for (name, value) in [(LITERAL_AUTHORITY, "demo"), (LITERAL_PATH, ask.path.as_str())] {
        // All values of the demo are shorter than the 127 bytes that one length byte can say.
        block.put_slice(&[name, value.len() as u8]);
        block.put_slice(value.as_bytes());
    }
    let end = if ask.body.is_empty() { flag::END_STREAM } else { 0 };
    put(out, kind::HEADERS, flag::END_HEADERS | end, stream, &block);
    if !ask.body.is_empty() {
        put(out, kind::DATA, flag::END_STREAM, stream, &ask.body);
    }
}

/// Writes a GOAWAY without error: the client leaves.
pub(crate) fn put_goaway(out: &mut Vec<u8>) {
    put(out, kind::GOAWAY, 0, 0, &[0; 8]);
}

/// Whether a response's header block says 200; if not, what it begins with.
pub(crate) fn status_200(block: &[u8]) -> Result<(), String> {
    const TABLE_SIZE_UPDATE: u8 = 0b0010_0000;
    const STATUS_200: u8 = 0x88;
    let is_update = |byte: &u8| byte & 0b1110_0000 == TABLE_SIZE_UPDATE;
    match block.iter().find(|byte| !is_update(byte)) {
        Some(&STATUS_200) => Ok(()),
        _ => Err(format!(
            "not status 200: header block {:02x?}",
            &block[..block.len().min(8)]
        )),
    }
}

/// The value that a SETTINGS frame gives to the initial window of streams.
pub(crate) fn initial_window(settings: &Bytes) -> Option<u32> {
    settings.chunks_exact(6).rev().find_map(|entry| {
        let name = u16::from_be_bytes([entry[0], entry[1]]);
        let value = u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]]);
        (name == SETTING_INITIAL_WINDOW_SIZE).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_taken_only_when_it_is_whole() {
        let mut out = Vec::new();
        put(
            &mut out,
            kind::GOAWAY,
            0,
            0,
            &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0],
        );
        for cut in 0..out.len() {
            assert_eq!(Frame::take(&mut BytesMut::from(&out[..cut])), Ok(None));
        }
        let frame = Frame::take(&mut BytesMut::from(out.as_slice()))
            .ok()
            .flatten()
            .unwrap();
        assert_eq!(
            (frame.kind, frame.word(0), frame.word(4)),
            (kind::GOAWAY, Some(NO_LIMIT), Some(0))
        );
    }

    #[test]
    fn padding_is_not_content() {
        let payload = Bytes::from_static(b"\x02hi\0\0");
        let frame = Frame {
            kind: kind::DATA,
            flags: flag::PADDED,
            stream: 1,
            payload,
        };
        assert_eq!(frame.content().as_deref(), Some(b"hi".as_slice()));
    }

    #[test]
    fn the_status_is_read_behind_a_table_size_update() {
        assert_eq!(status_200(&[0x20, 0x88, 0x00]), Ok(()));
        assert!(status_200(&[0x8d]).is_err());
        assert!(status_200(&[]).is_err());
    }

    #[test]
    fn the_initial_window_is_found_among_other_settings() {
        let mut settings = Vec::new();
        for (name, value) in [(3u16, 100u32), (SETTING_INITIAL_WINDOW_SIZE, 65_536)] {
            settings.put_u16(name);
            settings.put_u32(value);
        }
        assert_eq!(initial_window(&settings.into()), Some(65_536));
        assert_eq!(initial_window(&Bytes::new()), None);
    }
}
