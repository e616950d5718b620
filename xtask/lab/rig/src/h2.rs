//! HTTP/2 as it is on the wire (RFC 9113): frames written and read by hand, so that every GOAWAY is
//! seen when it comes.
//!
//! A client library would hide it: most close as soon as the first GOAWAY finds them idle. Of HPACK
//! only what a request needs is written; of a response's header block only the status is read,
//! which is its first field, and for which the settings allow no dynamic table.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The frame types that are used here (RFC 9113 section 6).
#[expect(missing_docs, reason = "the names are those of the RFC")]
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// The flags that are used here.
#[expect(missing_docs, reason = "the names are those of the RFC")]
pub mod flag {
    pub const END_STREAM: u8 = 1;
    pub const ACK: u8 = 1;
    pub const END_HEADERS: u8 = 4;
    pub const PADDED: u8 = 8;
    pub const PRIORITY: u8 = 32;
}

/// The stream id of a GOAWAY that only announces another one.
pub const NO_LIMIT: u32 = (1 << 31) - 1;

/// The largest frame that a client takes: the protocol's default.
const FRAME_LIMIT: usize = 16_384;

const SETTING_HEADER_TABLE_SIZE: u16 = 1;
const SETTING_ENABLE_PUSH: u16 = 2;
const SETTING_INITIAL_WINDOW_SIZE: u16 = 4;

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// One of [`kind`].
    pub kind: u8,
    /// Several of [`flag`].
    pub flags: u8,
    /// 0 for the connection.
    pub stream: u32,
    /// Padding and priority among it.
    pub payload: Bytes,
}

