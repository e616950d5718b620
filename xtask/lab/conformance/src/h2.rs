//! HTTP/2 frames (RFC 9113): requests written by hand, and whatever comes back noted, frame by frame.
//!
//! Of HPACK only what a request needs is written. Of a response only the status is read, if it is one of the static table.

use bytes::{Buf, BufMut, BytesMut};

use super::wire::What;

/// The stream id of a GOAWAY that only announces another one.
pub(crate) const NO_LIMIT: u32 = (1 << 31) - 1;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;

const WINDOW: u32 = 1 << 24;

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.put_uint(payload.len() as u64, 3);
    out.put_u8(kind);
    out.put_u8(flags);
    out.put_u32(stream);
    out.extend_from_slice(payload);
}

/// The client's first bytes: no dynamic table, no push, large windows.
pub(crate) fn preface() -> Vec<u8> {
    let mut settings = Vec::new();
    for (name, value) in [(1, 0), (2, 0), (4, WINDOW)] {
        settings.put_u16(name);
        settings.put_u32(value);
    }
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frame(&mut out, SETTINGS, 0, 0, &settings);
    frame(&mut out, WINDOW_UPDATE, 0, 0, &WINDOW.to_be_bytes());
    out
}

/// A request's HEADERS.
pub(crate) fn request(method: &str, path: &str, stream: u32, end: bool) -> Vec<u8> {
    let mut block = vec![if method == "POST" { 0x83 } else { 0x82 }, 0x86];
    for (name, value) in [(4, path), (1, "x")] {
        // The paths that are asked for here are short.
        block.extend_from_slice(&[name, u8::try_from(value.len()).unwrap_or(0)]);
        block.extend_from_slice(value.as_bytes());
    }
    let mut out = Vec::new();
    let flags = END_HEADERS | if end { END_STREAM } else { 0 };
    frame(&mut out, HEADERS, flags, stream, &block);
    out
}

/// An extended CONNECT to a WebSocket (RFC 8441).
pub(crate) fn connect(path: &str, stream: u32) -> Vec<u8> {
    let mut block = b"\x02\x07CONNECT\x86\x00\x09:protocol\x09websocket".to_vec();
    for (name, value) in [(4, path), (1, "x")] {
        block.extend_from_slice(&[name, u8::try_from(value.len()).unwrap_or(0)]);
        block.extend_from_slice(value.as_bytes());
    }
    block.extend_from_slice(b"\x00\x15sec-websocket-version\x0213");
    let mut out = Vec::new();
    frame(&mut out, HEADERS, END_HEADERS, stream, &block);
    out
}

/// A part of a request's body.
pub(crate) fn data(stream: u32, bytes: &[u8], end: bool) -> Vec<u8> {
    let mut out = Vec::new();
    frame(&mut out, DATA, if end { END_STREAM } else { 0 }, stream, bytes);
    out
}

/// Whether this ends a stream's response as it should end.
pub(crate) fn is_end(what: &What, of: u32) -> bool {
    match what {
        What::Headers { stream, end, .. } | What::Data { stream, end, .. } => *stream == of && *end,
        _ => false,
    }
}

/// Takes whole frames off the front; what must be answered, as bytes.
pub(crate) fn read(from: &mut BytesMut, mut add: impl FnMut(What)) -> Vec<u8> {
    let mut answers = Vec::new();
    while let Some(head) = from.get(..9) {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & NO_LIMIT;
        if from.len() < 9 + length {
            break;
        }
        from.advance(9);
        let payload = from.split_to(length);
        let word = |at: usize| {
            let bytes = payload.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, u32::from_be_bytes)
        };
        let end = flags & END_STREAM != 0;
        match kind {
            HEADERS => {
                let skip = usize::from(flags & PADDED != 0) + if flags & PRIORITY != 0 { 5 } else { 0 };
                let status = status(payload.get(skip..).unwrap_or_default());
                add(What::Headers { stream, status, end });
            }
            DATA => {
                let bytes = payload.to_vec();
                add(What::Data { stream, bytes, end });
            }
            GOAWAY => add(What::GoAway {
                last: word(0) & NO_LIMIT,
                code: word(4),
            }),
            RST_STREAM => add(What::StreamReset {
                stream,
                code: word(0),
            }),
            SETTINGS if flags & ACK == 0 => frame(&mut answers, SETTINGS, ACK, 0, &[]),
            PING if flags & ACK == 0 => frame(&mut answers, PING, ACK, 0, &payload),
            _ => {}
        }
    }
    answers
}

/// The status that a header block begins with, if it is one of the static table; 0 if it is another.
fn status(block: &[u8]) -> u16 {
    let is_table_size = |byte: &&u8| **byte & 0xe0 == 0x20;
    match block.iter().find(|byte| !is_table_size(byte)) {
        Some(byte @ 0x88..=0x8e) => [200, 204, 206, 304, 400, 404, 500][usize::from(byte - 0x88)],
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_noted_in_their_order_and_pings_answered() {
        let mut bytes = Vec::new();
        frame(&mut bytes, GOAWAY, 0, 0, &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        frame(&mut bytes, HEADERS, END_HEADERS | END_STREAM, 5, &[0x20, 0x88]);
        frame(&mut bytes, PING, 0, 0, &[1; 8]);
        let mut seen = Vec::new();
        let answers = read(&mut BytesMut::from(&bytes[..]), |what| seen.push(what));
        let goaway = What::GoAway {
            last: NO_LIMIT,
            code: 0,
        };
        assert_eq!(seen[0], goaway);
        assert!(is_end(&seen[1], 5));
        assert_eq!(answers[3..5], [PING, ACK]);
    }
}