impl Frame {
    /// Whether a flag is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The payload without padding and priority; `None` if they do not fit.
    pub fn content(&self) -> Option<Bytes> {
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
    pub fn word(&self, offset: usize) -> Option<u32> {
        let bytes = self.payload.get(offset..offset + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    }

    /// What must be answered to SETTINGS and PING; nothing to any other.
    pub fn ack(&self) -> Option<Vec<u8>> {
        match self.kind {
            _ if self.has(flag::ACK) => None,
            kind::SETTINGS => Some(frame(kind::SETTINGS, flag::ACK, 0, &[])),
            kind::PING => Some(frame(kind::PING, flag::ACK, 0, &self.payload)),
            _ => None,
        }
    }

    /// Takes a whole frame off the front; `Err` with its length if it is larger than allowed.
    pub fn take(from: &mut BytesMut) -> Result<Option<Self>, usize> {
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

    /// The next frame of a stream; `None` at FIN. What is read before a cancelled call stays in
    /// `ahead` for the next one.
    pub async fn read(
        stream: &mut (impl AsyncRead + Unpin),
        ahead: &mut BytesMut,
    ) -> std::io::Result<Option<Self>> {
        loop {
            match Self::take(ahead) {
                Ok(Some(frame)) => return Ok(Some(frame)),
                Ok(None) => {}
                Err(length) => {
                    return Err(std::io::Error::other(format!("a frame of {length} bytes")));
                }
            }
            if stream.read_buf(ahead).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// The next frame of a stream and no byte behind it; `None` at FIN. What a cancelled call has
    /// read is lost.
    pub async fn read_alone(
        stream: &mut (impl AsyncRead + Unpin),
    ) -> std::io::Result<Option<Self>> {
        let mut bytes = BytesMut::zeroed(9);
        if stream.read(&mut bytes[..1]).await? == 0 {
            return Ok(None);
        }
        stream.read_exact(&mut bytes[1..]).await?;
        let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
        bytes.resize(9 + length, 0);
        stream.read_exact(&mut bytes[9..]).await?;
        Self::read(&mut tokio::io::empty(), &mut bytes).await
    }
}

/// A frame as it is written.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, kind, flags, stream, payload);
    out
}

/// Writes a frame.
pub fn put(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.put_uint(payload.len() as u64, 3);
    out.put_u8(kind);
    out.put_u8(flags);
    out.put_u32(stream);
    out.put_slice(payload);
}

/// What a client says first: no dynamic table, no push, this window for each stream and so much
/// more for the connection.
pub fn preface(window: u32) -> Vec<u8> {
    let mut settings = Vec::new();
    for (name, value) in [
        (SETTING_HEADER_TABLE_SIZE, 0),
        (SETTING_ENABLE_PUSH, 0),
        (SETTING_INITIAL_WINDOW_SIZE, window),
    ] {
        settings.put_u16(name);
        settings.put_u32(value);
    }
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    put(&mut out, kind::SETTINGS, 0, 0, &settings);
    put_window_update(&mut out, 0, window);
    out
}

/// Writes a WINDOW_UPDATE.
pub fn put_window_update(out: &mut Vec<u8>, stream: u32, more: u32) {
    put(out, kind::WINDOW_UPDATE, 0, stream, &more.to_be_bytes());
}

/// A request's HEADERS; `end` if no body follows.
pub fn request(method: &str, path: &str, stream: u32, end: bool) -> Vec<u8> {
    let end = if end { flag::END_STREAM } else { 0 };
    let block = block(method, path);
    frame(kind::HEADERS, flag::END_HEADERS | end, stream, &block)
}

/// The header block of a request, which has GET or POST as its method.
pub fn block(method: &str, path: &str) -> Vec<u8> {
    const METHOD_GET: u8 = 0x82;
    const METHOD_POST: u8 = 0x83;
    const SCHEME_HTTP: u8 = 0x86;
    let method = if method == "POST" {
        METHOD_POST
    } else {
        METHOD_GET
    };
    let mut block = vec![method, SCHEME_HTTP];
    put_target(&mut block, path);
    block
}

/// An extended CONNECT to a WebSocket (RFC 8441).
pub fn connect(path: &str, stream: u32) -> Vec<u8> {
    let mut block = b"\x02\x07CONNECT\x86\x00\x09:protocol\x09websocket".to_vec();
    put_target(&mut block, path);
    block.extend_from_slice(b"\x00\x15sec-websocket-version\x0213");
    frame(kind::HEADERS, flag::END_HEADERS, stream, &block)
}

/// `:path` and `:authority`, as literals that are not indexed.
fn put_target(block: &mut Vec<u8>, path: &str) {
    const LITERAL_PATH: u8 = 0x04;
    const LITERAL_AUTHORITY: u8 = 0x01;
    for (name, value) in [(LITERAL_PATH, path), (LITERAL_AUTHORITY, "x")] {
        // All values here are shorter than the 127 bytes that one length byte can say.
        block.put_slice(&[name, value.len() as u8]);
        block.put_slice(value.as_bytes());
    }
}

/// A part of a request's body.
pub fn data(stream: u32, bytes: &[u8], end: bool) -> Vec<u8> {
    let flags = if end { flag::END_STREAM } else { 0 };
    frame(kind::DATA, flags, stream, bytes)
}

/// Writes a GOAWAY without error: the client leaves.
pub fn put_goaway(out: &mut Vec<u8>) {
    put(out, kind::GOAWAY, 0, 0, &[0; 8]);
}

/// The status that a header block begins with, if it is one of the static table; 0 if it is
/// another.
pub fn status(block: &[u8]) -> u16 {
    const TABLE_SIZE_UPDATE: u8 = 0b0010_0000;
    let is_update = |byte: &&u8| **byte & 0b1110_0000 == TABLE_SIZE_UPDATE;
    match block.iter().find(|byte| !is_update(byte)) {
        Some(byte @ 0x88..=0x8e) => [200, 204, 206, 304, 400, 404, 500][usize::from(byte - 0x88)],
        _ => 0,
    }
}

/// The value that a SETTINGS frame gives to the initial window of streams.
pub fn initial_window(settings: &Bytes) -> Option<u32> {
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
        let payload = [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        put(&mut out, kind::GOAWAY, 0, 0, &payload);
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
        assert_eq!(status(&[0x20, 0x88, 0x00]), 200);
        assert_eq!(status(&[0x8d]), 404);
        assert_eq!(status(&[]), 0);
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
